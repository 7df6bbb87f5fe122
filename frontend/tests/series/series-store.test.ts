// What the charts are fed with.
import { describe, expect, it } from "vitest";
import type { SeriesData } from "../../src/protocol/messages";
import { SecondRing } from "../../src/series/ring";
import { SeriesStore, WINDOW_S } from "../../src/series/series-store";
import { makeStats, NOON_MS } from "../samples";

const NOON_S = NOON_MS / 1_000;

function makeSeries(endMs: number, values: (number | null)[]): SeriesData {
  return {
    step_ms: 1_000,
    end_ms: endMs,
    messages_per_second: values,
    commit_p99_ms: values,
    age_p99_ms: values,
    exact_markets: values,
  };
}

describe("a ring of seconds", () => {
  it("keeps the newest, and is null where nothing was", () => {
    const ring = new SecondRing(4);
    ring.put(100, 1);
    ring.put(102, 3);
    expect(ring.read()).toEqual([null, 1, null, 3]);
    ring.put(105, 6);
    expect(ring.read()).toEqual([3, null, null, 6]);
  });

  it("takes late values for seconds that it still holds", () => {
    const ring = new SecondRing(3);
    ring.put(10, 1);
    ring.put(9, 0);
    ring.put(2, 7);
    expect(ring.read()).toEqual([null, 0, 1]);
  });
});

describe("the charts' series", () => {
  it("begin with what the collector remembers and go on with each second", () => {
    const store = new SeriesStore();
    store.seed(makeSeries(NOON_MS, [1, null, 3]));
    store.note(makeStats({ server_time_ms: NOON_MS, frames_received: 100 }));
    store.note(makeStats({ server_time_ms: NOON_MS + 1_000, frames_received: 142, markets_active: 9 }));
    const { endS, values } = store.get();
    expect(endS).toBe(NOON_S + 1);
    expect(values.messages_per_second).toHaveLength(WINDOW_S);
    expect(values.messages_per_second.at(-1)).toBe(42);
    expect(values.exact_markets.slice(-3)).toEqual([null, 3, 9]);
  });

  it("leave out the rate across a restart of the collector", () => {
    const store = new SeriesStore();
    store.note(makeStats({ frames_received: 1_000 }));
    store.note(makeStats({ server_time_ms: NOON_MS + 1_000, frames_received: 3 }));
    expect(store.get().values.messages_per_second.at(-1)).toBeNull();
  });

  it("fill the hole of a lost connection when they are fetched again", () => {
    const store = new SeriesStore();
    store.note(makeStats({ server_time_ms: NOON_MS, markets_active: 1 }));
    store.note(makeStats({ server_time_ms: NOON_MS + 3_000, markets_active: 1 }));
    expect(store.get().values.exact_markets.slice(-4)).toEqual([1, null, null, 1]);
    store.seed(makeSeries(NOON_MS + 3_000, [5, 6, 7, 8]));
    expect(store.get().values.exact_markets.slice(-4)).toEqual([5, 6, 7, 8]);
  });

  it("start anew when the collector's clock was set back", () => {
    const store = new SeriesStore();
    store.note(makeStats({ server_time_ms: NOON_MS }));
    store.note(makeStats({ server_time_ms: NOON_MS - 3_600_000, markets_active: 2 }));
    expect(store.get().endS).toBe(NOON_S - 3_600);
  });
});
