// Order books, from the messages that make them to the notifications that they cause.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { BookStore, NOTIFY_MS, ORDER_MS } from "../../src/books/book-store";
import { makeDelta, makeSnapshot, NOON_MS } from "../samples";

const TICKER = "KXCABOUT-29";

let store: BookStore;

beforeEach(() => {
  vi.useFakeTimers();
  store = new BookStore(() => performance.now());
  store.connected({ markets: [TICKER, "KXOTHER-1"], status: "connected", version: "1.0.0" });
});

afterEach(() => {
  vi.useRealTimers();
});

function book() {
  const found = store.book(TICKER);
  if (found === undefined) {
    throw new Error("the market is gone");
  }
  return found;
}

describe("a market", () => {
  it("is listed without a book until its first snapshot comes", () => {
    expect(store.size).toBe(2);
    expect(book()).toMatchObject({ hasSnapshot: false, isExact: false, unknownCause: "no_snapshot_yet", bidE4: null });
  });

  it("has best bid, ask, spread and depth in exact integers", () => {
    store.snapshot(makeSnapshot({ yes_bids: { "45.5": 100.25, "44": 250 }, no_bids: { "45": 150, "45.3": 10 } }));
    expect(book()).toMatchObject({ bidE4: 4_550, askE4: 5_470, spreadE4: 920, bidDepthE2: 35_025, askDepthE2: 16_000 });
  });

  it("says why its book is not the exchange's", () => {
    store.snapshot(makeSnapshot({ is_exact: false, unknown_cause: "sequence" }));
    expect(book()).toMatchObject({ hasSnapshot: true, isExact: false, unknownCause: "sequence" });
  });

  it("that comes up later is listed too", () => {
    store.snapshot(makeSnapshot({ market_ticker: "KXNEW-1" }));
    expect(store.book("KXNEW-1")?.bidE4).toBe(4_500);
  });

  it("that is recorded no more is gone", () => {
    store.snapshot(makeSnapshot({}));
    store.snapshot(makeSnapshot({ yes_bids: {}, no_bids: {}, is_exact: false, unknown_cause: "unfollowed" }));
    expect(store.book(TICKER)).toBeUndefined();
    expect(store.size).toBe(1);
  });

  it("has no spread while one side is empty", () => {
    store.snapshot(makeSnapshot({ no_bids: {} }));
    expect(book()).toMatchObject({ bidE4: 4_500, askE4: null, spreadE4: null });
  });
});

describe("a snapshot", () => {
  it("replaces the whole book", () => {
    store.snapshot(makeSnapshot());
    store.snapshot(makeSnapshot({ yes_bids: { "30": 5 }, no_bids: {} }));
    expect(book().bids()).toEqual([{ priceE4: 3_000, sizeE2: 500, totalE2: 500 }]);
    expect(book().depthE2).toBe(500);
  });
});

describe("a delta", () => {
  beforeEach(() => store.snapshot(makeSnapshot()));

  it("sets the size that rests now", () => {
    store.delta(makeDelta({ price: 45, old_size: 100, new_size: 150 }));
    store.delta(makeDelta({ price: 45, old_size: 150, new_size: 70 }));
    expect(book().bids()[0]).toEqual({ priceE4: 4_500, sizeE2: 7_000, totalE2: 7_000 });
    expect(book().bidDepthE2).toBe(32_000);
  });

  it("of size zero takes the level away, and the next best becomes the best", () => {
    store.delta(makeDelta({ price: 45, new_size: 0, action: "remove" }));
    expect(book()).toMatchObject({ bidE4: 4_400, bidDepthE2: 25_000 });
    store.delta(makeDelta({ price: 44, new_size: 0, action: "remove" }));
    expect(book()).toMatchObject({ bidE4: null, bidDepthE2: 0 });
  });

  it("of the NO side changes the asks", () => {
    store.delta(makeDelta({ side: "no", price: 46, new_size: 20, action: "add" }));
    expect(book().askE4).toBe(5_400);
    expect(book().asks()).toEqual([
      { priceE4: 5_400, sizeE2: 2_000, totalE2: 2_000 },
      { priceE4: 5_500, sizeE2: 15_000, totalE2: 17_000 },
    ]);
  });

  it("changes the version, the sequence and the time of the last change", () => {
    const { version } = book();
    store.delta(makeDelta({ sequence_number: 1_003, timestamp_ms: 7 }));
    expect(book()).toMatchObject({ version: version + 1, sequence: 1_003, changedAtMs: 7 });
  });

  it("counts as activity for a minute, as the snapshot does", () => {
    store.delta(makeDelta());
    store.delta(makeDelta());
    expect(book().activity.total(store.slot)).toBe(3);
    vi.advanceTimersByTime(57_000);
    expect(book().activity.total(store.slot)).toBe(3);
    vi.advanceTimersByTime(6_000);
    expect(book().activity.total(store.slot)).toBe(0);
  });

  it("of a market without a book is counted and otherwise ignored", () => {
    store.delta(makeDelta({ market_ticker: "KXNOBODY-1" }));
    store.delta(makeDelta({ market_ticker: "KXOTHER-1" }));
    expect(store.strays).toBe(2);
    expect(store.book("KXNOBODY-1")).toBeUndefined();
    expect(store.book("KXOTHER-1")?.hasSnapshot).toBe(false);
  });
});

