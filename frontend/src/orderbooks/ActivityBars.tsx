// The changes of the last minute, a bar for each 3 seconds. All markets have one scale, so that a storm looks like one
// beside a lull; by square roots, so that a lull is not flat.
import { SLOTS } from "../books/activity";

const HEIGHT = 16;

interface ActivityBarsProps {
  readonly bars: readonly number[];
  /** The count that fills the height. */
  readonly top: number;
}

export function ActivityBars({ bars, top }: ActivityBarsProps) {
  const path = bars
    .map((count, slot) => {
      const height = Math.min(HEIGHT, Math.max(1.5, Math.sqrt(count / top) * HEIGHT));
      return count === 0 ? "" : `M${slot * 3 + 1} ${HEIGHT}v-${height.toFixed(1)}`;
    })
    .join("");
  return (
    <svg className="bars" viewBox={`0 0 ${SLOTS * 3} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}
