// Coverage as the strips show it.
import { describe, expect, it } from "vitest";
import type { CoverageData, IntervalData } from "../../src/protocol/messages";
import { CELLS, SPAN_MS_MIN, viewCoverage } from "../../src/stats/coverage-model";

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
      BAD: [interval(0, 60), interval(60, CELLS, "sequence")],
      POOR: [interval(0, 100), interval(100, CELLS, "session_ended")],
    });
    expect(strips.map((strip) => strip.ticker)).toEqual(["BAD", "POOR", "GOOD"]);
    expect(strips[0]).toMatchObject({ exactShare: 0.5, unknownMs: 60_000, mainCause: "sequence" });
  });

  it("has each cell's shares of time, and nothing where nothing was recorded", () => {
    const [strip] = view({
      OTHER: [interval(0, CELLS)],
      M: [interval(20, 50.25), interval(50.25, 50.5, "sequence"), interval(50.5, CELLS)],
    }).strips;
    expect(strip?.ticker).toBe("M");
    expect(strip?.cells.exact[19]).toBe(0);
    expect(strip?.cells.exact[20]).toBe(1);
    expect(strip?.cells.exact[50]).toBeCloseTo(0.75);
    expect(strip?.cells.unknown[50]).toBeCloseTo(0.25);
    expect(strip?.cells.unknown[51]).toBe(0);
  });

  it("begins with the first that was recorded, but shows two minutes at least", () => {
    const day = { from_ms: 0, to_ms: 86_400_000 };
    const since = (fromMs: number) =>
      viewCoverage({
        ...day,
        markets: [
          {
            market_ticker: "M",
            intervals: [{ from_ms: fromMs, to_ms: day.to_ms, is_exact: true, cause: null }],
          },
        ],
      });
    expect(since(80_000_000)).toMatchObject({ fromMs: 80_000_000, firstMs: 80_000_000 });
    expect(since(day.to_ms - 5_000)).toMatchObject({
      fromMs: day.to_ms - SPAN_MS_MIN,
      firstMs: day.to_ms - 5_000,
    });
    expect(since(0)).toMatchObject({ fromMs: 0, firstMs: null });
  });

  it("does not call time unknown in which a market was not followed any more", () => {
    const left = view({ M: [interval(0, 60), interval(60, CELLS, "unfollowed")] });
    expect(left).toMatchObject({ exactShare: 1, wholeMarkets: 1, causes: [], leftMs: 60_000 });
    expect(left.strips[0]?.cells.left[60]).toBe(1);
    expect(left.strips[0]?.cells.unknown[60]).toBe(0);
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
    expect(sum.sum.unknown[0]).toBe(0.5);
    expect(sum.sum.exact[0]).toBe(0.5);
    expect(sum.sum.unknown.at(-1)).toBe(0);
  });

  it("takes the wait for the first book for no fault, and for the next one after a loss as one", () => {
    const wait = [interval(1, 5, "no_snapshot_yet"), interval(5, 60)];
    expect(view({ A: wait }).wholeMarkets).toBe(1);
    expect(view({ A: [...wait, interval(60, 65, "no_snapshot_yet"), interval(65, CELLS)] }).wholeMarkets).toBe(0);
    expect(view({ A: [interval(1, CELLS, "no_snapshot_yet")] }).wholeMarkets).toBe(0);
    // What the window cuts off may have been a loss.
    expect(view({ A: [interval(0, 5, "no_snapshot_yet"), interval(5, CELLS)] }).wholeMarkets).toBe(0);
  });

  it("is nothing when nothing was recorded", () => {
    expect(view({ A: [] })).toMatchObject({ exactShare: null, wholeMarkets: 0 });
  });
});
