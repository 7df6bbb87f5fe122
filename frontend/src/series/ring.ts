// A fixed ring of values, one for each second of a clock: what a chart of the last minutes needs, and no more.

/** Values by second. Older ones are overwritten; a second without a value is null. */
export class SecondRing {
  readonly length: number;
  readonly #values: Float64Array;
  #newest = -1;

  constructor(length: number) {
    this.length = length;
    this.#values = new Float64Array(length).fill(NaN);
  }

  /** The newest second that has been reached; -1 before the first. */
  get newest(): number {
    return this.#newest;
  }

  /** Put a value at a second. What lies too far back is ignored; seconds that were skipped are null. */
  put(second: number, value: number | null): void {
    if (this.#newest >= 0 && second <= this.#newest - this.length) {
      return;
    }
    if (second > this.#newest) {
      const skipped = this.#newest < 0 ? this.length : Math.min(this.length, second - this.#newest);
      for (let back = 0; back < skipped; back += 1) {
        this.#values[(second - back) % this.length] = NaN;
      }
      this.#newest = second;
    }
    this.#values[second % this.length] = value ?? NaN;
  }

  clear(): void {
    this.#values.fill(NaN);
    this.#newest = -1;
  }

  /** The values of the `length` seconds up to `last`, oldest first. */
  read(last: number = this.#newest): (number | null)[] {
    return Array.from({ length: this.length }, (_, index) => {
      const second = last - this.length + 1 + index;
      const isHeld = second >= 0 && second <= this.#newest && second > this.#newest - this.length;
      const value = isHeld ? this.#values[second % this.length] : undefined;
      return value === undefined || Number.isNaN(value) ? null : value;
    });
  }
}
