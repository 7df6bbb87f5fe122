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
  /** Worst first. */
  readonly problems: readonly Problem[];
}

export function judge(stats: StatsData | null, link: LinkState): Verdict {
  if (stats === null) {
    return hasFailed(link)
      ? {
          kind: "lost",
          title: "No connection to the collector",
          sinceMs: null,
          note: "",
          problems: [connectionProblem(link, null)],
        }
      : { kind: "connecting", title: "Connecting to the collector", sinceMs: null, note: "", problems: [] };
  }
  if (link.isStale) {
    const asOf = formatClock(stats.server_time_ms);
    // A tab that was hidden comes back without an alarm, and without a claim that its numbers live.
    if (link.attempts === 0 && (link.phase === "connecting" || link.phase === "paused")) {
      const title = `Reconnecting to the collector – numbers as of ${asOf}`;
      return { kind: "connecting", title, sinceMs: null, note: "", problems: [] };
    }
    return {
      kind: "lost",
      title: `No connection to the collector – numbers as of ${asOf}`,
      sinceMs: stats.server_time_ms,
      note: "",
      problems: [connectionProblem(link, stats.server_time_ms), ...stats.problems],
    };
  }
  return judgeRecorder(stats);
}

function hasFailed(link: LinkState): boolean {
  return link.isStale || link.attempts > 0 || link.phase === "offline";
}

function judgeRecorder(stats: StatsData): Verdict {
  const { problems } = stats;
  const failed = problems.find((problem) => problem.level === "failed");
  if (failed !== undefined) {
    // Where some feeds go on, it is still true that not everything is recorded that should be.
    const isPartial = stats.session_status === "active" && stats.markets_active > 0;
    const title = isPartial ? "NOT recording everything" : "NOT recording";
    return { kind: "failed", title, sinceMs: failed.since_ms, note: reach(stats), problems };
  }
  const degraded = problems.find((problem) => problem.level === "degraded");
  if (stats.session_status !== "active") {
    const isFirst = stats.session_id === "";
    return {
      kind: degraded === undefined ? "starting" : "degraded",
      title: isFirst ? "Not recording yet" : "Not recording while reconnecting",
      sinceMs: degraded?.since_ms ?? lastTime(stats.feeds.map((feed) => feed.since)),
      note: isFirst ? "No session has begun" : reach(stats),
      problems,
    };
  }
  if (degraded !== undefined) {
    const isReserve = stats.database.phase === "away" || stats.spool.records > 0;
    return {
      kind: isReserve ? "reserve" : "degraded",
      title: isReserve ? "Recording, with a reserve in use" : "Recording, with a fault",
      sinceMs: degraded.since_ms,
      note: reach(stats),
      problems,
    };
  }
  return { kind: "good", title: "Recording", sinceMs: goodSince(stats), note: reach(stats), problems };
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
  return exact === all ? `All ${plural(all, "book")} exact` : `${formatCount(exact)} of ${plural(all, "book")} exact`;
}

function connectionProblem(link: LinkState, sinceMs: number | null): Problem {
  const isSilent = link.phase === "open";
  const cause = isSilent ? "The connection is open, but nothing comes." : link.reason;
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
  };
}
