// The changes of the last minute, a bar for each 3 seconds.
import { SLOTS } from "../books/activity";

const HEIGHT = 16;

/** Bars fill their height at so many changes, or at the most there are; one lone change must not look like a storm. */
const FULL = 6;

export function ActivityBars({ bars }: { readonly bars: readonly number[] }) {
  const top = Math.max(FULL, ...bars);
  const path = bars
    .map((count, slot) =>
      count === 0 ? "" : `M${slot * 3 + 1} ${HEIGHT}v-${Math.max(1.5, (count / top) * HEIGHT).toFixed(1)}`,
    )
    .join("");
  return (
    <svg className="bars" viewBox={`0 0 ${SLOTS * 3} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}
