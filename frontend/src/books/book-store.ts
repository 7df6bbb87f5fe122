// All order books of one connection, outside React. Thousands of changes a second come in; a few notifications go out.
import type { BookData, ConnectionData, DeltaData } from "../protocol/messages";
import { UNFOLLOWED } from "../shared/causes";
import { slotAt } from "./activity";
import { Book } from "./book";

/** Five times a second is as fast as people read moving numbers. */
export const NOTIFY_MS = 200;
/** Rows that change places more often can't be followed. */
export const ORDER_MS = 1_000;
/** Where hardly anything changes, one lone change must not look like a storm. */
const ACTIVITY_TOP_MIN = 8;

export class BookStore {
  readonly #now: () => number;
  readonly #books = new Map<string, Book>();
  readonly #listeners = new Set<() => void>();
  #version = 0;
  #orderVersion = 0;
  #orderedAtMs = -Infinity;
  #orderDue: ReturnType<typeof setTimeout> | undefined;
  #pending = false;
  /** What the collector's clock is ahead of the page's; before its first statistics, by the newest change. */
  #aheadMs = -Infinity;
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

  /** The present slot of activity, by the collector's clock, as changes are. */
  get slot(): number {
    return this.#aheadMs === -Infinity ? 0 : slotAt(this.#now() + this.#aheadMs);
  }

  /** The collector's time is this now. */
  tellTime(serverTimeMs: number): void {
    this.#aheadMs = serverTimeMs - this.#now();
  }

  /** The most changes that any market had within one slot of the last minute, up to the next power of two. */
  activityTop(): number {
    const { slot } = this;
    let top = ACTIVITY_TOP_MIN;
    for (const book of this.#books.values()) {
      top = Math.max(top, book.activity.top(slot));
    }
    return 2 ** Math.ceil(Math.log2(top));
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
    if (data.unknown_cause === UNFOLLOWED) {
      // The market is recorded no more, and so nothing of it will ever change here.
      this.#books.delete(data.market_ticker);
      this.#notifySoon();
      return;
    }
    let book = this.#books.get(data.market_ticker);
    if (book === undefined) {
      book = new Book(data.market_ticker);
      this.#books.set(data.market_ticker, book);
    }
    book.applySnapshot(data);
    this.#changed(data.timestamp_ms);
  }

  delta(data: DeltaData): void {
    const book = this.#books.get(data.market_ticker);
    if (book?.hasSnapshot !== true) {
      this.strays += 1;
      return;
    }
    book.applyDelta(data);
    this.#changed(data.timestamp_ms);
  }

  #changed(timestampMs: number): void {
    // What has come can't be of later than now.
    this.#aheadMs = Math.max(this.#aheadMs, timestampMs - this.#now());
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
