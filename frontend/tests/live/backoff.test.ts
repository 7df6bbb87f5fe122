// The waits between attempts to connect.
import { describe, expect, it } from "vitest";
import { backoffMs, TURNED_AWAY } from "../../src/live/backoff";

const ALMOST_ONE = 1 - Number.EPSILON;

describe("the wait before the next attempt", () => {
  it("is at most half a second at first, and doubles up to 15 seconds", () => {
    const ceilings = [0, 1, 2, 3, 4, 5, 6, 50].map((attempt) => Math.round(backoffMs(attempt, ALMOST_ONE)));
    expect(ceilings).toEqual([500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  });

  it("is spread over everything below its ceiling, so that pages don't come back together", () => {
    expect(backoffMs(3, 0)).toBe(0);
    expect(backoffMs(3, 0.5)).toBe(2_000);
  });

  it("is long, and never short, when the collector turned the page away", () => {
    expect(backoffMs(0, 0, TURNED_AWAY)).toBe(15_000);
    expect(Math.round(backoffMs(9, ALMOST_ONE, TURNED_AWAY))).toBe(60_000);
  });
});
