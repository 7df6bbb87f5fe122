// Coverage as a strip shows it: cells of equal time, the markets with the most unknown time first. Pure.
import type { CoverageData, IntervalData, MarketCoverageData } from "../protocol/messages";

export const CELLS = 120;

/** A run of equal cells. `none` is time in which no session was for the market. */
export interface Segment {
  readonly kind: "exact" | "unknown" | "none";
  readonly from: number;
  readonly to: number;
}

export interface MarketStrip {
  readonly ticker: string;
  readonly segments: readonly Segment[];
  /** Of the time in which a session was for the market; null when none was. */
  readonly exactShare: number | null;
  readonly unknownMs: number;
  /** What took the most time. */
  readonly mainCause: string | null;
  /** Newest first. */
  readonly unknowns: readonly IntervalData[];
}

export interface CoverageView {
  readonly fromMs: number;
  readonly toMs: number;
  /** Worst first. */
  readonly strips: readonly MarketStrip[];
  /** For each cell the share of markets that were unknown in it; null when none was recorded. */
  readonly unknownByCell: readonly (number | null)[];
  readonly wholeMarkets: number;
  readonly exactShare: number | null;
  /** Milliseconds over all markets, most first. */
  readonly causes: readonly (readonly [cause: string, ms: number])[];
}

export function viewCoverage(data: CoverageData): CoverageView {
  const strips = data.markets.map((market) => stripOf(market, data.from_ms, data.to_ms));
  strips.sort(
    (one, other) =>
      other.unknownMs - one.unknownMs || (one.ticker < other.ticker ? -1 : one.ticker > other.ticker ? 1 : 0),
  );
  const causes = new Map<string, number>();
  let exactMs = 0;
  let knownMs = 0;
  for (const { intervals } of data.markets) {
    for (const interval of intervals) {
      const ms = interval.to_ms - interval.from_ms;
      knownMs += ms;
      if (interval.is_exact) {
        exactMs += ms;
      } else {
        const cause = interval.cause ?? "unknown";
        causes.set(cause, (causes.get(cause) ?? 0) + ms);
      }
    }
  }
  return {
    fromMs: data.from_ms,
    toMs: data.to_ms,
    strips,
    unknownByCell: sumCells(strips),
    wholeMarkets: strips.filter((strip) => strip.unknownMs === 0 && strip.exactShare !== null).length,
    exactShare: knownMs === 0 ? null : exactMs / knownMs,
    causes: [...causes].sort(([, one], [, other]) => other - one),
  };
}

function stripOf(market: MarketCoverageData, fromMs: number, toMs: number): MarketStrip {
  const cellMs = (toMs - fromMs) / CELLS;
  const cells = new Array<Segment["kind"]>(CELLS).fill("none");
  const causes = new Map<string, number>();
  let exactMs = 0;
  let unknownMs = 0;
  for (const interval of market.intervals) {
    const ms = interval.to_ms - interval.from_ms;
    if (interval.is_exact) {
      exactMs += ms;
    } else {
      unknownMs += ms;
      const cause = interval.cause ?? "unknown";
      causes.set(cause, (causes.get(cause) ?? 0) + ms);
    }
    const first = Math.max(0, Math.floor((interval.from_ms - fromMs) / cellMs));
    const last = Math.min(CELLS - 1, Math.ceil((interval.to_ms - fromMs) / cellMs) - 1);
    for (let cell = first; cell <= last; cell += 1) {
      // A second of doubt must be seen in a day's strip: unknown wins its whole cell.
      if (!interval.is_exact) {
        cells[cell] = "unknown";
      } else if (cells[cell] === "none") {
        cells[cell] = "exact";
      }
    }
  }
  const total = exactMs + unknownMs;
  const [main] = [...causes].sort(([, one], [, other]) => other - one);
  return {
    ticker: market.market_ticker,
    segments: runs(cells),
    exactShare: total === 0 ? null : exactMs / total,
    unknownMs,
    mainCause: main?.[0] ?? null,
    unknowns: market.intervals.filter((interval) => !interval.is_exact).reverse(),
  };
}

function runs(cells: readonly Segment["kind"][]): Segment[] {
  const segments: Segment[] = [];
  let from = 0;
  for (let cell = 1; cell <= cells.length; cell += 1) {
    const kind = cells[from];
    if (kind !== undefined && cells[cell] !== kind) {
      segments.push({ kind, from, to: cell });
      from = cell;
    }
  }
  return segments;
}

function sumCells(strips: readonly MarketStrip[]): (number | null)[] {
  const unknown = new Uint32Array(CELLS);
  const recorded = new Uint32Array(CELLS);
  for (const { segments } of strips) {
    for (const { kind, from, to } of segments) {
      for (let cell = from; cell < to; cell += 1) {
        recorded[cell] = (recorded[cell] ?? 0) + (kind === "none" ? 0 : 1);
        unknown[cell] = (unknown[cell] ?? 0) + (kind === "unknown" ? 1 : 0);
      }
    }
  }
  return Array.from(recorded, (all, cell) => (all === 0 ? null : (unknown[cell] ?? 0) / all));
}
