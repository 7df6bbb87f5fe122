// A clock for the rare places that count seconds by themselves; it stands still unless it is needed.
import { useEffect, useState } from "react";

/** The present by `now`, renewed each second while `isRunning`. */
export function useSecond(now: () => number, isRunning: boolean): number {
  const [time, setTime] = useState(now);
  useEffect(() => {
    if (!isRunning) {
      return undefined;
    }
    const read = () => setTime(now());
    const first = setTimeout(read, 0);
    const timer = setInterval(read, 1_000);
    return () => {
      clearTimeout(first);
      clearInterval(timer);
    };
  }, [now, isRunning]);
  return time;
}
