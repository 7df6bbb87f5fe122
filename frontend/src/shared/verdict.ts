// The one sentence at the top of both pages. The collector judges itself, in `stats.problems`; what only this page can
// know is added here: that the connection is gone, or that nothing comes any more. Pure.
import type { LinkState } from "../live/link";
import type { Problem, StatsData } from "../protocol/messages";
import { formatClock, formatCount, parseTime, plural } from "./format";

export type VerdictKind = "connecting" | "lost" | "failed" | "starting" | "reserve" | "degraded" | "good";

export interface Verdict {
  readonly kind: VerdictKind;
  readonly title: string;
  /** Since when it is so, by the collector's clock. */
  readonly sinceMs: number | null;
  /** One line more, for good times. */
  readonly note: string;
  /** When the numbers came that the page still shows, by the page's own clock; null while they live. */
  readonly numbersAtMs: number | null;
  /** Worst first. */
  readonly problems: readonly Problem[];
}

export function judge(stats: StatsData | null, link: LinkState): Verdict {
  if (stats === null) {
    return hasFailed(link)
      ? {
          kind: "lost",
          title: "No connection to the collector",
          ...UNDATED,
          problems: [connectionProblem(link, null)],
        }
      : { kind: "connecting", title: "Connecting to the collector", ...UNDATED, problems: [] };
  }
  if (link.isStale) {
    const asOf = formatClock(stats.server_time_ms);
    const { numbersAtMs } = link;
    // A tab that was hidden comes back without an alarm, and without a claim that its numbers live.
    if (link.attempts === 0 && (link.phase === "connecting" || link.phase === "paused")) {
      const title = `Reconnecting to the collector – numbers as of ${asOf}`;
      return { kind: "connecting", title, ...UNDATED, numbersAtMs, problems: [] };
    }
    return {
      kind: "lost",
      title: `No connection to the collector – numbers as of ${asOf}`,
      sinceMs: stats.server_time_ms,
      note: "",
      numbersAtMs,
      problems: [connectionProblem(link, stats.server_time_ms), ...stats.problems],
    };
  }
  return { ...judgeRecorder(stats), numbersAtMs: null };
}

/** Failures with which frames are still received: receiving stops when the memory for them is full, and says so. */
const HELD_IN_MEMORY: ReadonlySet<string> = new Set(["database", "spool-full", "spool-disk"]);

const UNDATED = { sinceMs: null, note: "", numbersAtMs: null } as const;

function hasFailed(link: LinkState): boolean {
  return link.isStale || link.attempts > 0 || link.phase === "offline";
}

function judgeRecorder(stats: StatsData): Omit<Verdict, "numbersAtMs"> {
  const { problems } = stats;
  const failed = problems.find((problem) => problem.level === "failed");
  if (failed !== undefined) {
    // Where some feeds go on, it is still true that not everything is recorded that should be.
    const isPartial = stats.session_status === "active" && stats.markets_active > 0;
    const isHeld = isPartial && problems.every(({ id, level }) => level !== "failed" || HELD_IN_MEMORY.has(id));
    const title = isHeld
      ? "At risk – what comes is held in memory alone"
      : isPartial
        ? "NOT recording everything"
        : "NOT recording";
    return { kind: "failed", title, sinceMs: sinceWorst(problems, "failed"), note: shortfall(stats), problems };
  }
  const degraded = problems.find((problem) => problem.level === "degraded");
  if (stats.session_status !== "active") {
    const isFirst = stats.session_id === "";
    return {
      kind: degraded === undefined ? "starting" : "degraded",
      title: isFirst ? "Not recording yet" : "Not recording while reconnecting",
      sinceMs: sinceWorst(problems, "degraded") ?? lastTime(stats.feeds.map((feed) => feed.since)),
      note: isFirst ? "No session has begun" : reach(stats),
      problems,
    };
  }
  if (degraded !== undefined) {
    const reserve = reserveWords(stats, degraded);
    return {
      kind: reserve === null ? "degraded" : "reserve",
      title: reserve ?? "Recording, with a fault",
      sinceMs: sinceWorst(problems, "degraded"),
      note: reach(stats),
      problems,
    };
  }
  return { kind: "good", title: "Recording", sinceMs: goodSince(stats), note: reach(stats), problems };
}

/** The worst problem of a level that lasts; a fault that is over is not still so. */
function sinceWorst(problems: readonly Problem[], level: Problem["level"]): number | null {
  return problems.find((problem) => problem.level === level && !problem.is_over)?.since_ms ?? null;
}

/** What stands in for the database, where that is the worst there is; null where something else is wrong. */
function reserveWords(stats: StatsData, worst: Problem): string | null {
  if (stats.database.phase === "away") {
    return "Recording to disk – the database is away";
  }
  return worst.id === "spool" ? "Recording, the spool is draining" : null;
}

/** All is well since the last of its parts became well. */
function goodSince(stats: StatsData): number | null {
  return lastTime([stats.database.since, ...stats.feeds.map((feed) => feed.since)]);
}

function lastTime(times: readonly (string | null)[]): number | null {
  return times
    .map(parseTime)
    .reduce((last, time) => (time !== null && (last === null || time > last) ? time : last), null);
}

function reach(stats: StatsData): string {
  const { markets_active: exact, markets_tracked: all } = stats;
  // A book that an audit found wrong had been called exact: just now nobody should promise that for all of them.
  const isDoubted = stats.problems.some((problem) => problem.id === "audit-mismatch");
  return exact === all && !isDoubted ? `All ${plural(all, "book")} exact` : shortfall(stats);
}

/** How many books are not exact; nothing where that would calm in the wrong place. */
function shortfall({ markets_active: exact, markets_tracked: all }: StatsData): string {
  return exact === all ? "" : `${formatCount(exact)} of ${plural(all, "book")} exact`;
}

function connectionProblem(link: LinkState, sinceMs: number | null): Problem {
  const isSilent = link.phase === "open";
  const cause = isSilent ? "The connection is open, but no numbers come." : link.reason;
  return {
    id: "page_connection",
    level: "failed",
    title: isSilent
      ? "The collector has stopped answering"
      : link.opens === 0
        ? "This page can’t reach the collector"
        : "This page has lost the collector",
    detail: `${cause} Whether it still records can’t be seen from here.`.trimStart(),
    advice: isSilent
      ? "Check the service’s load and its log."
      : "The page tries again by itself. If that does not help, check that the service runs, and the way to it.",
    since_ms: sinceMs,
    is_over: false,
  };
}
