// What the charts are fed with.
import { describe, expect, it } from "vitest";
import type { SeriesData } from "../../src/protocol/messages";
import { SecondRing } from "../../src/series/ring";
import { SeriesStore, WINDOW_S, WINDOW_S_MIN } from "../../src/series/series-store";
import { makeSecond, NOON_MS } from "../samples";

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
    store.note(makeSecond({ end_ms: NOON_MS }));
    store.note(
      makeSecond({
        end_ms: NOON_MS + 1_000,
        messages_per_second: 42,
        commit_p99_ms: 5,
        age_p99_ms: null,
        exact_markets: 9,
      }),
    );
    const { endS, values } = store.get();
    expect(endS).toBe(NOON_S + 1);
    expect(values.messages_per_second.at(-1)).toBe(42);
    expect(values.commit_p99_ms.at(-1)).toBe(5);
    expect(values.age_p99_ms.slice(-2)).toEqual([3, null]);
    expect(values.exact_markets.slice(-3)).toEqual([null, 3, 9]);
  });

  it("leave out what was told already, and what is told before the first second", () => {
    const store = new SeriesStore();
    store.note(makeSecond({ end_ms: 0 }));
    store.seed(makeSeries(0, []));
    expect(store.get().endS).toBeNull();
    store.note(makeSecond({ exact_markets: 1 }));
    const before = store.get();
    store.note(makeSecond({ exact_markets: 2 }));
    expect(store.get()).toBe(before);
  });

  it("have a gap where seconds were missed, which is filled when they are fetched again", () => {
    const store = new SeriesStore();
    store.note(makeSecond({ end_ms: NOON_MS, exact_markets: 1 }));
    store.note(makeSecond({ end_ms: NOON_MS + 3_000, exact_markets: 1 }));
    expect(store.get().values.exact_markets.slice(-4)).toEqual([1, null, null, 1]);
    store.seed(makeSeries(NOON_MS + 3_000, [5, 6, 7, 8]));
    expect(store.get().values.exact_markets.slice(-4)).toEqual([5, 6, 7, 8]);
  });

  it("have neither holes nor doubles where seconds end about the middle of the clock's", () => {
    const store = new SeriesStore();
    const ends = [499, 1_501, 2_498, 3_502, 4_497];
    store.seed(makeSeries(NOON_MS + 499, [8, 9]));
    ends.forEach((ms, count) => store.note(makeSecond({ end_ms: NOON_MS + ms, exact_markets: count })));
    expect(store.get().values.exact_markets.slice(-6)).toEqual([8, 9, 1, 2, 3, 4]);
  });

  it("reach as far back as there is something, but at least two minutes and at most fifteen", () => {
    const store = new SeriesStore();
    store.note(makeSecond());
    expect(store.get().values.messages_per_second).toHaveLength(WINDOW_S_MIN);
    store.seed(makeSeries(NOON_MS, new Array<number>(300).fill(1)));
    expect(store.get().values.messages_per_second).toHaveLength(300);
    store.seed(makeSeries(NOON_MS, new Array<number>(2_000).fill(1)));
    expect(store.get().values.messages_per_second).toHaveLength(WINDOW_S);
  });

  it("start anew when the collector's clock was set back", () => {
    const store = new SeriesStore();
    store.note(makeSecond({ end_ms: NOON_MS }));
    store.note(makeSecond({ end_ms: NOON_MS - 3_600_000 }));
    expect(store.get().endS).toBe(NOON_S - 3_600);
  });
});
