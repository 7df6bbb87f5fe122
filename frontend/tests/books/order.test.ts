// Sorting and filtering of markets.
import { describe, expect, it } from "vitest";
import { slotAt } from "../../src/books/activity";
import { Book } from "../../src/books/book";
import { listBooks, nextSorting, type Column } from "../../src/books/order";
import { makeDelta, makeSnapshot, NOON_MS } from "../samples";

function makeBook(ticker: string, change: Parameters<typeof makeSnapshot>[0] | null, deltas = 0): Book {
  const book = new Book(ticker);
  if (change !== null) {
    book.applySnapshot(makeSnapshot({ market_ticker: ticker, ...change }));
  }
  for (let count = 0; count < deltas; count += 1) {
    book.applyDelta(makeDelta({ market_ticker: ticker, price: 1, new_size: 1, timestamp_ms: NOON_MS }));
  }
  return book;
}

const books = [
  makeBook("KXB-2", { yes_bids: { "30": 5 }, no_bids: { "60": 1 } }, 3),
  makeBook("KXA-1", { yes_bids: { "50.5": 5 }, no_bids: { "49": 1 }, is_exact: false, unknown_cause: "sequence" }),
  makeBook("KXC-3", null),
  makeBook("KXD-4", { yes_bids: { "10": 900 }, no_bids: {} }, 1),
];

const ALL = { text: "", state: "all" } as const;

function order(column: Column, isDescending: boolean): string[] {
  return listBooks(books, ALL, { column, isDescending }, slotAt(NOON_MS)).map((book) => book.ticker);
}

describe("the list of markets", () => {
  it("is by name at first", () => {
    expect(order("market", false)).toEqual(["KXA-1", "KXB-2", "KXC-3", "KXD-4"]);
  });

  it("sorts by bid, spread, depth and activity, and leaves what has no value at the end in both directions", () => {
    expect(order("bid", true)).toEqual(["KXA-1", "KXB-2", "KXD-4", "KXC-3"]);
    expect(order("bid", false)).toEqual(["KXD-4", "KXB-2", "KXA-1", "KXC-3"]);
    expect(order("spread", false)).toEqual(["KXA-1", "KXB-2", "KXC-3", "KXD-4"]);
    expect(order("depth", true)[0]).toBe("KXD-4");
    expect(order("activity", true)).toEqual(["KXB-2", "KXD-4", "KXA-1", "KXC-3"]);
  });

  it("brings what is unknown to the top when sorted by state", () => {
    expect(order("state", false).slice(0, 2)).toEqual(["KXA-1", "KXC-3"]);
  });

  it("is filtered by words in any case, and by state", () => {
    const list = (text: string, state: "all" | "exact" | "unknown") =>
      listBooks(books, { text, state }, { column: "market", isDescending: false }, slotAt(NOON_MS)).map(
        (book) => book.ticker,
      );
    expect(list("kxb", "all")).toEqual(["KXB-2"]);
    expect(list(" kx 4 ", "all")).toEqual(["KXD-4"]);
    expect(list("", "unknown")).toEqual(["KXA-1", "KXC-3"]);
    expect(list("kxa", "exact")).toEqual([]);
  });
});

describe("activating a heading", () => {
  it("sorts by its column, numbers from the top, and turns round the second time", () => {
    const first = nextSorting({ column: "market", isDescending: false }, "bid");
    expect(first).toEqual({ column: "bid", isDescending: true });
    expect(nextSorting(first, "bid")).toEqual({ column: "bid", isDescending: false });
  });
});
