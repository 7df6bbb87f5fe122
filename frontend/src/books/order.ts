// Which markets are listed, and in what order. Pure.
import type { Book } from "./book";

export type StateFilter = "all" | "exact" | "unknown";

export const COLUMNS = ["market", "state", "bid", "ask", "spread", "depth", "activity", "changed"] as const;
export type Column = (typeof COLUMNS)[number];

export interface Sorting {
  readonly column: Column;
  readonly isDescending: boolean;
}

export interface Filter {
  readonly text: string;
  readonly state: StateFilter;
}

/** What one sees first when choosing a column: the names from A, the problems, and otherwise the most. */
const FIRST_DESCENDING: Readonly<Record<Column, boolean>> = {
  market: false,
  state: false,
  bid: true,
  ask: true,
  spread: true,
  depth: true,
  activity: true,
  changed: true,
};

/** The sorting after a column's heading was activated: chosen, or turned round when it was chosen already. */
export function nextSorting(sorting: Sorting, column: Column): Sorting {
  const isDescending = sorting.column === column ? !sorting.isDescending : FIRST_DESCENDING[column];
  return { column, isDescending };
}

export function matches(book: Book, filter: Filter): boolean {
  if (filter.state !== "all" && book.isExact !== (filter.state === "exact")) {
    return false;
  }
  const words = filter.text.trim().toUpperCase().split(/\s+/);
  const ticker = book.ticker.toUpperCase();
  return words.every((word) => ticker.includes(word));
}

/** The books to list, in order. Without a value in the column they come last, in either direction; ties by name. */
export function listBooks(books: Iterable<Book>, filter: Filter, sorting: Sorting, slot: number): Book[] {
  const listed: { book: Book; key: number | string | null }[] = [];
  for (const book of books) {
    if (matches(book, filter)) {
      listed.push({ book, key: keyOf(book, sorting.column, slot) });
    }
  }
  const turn = sorting.isDescending ? -1 : 1;
  listed.sort((one, other) => {
    if (one.key === null || other.key === null) {
      return one.key === other.key ? byName(one.book, other.book) : one.key === null ? 1 : -1;
    }
    return one.key < other.key ? -turn : one.key > other.key ? turn : byName(one.book, other.book);
  });
  return listed.map(({ book }) => book);
}

function keyOf(book: Book, column: Column, slot: number): number | string | null {
  switch (column) {
    case "market":
      return book.ticker;
    case "state":
      return book.unknownCause === null ? 1 : 0;
    case "bid":
      return book.bidE4;
    case "ask":
      return book.askE4;
    case "spread":
      return book.spreadE4;
    case "depth":
      return book.hasSnapshot ? book.depthE2 : null;
    case "activity":
      return book.activity.total(slot);
    case "changed":
      return book.changedAtMs;
  }
}

function byName(one: Book, other: Book): number {
  return one.ticker < other.ticker ? -1 : one.ticker > other.ticker ? 1 : 0;
}
