// Numbers and times as people read them.
import { describe, expect, it } from "vitest";
import {
  formatAge,
  formatBytes,
  formatCents,
  formatContracts,
  formatDuration,
  formatMs,
  formatRate,
  formatShare,
  formatShort,
  plural,
  words,
} from "../../src/shared/format";

describe("formats", () => {
  it("prices have no needless digit and lose none", () => {
    expect([4_500, 4_550, 25, 9_999, null].map(formatCents)).toEqual(["45", "45.5", "0.25", "99.99", "–"]);
  });

  it("sizes are whole where they are, and have cents of a contract where they have", () => {
    expect([15_000, 1_234_500, 80_250].map(formatContracts)).toEqual(["150", "12,345", "802.50"]);
    expect([95_000, 1_240_000, 130_000_000].map(formatShort)).toEqual(["950", "12.4k", "1.3M"]);
  });

  it("latencies take the unit that needs the fewest digits", () => {
    expect([0.65, 9.97, 42.4, 999.6, 90_000, null].map(formatMs)).toEqual([
      "0.7 ms",
      "10 ms",
      "42 ms",
      "1.0 s",
      "1 min 30 s",
      "–",
    ]);
  });

  it("time spans have their two largest units", () => {
    expect([0, 42, 185, 7_800, 356_400].map(formatDuration)).toEqual([
      "0 s",
      "42 s",
      "3 min 5 s",
      "2 h 10 min",
      "4 d 3 h",
    ]);
    expect([0, 999, 5_000, 61_000, 7_200_000, 2e8].map(formatAge)).toEqual([
      "now",
      "now",
      "5 s",
      "1 min",
      "2 h",
      "2 d",
    ]);
  });

  it("a share never rounds up to all, nor down to none", () => {
    expect([1, 0.99999, 0.5, 0.00001, 0].map(formatShare)).toEqual(["100 %", "99.9 %", "50.0 %", "0.1 %", "0 %"]);
  });

  it("rates, bytes, words and plurals", () => {
    expect([12.5, 1_999.6].map(formatRate)).toEqual(["12.5", "2,000"]);
    expect([0, 91_233_112, 2_147_483_648].map(formatBytes)).toEqual(["0.0 kB", "91.2 MB", "2.1 GB"]);
    expect(words("waiting_for_store")).toBe("waiting for store");
    expect([1, 2].map((count) => plural(count, "market"))).toEqual(["1 market", "2 markets"]);
  });
});
