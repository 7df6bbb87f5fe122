// Numbers and times as people read them. Pure; times are shown in the reader's own time zone, 24 hours.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short" });

/** What stands where there is no number. */
export const NOTHING = "–";

export function formatCount(value: number | null): string {
  return value === null ? NOTHING : whole.format(value);
}

export function formatRate(perSecond: number): string {
  return perSecond < 100 ? tenths.format(perSecond) : whole.format(perSecond);
}

/** Milliseconds in the unit that needs the fewest digits: 0.7 ms, 42 ms, 1.4 s. */
export function formatMs(ms: number | null): string {
  if (ms === null) {
    return NOTHING;
  }
  if (Math.abs(ms) >= 60_000) {
    return formatDuration(ms / 1000);
  }
  if (Math.abs(ms) >= 999.5) {
    return `${tenths.format(ms / 1000)} s`;
  }
  return Math.abs(ms) < 9.95 ? `${tenths.format(ms)} ms` : `${whole.format(ms)} ms`;
}

/** The two largest units of a time span: 42 s, 3 min 5 s, 2 h 10 min, 4 d 3 h. */
export function formatDuration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) {
    return `${s} s`;
  }
  if (s < 3_600) {
    return `${Math.floor(s / 60)} min ${s % 60} s`;
  }
  if (s < 86_400) {
    return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`;
  }
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3_600)} h`;
}

/** How long ago, for a column: now, 5 s, 3 min, 2 h, 4 d. */
export function formatAge(ms: number): string {
  const s = Math.floor(ms / 1000);
  if (s < 1) {
    return "now";
  }
  if (s < 60) {
    return `${s} s`;
  }
  if (s < 3_600) {
    return `${Math.floor(s / 60)} min`;
  }
  return s < 86_400 ? `${Math.floor(s / 3_600)} h` : `${Math.floor(s / 86_400)} d`;
}

export function formatBytes(bytes: number): string {
  if (bytes < 1e6) {
    return `${tenths.format(bytes / 1e3)} kB`;
  }
  return bytes < 1e9 ? `${tenths.format(bytes / 1e6)} MB` : `${tenths.format(bytes / 1e9)} GB`;
}

export function formatClock(ms: number): string {
  return clock.format(ms);
}

export function formatMinute(ms: number): string {
  return minute.format(ms);
}

/** A time of day, with the day when that is not the day of `nowMs`. */
export function formatMoment(ms: number, nowMs: number): string {
  return day.format(ms) === day.format(nowMs) ? clock.format(ms) : `${day.format(ms)} ${clock.format(ms)}`;
}

/** Milliseconds since 1970 of a time that travels as text. */
export function parseTime(iso: string | null): number | null {
  return iso === null ? null : Date.parse(iso);
}

/** A share for people: never 100 % when something is missing, never 0 % when something is there. */
export function formatShare(share: number): string {
  if (share >= 1) {
    return "100 %";
  }
  if (share <= 0) {
    return "0 %";
  }
  return `${tenths.format(Math.min(99.9, Math.max(0.1, share * 100)))} %`;
}

/** 1/100 cent as cents, with no needless digit: 45, 45.5, 0.25. */
export function formatCents(e4: number | null): string {
  return e4 === null ? NOTHING : String(e4 / 100);
}

/** 1/100 contract as contracts. */
export function formatContracts(e2: number): string {
  return e2 % 100 === 0 ? whole.format(e2 / 100) : (e2 / 100).toLocaleString("en-US", { minimumFractionDigits: 2 });
}

/** Contracts where room is short: 950, 12.4k, 1.3M. */
export function formatShort(e2: number): string {
  const contracts = e2 / 100;
  if (contracts < 10_000) {
    return whole.format(contracts);
  }
  return contracts < 1e6 ? `${tenths.format(contracts / 1e3)}k` : `${tenths.format(contracts / 1e6)}M`;
}

/** Names of the recorder, such as backing_off, as words. */
export function words(name: string): string {
  return name.replaceAll("_", " ");
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}
