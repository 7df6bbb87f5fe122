// The last 15 minutes of what the charts show: seeded from /rl/series, continued by each `stats`.
//
// `stats` does not have the ages of one second's messages, but those of the last minute, which would look like another
// line. So their newest seconds stay empty until the next answer of /rl/series brings them.
import type { SeriesData, StatsData } from "../protocol/messages";
import { SecondRing } from "./ring";

export const WINDOW_S = 900;

export const SERIES = ["messages_per_second", "commit_p99_ms", "age_p99_ms", "exact_markets"] as const;
export type SeriesName = (typeof SERIES)[number];

export interface SeriesView {
  /** The newest second, in seconds since 1970; null before the first value. */
  readonly endS: number | null;
  readonly values: Readonly<Record<SeriesName, readonly (number | null)[]>>;
}

export class SeriesStore {
  readonly #rings: Record<SeriesName, SecondRing> = {
    messages_per_second: new SecondRing(WINDOW_S),
    commit_p99_ms: new SecondRing(WINDOW_S),
    age_p99_ms: new SecondRing(WINDOW_S),
    exact_markets: new SecondRing(WINDOW_S),
  };
  readonly #listeners = new Set<() => void>();
  #view: SeriesView | null = null;
  #before: StatsData | null = null;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** The rings as they are now; the same object until something changes. */
  readonly get = (): SeriesView => (this.#view ??= this.#read());

  /** Take over what the collector remembers. Seconds that came live meanwhile, after its end, stay. */
  seed(series: SeriesData): void {
    const endS = Math.floor(series.end_ms / 1000);
    const stepS = Math.max(1, Math.round(series.step_ms / 1000));
    for (const name of SERIES) {
      const values = series[name];
      const ring = this.#rings[name];
      values.forEach((value, index) => {
        ring.put(endS - (values.length - 1 - index) * stepS, value);
      });
    }
    this.#changed();
  }

  /** One more second. */
  note(stats: StatsData): void {
    const second = Math.floor(stats.server_time_ms / 1000);
    const newest = this.#rings.messages_per_second.newest;
    // The collector's clock was set back: times that lie ahead of it would hide what comes.
    if (newest - second > 60) {
      this.#clear();
    }
    this.#rings.messages_per_second.put(second, rateSince(this.#before, stats));
    this.#rings.commit_p99_ms.put(second, null);
    this.#rings.age_p99_ms.put(second, null);
    this.#rings.exact_markets.put(second, stats.markets_active);
    this.#before = stats;
    this.#changed();
  }

  #clear(): void {
    for (const name of SERIES) {
      this.#rings[name].clear();
    }
  }

  #read(): SeriesView {
    const endS = Math.max(...SERIES.map((name) => this.#rings[name].newest));
    return {
      endS: endS < 0 ? null : endS,
      values: {
        messages_per_second: this.#rings.messages_per_second.read(endS),
        commit_p99_ms: this.#rings.commit_p99_ms.read(endS),
        age_p99_ms: this.#rings.age_p99_ms.read(endS),
        exact_markets: this.#rings.exact_markets.read(endS),
      },
    };
  }

  #changed(): void {
    this.#view = null;
    for (const listener of this.#listeners) {
      listener();
    }
  }
}

/** Frames a second between two `stats` that belong together: of one process, and not far apart. */
function rateSince(before: StatsData | null, stats: StatsData): number | null {
  const seconds = before === null ? 0 : (stats.server_time_ms - before.server_time_ms) / 1000;
  const frames = before === null ? 0 : stats.frames_received - before.frames_received;
  return seconds >= 0.5 && seconds <= 5 && frames >= 0 ? frames / seconds : null;
}
