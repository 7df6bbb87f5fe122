// How much a market moved in the last minute: a fixed ring of counts, by slots of 3 seconds of the collector's clock.

export const SLOT_MS = 3_000;
export const SLOTS = 20;

/** The slot that a time falls into; slots are counted from the clock's zero. */
export function slotAt(nowMs: number): number {
  return Math.floor(nowMs / SLOT_MS);
}

export class Activity {
  readonly #counts = new Uint16Array(SLOTS);
  #newest = 0;

  /** Count a change, which may be of an earlier slot; of more than a minute ago it is not counted any more. */
  note(slot: number): void {
    if (slot > this.#newest) {
      this.advance(slot);
    }
    if (slot > this.#newest - SLOTS) {
      const index = slot % SLOTS;
      this.#counts[index] = Math.min(0xffff, (this.#counts[index] ?? 0) + 1);
    }
  }

  /** Let time pass: slots that nothing was noted in are empty. */
  advance(slot: number): void {
    // So far back only a clock goes that was set.
    if (Math.abs(slot - this.#newest) >= SLOTS) {
      this.#counts.fill(0);
      this.#newest = slot;
    }
    while (this.#newest < slot) {
      this.#newest += 1;
      this.#counts[this.#newest % SLOTS] = 0;
    }
  }

  /** Everything within the last minute. */
  total(slot: number): number {
    this.advance(slot);
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  /** The most within one slot of the last minute. */
  top(slot: number): number {
    this.advance(slot);
    return this.#counts.reduce((top, count) => Math.max(top, count), 0);
  }

  /** The counts, oldest first. */
  bars(slot: number): number[] {
    this.advance(slot);
    return Array.from({ length: SLOTS }, (_, index) => this.#counts[(this.#newest + 1 + index) % SLOTS] ?? 0);
  }
}
