// Coverage as a strip shows it: cells of equal time, the markets with the most unknown time first. Pure.
import type { CoverageData, IntervalData } from "../protocol/messages";
import { UNFOLLOWED } from "../shared/causes";

export const CELLS = 120;
/** A recording that has just begun does not fill the strip with its first second. */
export const SPAN_MS_MIN = 120_000;

/** What a market's time can be. Where it is none of them, no session was for the market. */
export type Kind = "exact" | "unknown" | "left";

/** For each cell, which share of its time was of a kind. */
export type Cells = Readonly<Record<Kind, Float32Array>>;

export interface MarketStrip {
  readonly ticker: string;
  readonly cells: Cells;
  /** Of the time in which the market was to be recorded; null when it never was. */
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
  /** When the first of all was recorded, where that is later than what was asked for; else null. */
  readonly firstMs: number | null;
  /** Worst first. */
  readonly strips: readonly MarketStrip[];
  /** All markets together: which share of all their recorded time in a cell. */
  readonly sum: Cells;
  /** Markets whose book was exact from its first snapshot on. */
  readonly wholeMarkets: number;
  readonly exactShare: number | null;
  /** Milliseconds over all markets, most first. */
  readonly causes: readonly (readonly [cause: string, ms: number])[];
  /** Milliseconds over all markets in which they were not followed any more. */
  readonly leftMs: number;
}

export function viewCoverage(data: CoverageData): CoverageView {
  const toMs = data.to_ms;
  const firstMs = firstMoment(data);
  const fromMs = Math.max(data.from_ms, Math.min(firstMs, toMs - SPAN_MS_MIN));
  const strips = data.markets.map(({ market_ticker, intervals }) => stripOf(market_ticker, intervals, fromMs, toMs));
  strips.sort(
    (one, other) =>
      other.unknownMs - one.unknownMs || (one.ticker < other.ticker ? -1 : one.ticker > other.ticker ? 1 : 0),
  );
  const intervals = data.markets.flatMap((market) => market.intervals);
  const exactMs = total(intervals, "exact");
  const unknownMs = total(intervals, "unknown");
  return {
    fromMs,
    toMs,
    firstMs: firstMs > data.from_ms ? firstMs : null,
    strips,
    sum: sumCells(strips),
    wholeMarkets: data.markets.filter(({ intervals }) => isWhole(intervals, data.from_ms)).length,
    exactShare: shareOf(exactMs, unknownMs),
    causes: causesOf(intervals),
    leftMs: total(intervals, "left"),
  };
}

function firstMoment(data: CoverageData): number {
  let firstMs = data.to_ms;
  for (const { intervals } of data.markets) {
    firstMs = Math.min(firstMs, intervals[0]?.from_ms ?? firstMs);
  }
  return firstMs;
}

function kindOf(interval: IntervalData): Kind {
  if (interval.is_exact) {
    return "exact";
  }
  return interval.cause === UNFOLLOWED ? "left" : "unknown";
}

function isWhole(intervals: readonly IntervalData[], fromMs: number): boolean {
  // A wait that begins before the window may be one after a loss.
  const isWait = (interval: IntervalData, index: number) =>
    index === 0 && interval.from_ms > fromMs && interval.cause === "no_snapshot_yet";
  const isRecorded = intervals.some((interval) => kindOf(interval) === "exact");
  return isRecorded && intervals.every((one, index) => kindOf(one) !== "unknown" || isWait(one, index));
}

function total(intervals: readonly IntervalData[], kind: Kind): number {
  return intervals.reduce(
    (ms, interval) => ms + (kindOf(interval) === kind ? interval.to_ms - interval.from_ms : 0),
    0,
  );
}

function shareOf(exactMs: number, unknownMs: number): number | null {
  return exactMs + unknownMs === 0 ? null : exactMs / (exactMs + unknownMs);
}

function causesOf(intervals: readonly IntervalData[]): [cause: string, ms: number][] {
  const causes = new Map<string, number>();
  for (const interval of intervals) {
    if (kindOf(interval) === "unknown") {
      const cause = interval.cause ?? "unknown";
      causes.set(cause, (causes.get(cause) ?? 0) + interval.to_ms - interval.from_ms);
    }
  }
  return [...causes].sort(([, one], [, other]) => other - one);
}

function noCells(): Cells {
  return { exact: new Float32Array(CELLS), unknown: new Float32Array(CELLS), left: new Float32Array(CELLS) };
}

function stripOf(ticker: string, intervals: readonly IntervalData[], fromMs: number, toMs: number): MarketStrip {
  const cellMs = (toMs - fromMs) / CELLS;
  const cells = noCells();
  for (const interval of intervals) {
    const shares = cells[kindOf(interval)];
    const from = Math.max(0, (interval.from_ms - fromMs) / cellMs);
    const to = Math.min(CELLS, (interval.to_ms - fromMs) / cellMs);
    for (let cell = Math.floor(from); cell < to; cell += 1) {
      shares[cell] = (shares[cell] ?? 0) + Math.min(to, cell + 1) - Math.max(from, cell);
    }
  }
  const unknownMs = total(intervals, "unknown");
  return {
    ticker,
    cells,
    exactShare: shareOf(total(intervals, "exact"), unknownMs),
    unknownMs,
    mainCause: causesOf(intervals)[0]?.[0] ?? null,
    unknowns: intervals.filter((interval) => kindOf(interval) !== "exact").reverse(),
  };
}

function sumCells(strips: readonly MarketStrip[]): Cells {
  const sum = noCells();
  const kinds = Object.keys(sum) as Kind[];
  for (let cell = 0; cell < CELLS; cell += 1) {
    for (const { cells } of strips) {
      for (const kind of kinds) {
        sum[kind][cell] = (sum[kind][cell] ?? 0) + (cells[kind][cell] ?? 0);
      }
    }
    const all = kinds.reduce((shares, kind) => shares + (sum[kind][cell] ?? 0), 0);
    for (const kind of kinds) {
      sum[kind][cell] = all === 0 ? 0 : (sum[kind][cell] ?? 0) / all;
    }
  }
  return sum;
}
