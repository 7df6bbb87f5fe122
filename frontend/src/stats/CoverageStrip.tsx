// A strip of time: a thin line where books were exact, and above it a block as high as the share that was not.
import { memo } from "react";
import { type Cells, CELLS, type Kind } from "./coverage-model";

const ROW_PX = 16;
const SUM_PX = 30;
const LINE_PX = 2;
/** A hole of a millisecond in a day must still be seen. */
const SLIVER_PX = 3;

export const CoverageStrip = memo(function CoverageStrip({ cells }: { readonly cells: Cells }) {
  return <Strip cells={cells} heightPx={ROW_PX} className="strip" />;
});

/** All markets together: the higher the block, the more of them were unknown for longer. */
export function CoverageSum({ cells }: { readonly cells: Cells }) {
  return <Strip cells={cells} heightPx={SUM_PX} className="strip strip-sum" />;
}

interface StripProps {
  readonly cells: Cells;
  readonly heightPx: number;
  readonly className: string;
}

function Strip({ cells, heightPx, className }: StripProps) {
  return (
    <svg
      className={className}
      viewBox={`0 0 ${CELLS} ${heightPx}`}
      preserveAspectRatio="none"
      shapeRendering="crispEdges"
      aria-hidden="true"
    >
      <path className="strip-exact" d={line(cells.exact, heightPx)} />
      <path className="strip-left" d={blocks(cells, "left", heightPx)} />
      <path className="strip-unknown" d={blocks(cells, "unknown", heightPx)} />
    </svg>
  );
}

function line(exact: Float32Array, heightPx: number): string {
  const top = heightPx - 1 - LINE_PX;
  return steps((cell) => ((exact[cell] ?? 0) > 0 ? [top, top + LINE_PX] : null));
}

/** Blocks stand on the line where there is one, and on its ground where nothing was exact. */
function blocks(cells: Cells, kind: Kind, heightPx: number): string {
  return steps((cell) => {
    const share = cells[kind][cell] ?? 0;
    if (share === 0) {
      return null;
    }
    const ground = heightPx - 1 - ((cells.exact[cell] ?? 0) > 0 ? LINE_PX : 0);
    return [ground - Math.max(SLIVER_PX, Math.round(share * (ground - 1))), ground];
  });
}

type Extent = readonly [top: number, bottom: number];

/** The outline of rectangles, one for each run of cells that reach from the same top to the same bottom. */
function steps(extentOf: (cell: number) => Extent | null): string {
  let path = "";
  let from = 0;
  let before: Extent | null = null;
  for (let cell = 0; cell <= CELLS; cell += 1) {
    const extent = cell === CELLS ? null : extentOf(cell);
    if (extent?.[0] !== before?.[0] || extent?.[1] !== before?.[1]) {
      if (before !== null) {
        path += `M${from} ${before[0]}H${cell}V${before[1]}H${from}z`;
      }
      from = cell;
      before = extent;
    }
  }
  return path;
}
