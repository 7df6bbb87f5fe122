// Coverage as the strips show it.
import { describe, expect, it } from "vitest";
import type { CoverageData, IntervalData } from "../../src/protocol/messages";
import { CELLS, viewCoverage } from "../../src/stats/coverage-model";

/** A time span in which a cell is one second. */
const TO_MS = CELLS * 1_000;

function interval(fromS: number, toS: number, cause: string | null = null): IntervalData {
  return { from_ms: fromS * 1_000, to_ms: toS * 1_000, is_exact: cause === null, cause };
}

function view(markets: Record<string, IntervalData[]>) {
  const data: CoverageData = {
    from_ms: 0,
    to_ms: TO_MS,
    markets: Object.entries(markets).map(([market_ticker, intervals]) => ({ market_ticker, intervals })),
  };
  return viewCoverage(data);
}

describe("coverage", () => {
  it("lists the market with the most unknown time first", () => {
    const { strips } = view({
      GOOD: [interval(0, CELLS)],
      BAD: [interval(0, 60), interval(60, CELLS, "sequence_gap")],
      POOR: [interval(0, 100), interval(100, CELLS, "session_ended")],
    });
    expect(strips.map((strip) => strip.ticker)).toEqual(["BAD", "POOR", "GOOD"]);
    expect(strips[0]).toMatchObject({ exactShare: 0.5, unknownMs: 60_000, mainCause: "sequence_gap" });
  });

  it("shows even a moment of doubt, and what was not recorded as nothing", () => {
    const [strip] = view({
      M: [interval(20, 50.2), interval(50.2, 50.3, "sequence_gap"), interval(50.3, CELLS)],
    }).strips;
    expect(strip?.segments).toEqual([
      { kind: "none", from: 0, to: 20 },
      { kind: "exact", from: 20, to: 50 },
      { kind: "unknown", from: 50, to: 51 },
      { kind: "exact", from: 51, to: CELLS },
    ]);
  });

  it("sums up shares and causes over all markets", () => {
    const sum = view({
      A: [interval(0, CELLS)],
      B: [interval(0, 90, "no_snapshot_yet"), interval(90, CELLS)],
      C: [],
    });
    expect(sum.wholeMarkets).toBe(1);
    expect(sum.exactShare).toBeCloseTo(150 / 240);
    expect(sum.causes).toEqual([["no_snapshot_yet", 90_000]]);
    expect(sum.unknownByCell[0]).toBe(0.5);
    expect(sum.unknownByCell.at(-1)).toBe(0);
  });

  it("is nothing when nothing was recorded", () => {
    expect(view({ A: [] })).toMatchObject({ exactShare: null, wholeMarkets: 0 });
  });
});
