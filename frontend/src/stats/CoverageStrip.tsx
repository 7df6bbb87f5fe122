// The strip of one market: a thin line where its book was exact, a full block where it was unknown, nothing otherwise.
import { memo } from "react";
import { CELLS, type Segment } from "./coverage-model";

const SHAPES: Readonly<Record<Segment["kind"], { y: number; height: number } | null>> = {
  exact: { y: 7, height: 2 },
  unknown: { y: 1, height: 14 },
  none: null,
};

export const CoverageStrip = memo(function CoverageStrip({ segments }: { readonly segments: readonly Segment[] }) {
  return (
    <svg
      className="strip"
      viewBox={`0 0 ${CELLS} 16`}
      preserveAspectRatio="none"
      shapeRendering="crispEdges"
      aria-hidden="true"
    >
      {segments.map(({ kind, from, to }) => {
        const shape = SHAPES[kind];
        return shape && <rect key={from} className={`strip-${kind}`} x={from} width={to - from} {...shape} />;
      })}
    </svg>
  );
});

/** All markets together: the higher the block, the more of them were unknown. */
export function CoverageSum({ unknownByCell }: { readonly unknownByCell: readonly (number | null)[] }) {
  return (
    <svg
      className="strip strip-sum"
      viewBox={`0 0 ${CELLS} 32`}
      preserveAspectRatio="none"
      shapeRendering="crispEdges"
      aria-hidden="true"
    >
      {unknownByCell.map((share, cell) => {
        if (share === null) {
          return null;
        }
        // One market in a thousand must not vanish.
        const height = share === 0 ? 0 : Math.max(3, share * 28);
        return (
          <g key={cell}>
            <rect className="strip-exact" x={cell} y={30} width={1} height={2} />
            {height > 0 && <rect className="strip-unknown" x={cell} y={30 - height} width={1} height={height} />}
          </g>
        );
      })}
    </svg>
  );
}
