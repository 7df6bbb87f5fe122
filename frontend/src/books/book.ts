// One market's order book: integers in maps, changed in place, with a version for whoever shows it.
//
// Only bids are held. A NO bid at p is a YES ask at a dollar less p, so both sides of the YES market are in them.
import type { BookData, DeltaData } from "../protocol/messages";
import { Activity, slotAt } from "./activity";
import { centsToE4, contractsToE2, DOLLAR_E4 } from "./units";

/** Why a book is unknown of which nothing has come yet; the recorder uses the same word. */
export const NO_SNAPSHOT_YET = "no_snapshot_yet";

/** Resting contracts by price, and what is asked of them most. */
class Side {
  readonly levels = new Map<number, number>();
  bestE4: number | null = null;
  sizeE2 = 0;

  replace(levels: Readonly<Record<string, number>>): void {
    this.levels.clear();
    this.bestE4 = null;
    this.sizeE2 = 0;
    for (const [cents, contracts] of Object.entries(levels)) {
      this.set(centsToE4(cents), contractsToE2(contracts));
    }
  }

  set(priceE4: number, sizeE2: number): void {
    this.sizeE2 += sizeE2 - (this.levels.get(priceE4) ?? 0);
    if (sizeE2 > 0) {
      this.levels.set(priceE4, sizeE2);
      if (this.bestE4 === null || priceE4 > this.bestE4) {
        this.bestE4 = priceE4;
      }
    } else {
      this.levels.delete(priceE4);
      if (priceE4 === this.bestE4) {
        this.bestE4 = highest(this.levels);
      }
    }
  }
}

function highest(levels: ReadonlyMap<number, number>): number | null {
  let best: number | null = null;
  for (const price of levels.keys()) {
    if (best === null || price > best) {
      best = price;
    }
  }
  return best;
}

export interface Level {
  readonly priceE4: number;
  readonly sizeE2: number;
  /** Contracts at this price and at every better one. */
  readonly totalE2: number;
}

export class Book {
  readonly ticker: string;
  readonly activity = new Activity();
  readonly #yes = new Side();
  readonly #no = new Side();
  /** Goes up with every change, so that equal versions mean equal looks. */
  version = 0;
  hasSnapshot = false;
  sequence = 0;
  changedAtMs: number | null = null;
  unknownCause: string | null = NO_SNAPSHOT_YET;

  constructor(ticker: string) {
    this.ticker = ticker;
  }

  get isExact(): boolean {
    return this.unknownCause === null;
  }

  /** The best YES bid, in 1/100 cent. */
  get bidE4(): number | null {
    return this.#yes.bestE4;
  }

  /** The best YES ask, which is the best NO bid from the other end. */
  get askE4(): number | null {
    return this.#no.bestE4 === null ? null : DOLLAR_E4 - this.#no.bestE4;
  }

  get spreadE4(): number | null {
    const { bidE4, askE4 } = this;
    return bidE4 === null || askE4 === null ? null : askE4 - bidE4;
  }

  get bidDepthE2(): number {
    return this.#yes.sizeE2;
  }

  get askDepthE2(): number {
    return this.#no.sizeE2;
  }

  /** Contracts on both sides together. */
  get depthE2(): number {
    return this.#yes.sizeE2 + this.#no.sizeE2;
  }

  /** YES bids, best first. */
  bids(): Level[] {
    return ladder([...this.#yes.levels].sort(([one], [other]) => other - one));
  }

  /** YES asks, best first. */
  asks(): Level[] {
    const asks = [...this.#no.levels].map(([noE4, sizeE2]): [number, number] => [DOLLAR_E4 - noE4, sizeE2]);
    return ladder(asks.sort(([one], [other]) => one - other));
  }

  applySnapshot(data: BookData): void {
    this.#yes.replace(data.yes_bids);
    this.#no.replace(data.no_bids);
    this.hasSnapshot = true;
    this.unknownCause = data.is_exact ? null : (data.unknown_cause ?? "unknown");
    this.#changed(data);
  }

  /** Deltas say how much rests at a price now, not by how much it changed. */
  applyDelta(data: DeltaData): void {
    const side = data.side === "yes" ? this.#yes : this.#no;
    side.set(centsToE4(data.price), contractsToE2(data.new_size));
    this.#changed(data);
  }

  /** A snapshot is a change like any other, at the time that it tells: so activity and last change never disagree. */
  #changed(data: BookData | DeltaData): void {
    this.activity.note(slotAt(data.timestamp_ms));
    this.sequence = data.sequence_number;
    this.changedAtMs = data.timestamp_ms;
    this.version += 1;
  }
}

function ladder(levels: [number, number][]): Level[] {
  let totalE2 = 0;
  return levels.map(([priceE4, sizeE2]) => {
    totalE2 += sizeE2;
    return { priceE4, sizeE2, totalE2 };
  });
}
