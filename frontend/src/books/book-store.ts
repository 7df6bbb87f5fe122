// All order books of one connection, outside React. Thousands of changes a second come in; a few notifications go out.
import type { BookData, ConnectionData, DeltaData } from "../protocol/messages";
import { slotAt } from "./activity";
import { Book } from "./book";

/** Five times a second is as fast as people read moving numbers. */
export const NOTIFY_MS = 200;
/** Rows that change places more often can't be followed. */
export const ORDER_MS = 1_000;

export class BookStore {
  readonly #now: () => number;
  readonly #books = new Map<string, Book>();
  readonly #listeners = new Set<() => void>();
  #version = 0;
  #orderVersion = 0;
  #orderedAtMs = -Infinity;
  #orderDue: ReturnType<typeof setTimeout> | undefined;
  #pending = false;
  /** Changes of markets that no message had introduced; the collector never sends such. */
  strays = 0;

  /** `now` is a clock that only goes forward, in milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Goes up with each notification. */
  readonly getVersion = (): number => this.#version;

  /** Goes up when a list of markets should be put in order anew: at most once a second. */
  readonly getOrderVersion = (): number => this.#orderVersion;

  get size(): number {
    return this.#books.size;
  }

  /** The present slot of activity. */
  get slot(): number {
    return slotAt(this.#now());
  }

  book(ticker: string): Book | undefined {
    return this.#books.get(ticker);
  }

  books(): IterableIterator<Book> {
    return this.#books.values();
  }

  /** A new connection: nothing of the old one's books may survive into it. Every market starts without a book. */
  connected(data: ConnectionData): void {
    this.#books.clear();
    for (const ticker of data.markets) {
      this.#books.set(ticker, new Book(ticker));
    }
    this.#orderedAtMs = -Infinity;
    this.#notifySoon();
  }

  snapshot(data: BookData): void {
    let book = this.#books.get(data.market_ticker);
    if (book === undefined) {
      book = new Book(data.market_ticker);
      this.#books.set(data.market_ticker, book);
    }
    book.applySnapshot(data);
    this.#notifySoon();
  }

  delta(data: DeltaData): void {
    const book = this.#books.get(data.market_ticker);
    if (book?.hasSnapshot !== true) {
      this.strays += 1;
      return;
    }
    book.applyDelta(data, this.slot);
    this.#notifySoon();
  }

  #notifySoon(): void {
    if (this.#pending) {
      return;
    }
    this.#pending = true;
    setTimeout(() => {
      this.#pending = false;
      this.#version += 1;
      const sinceMs = this.#now() - this.#orderedAtMs;
      if (sinceMs >= ORDER_MS) {
        this.#reorder();
        return;
      }
      this.#orderDue ??= setTimeout(() => this.#reorder(), ORDER_MS - sinceMs);
      this.#tell();
    }, NOTIFY_MS);
  }

  #reorder(): void {
    clearTimeout(this.#orderDue);
    this.#orderDue = undefined;
    this.#orderedAtMs = this.#now();
    this.#orderVersion += 1;
    this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) {
      listener();
    }
  }
}
