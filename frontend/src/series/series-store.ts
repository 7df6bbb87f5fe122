// The last 15 minutes of what the charts show: seeded from /rl/series, continued by the newest second of each `stats`.
import type { SecondData, SeriesData } from "../protocol/messages";
import { SecondRing } from "./ring";

export const WINDOW_S = 900;
/** A short history does not waste a chart's width, but a line of a few seconds would tell nothing either. */
export const WINDOW_S_MIN = 120;
/** The collector's clock was set back by more than this: times that lie ahead of it would hide what comes. */
const BACK_MS = 60_000;

export const SERIES = ["messages_per_second", "commit_p99_ms", "age_p99_ms", "exact_markets"] as const;
export type SeriesName = (typeof SERIES)[number];

export interface SeriesView {
  /** The newest second, in seconds since 1970; null before the first value. */
  readonly endS: number | null;
  /** One value for each second up to the newest, oldest first, of all of the time there is something of. */
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
  /** The newest end of a second that was told, and the place in the rings that it got. */
  #endMs = 0;
  #endS = 0;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** The rings as they are now; the same object until something changes. */
  readonly get = (): SeriesView => (this.#view ??= this.#read());

  /** Take over what the collector remembers. Seconds that came live meanwhile, after its end, stay. */
  seed(series: SeriesData): void {
    if (series.end_ms === 0) {
      return;
    }
    const endS = this.#place(series.end_ms);
    const stepS = Math.max(1, Math.round(series.step_ms / 1000));
    for (const name of SERIES) {
      const values = series[name];
      values.forEach((value, index) => {
        this.#rings[name].put(endS - (values.length - 1 - index) * stepS, value);
      });
    }
    this.#changed();
  }

  /** One more second; nothing when it has been told already. */
  note(second: SecondData): void {
    if (second.end_ms === 0 || second.end_ms === this.#endMs) {
      return;
    }
    if (this.#endMs - second.end_ms > BACK_MS) {
      this.#clear();
    }
    const place = this.#place(second.end_ms);
    for (const name of SERIES) {
      this.#rings[name].put(place, second[name]);
    }
    this.#changed();
  }

  /**
   * The place of a second that ended at a time. The collector's seconds end anywhere between two of the clock and come
   * a little early or late: from one to the next counts, so that rounding makes neither holes nor doubles.
   */
  #place(endMs: number): number {
    const next = this.#endS + Math.round((endMs - this.#endMs) / 1000);
    const isNear = this.#endMs > 0 && Math.abs(next - endMs / 1000) <= 1;
    const place = isNear ? next : Math.round(endMs / 1000);
    if (endMs > this.#endMs) {
      this.#endMs = endMs;
      this.#endS = place;
    }
    return place;
  }

  #clear(): void {
    this.#endMs = this.#endS = 0;
    for (const name of SERIES) {
      this.#rings[name].clear();
    }
  }

  #read(): SeriesView {
    const endS = Math.max(...SERIES.map((name) => this.#rings[name].newest));
    const all = SERIES.map((name) => this.#rings[name].read(endS));
    const firsts = all.map((values) => values.findIndex((value) => value !== null)).filter((first) => first >= 0);
    const from = Math.min(WINDOW_S - WINDOW_S_MIN, ...firsts);
    const [messages_per_second = [], commit_p99_ms = [], age_p99_ms = [], exact_markets = []] = all.map((values) =>
      values.slice(from),
    );
    return {
      endS: endS < 0 ? null : endS,
      values: { messages_per_second, commit_p99_ms, age_p99_ms, exact_markets },
    };
  }

  #changed(): void {
    this.#view = null;
    for (const listener of this.#listeners) {
      listener();
    }
  }
}
