// The newest `stats`, for whoever shows numbers. No React.
import type { StatsData } from "../protocol/messages";

export class StatsStore {
  #stats: StatsData | null = null;
  readonly #listeners = new Set<() => void>();

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly get = (): StatsData | null => this.#stats;

  put(stats: StatsData): void {
    this.#stats = stats;
    for (const listener of this.#listeners) {
      listener();
    }
  }
}