describe("activity", () => {
  it("is of the collector's clock, so that an old snapshot is no change of now", () => {
    store.snapshot(makeSnapshot({ timestamp_ms: NOON_MS - 600_000 }));
    expect(book().activity.total(store.slot)).toBe(1);
    store.tellTime(NOON_MS);
    expect(book().activity.total(store.slot)).toBe(0);
    store.delta(makeDelta({ timestamp_ms: NOON_MS - 40_000 }));
    store.delta(makeDelta({ timestamp_ms: NOON_MS - 61_000 }));
    expect(book().activity.total(store.slot)).toBe(1);
  });

  it("goes on after the collector's clock was set back", () => {
    store.snapshot(makeSnapshot());
    store.tellTime(NOON_MS - 3_600_000);
    expect(book().activity.total(store.slot)).toBe(0);
    store.delta(makeDelta({ timestamp_ms: NOON_MS - 3_600_000 }));
    expect(book().activity.total(store.slot)).toBe(1);
  });

  it("has one scale for all markets, which a power of two keeps calm", () => {
    expect(store.activityTop()).toBe(8);
    store.snapshot(makeSnapshot());
    for (let count = 0; count < 20; count += 1) {
      store.delta(makeDelta());
    }
    expect(store.activityTop()).toBe(32);
  });
});

describe("a new connection", () => {
  it("lets nothing of the old books survive", () => {
    store.snapshot(makeSnapshot());
    store.connected({ markets: [TICKER], status: "connected", version: "1.0.1" });
    expect(store.size).toBe(1);
    expect(book()).toMatchObject({ hasSnapshot: false, bidE4: null });
    store.delta(makeDelta());
    expect(book().bidE4).toBeNull();
  });
});

describe("notifications", () => {
  it("are few, however many changes come, and orders are fewer", () => {
    store.snapshot(makeSnapshot());
    vi.advanceTimersByTime(5_000);
    let told = 0;
    store.subscribe(() => (told += 1));
    const order = store.getOrderVersion();
    for (let ms = 0; ms < 2_000; ms += 1) {
      store.delta(makeDelta({ new_size: 1 + (ms % 7) }));
      vi.advanceTimersByTime(1);
    }
    expect(told).toBeGreaterThan(5);
    expect(told).toBeLessThanOrEqual(2_000 / NOTIFY_MS + 2_000 / ORDER_MS + 1);
    expect(store.getOrderVersion() - order).toBeLessThanOrEqual(2);
  });

  it("bring the last change, too", () => {
    vi.advanceTimersByTime(5_000);
    const version = store.getVersion();
    const order = store.getOrderVersion();
    store.snapshot(makeSnapshot());
    vi.advanceTimersByTime(ORDER_MS + NOTIFY_MS);
    expect(store.getVersion()).toBe(version + 1);
    expect(store.getOrderVersion()).toBe(order + 1);
    expect(vi.getTimerCount()).toBe(0);
  });
});
