// The time that everything on the page is of, once nothing comes any more.
import { createContext, useContext } from "react";
import { formatClock } from "./format";

/** Null while the numbers live. */
export const AsOfContext = createContext<number | null>(null);

/** Says beside a heading that what follows has stopped, and when; nothing while it lives. */
export function AsOf() {
  const asOfMs = useContext(AsOfContext);
  return asOfMs === null ? null : <span className="as-of">as of {formatClock(asOfMs)}</span>;
}
