// The verdict at the top, and what is wrong and what to do about it, before any number.
import { useEffect } from "react";
import type { Problem } from "../protocol/messages";
import { formatDuration, formatMoment, plural } from "./format";
import { Icon, type IconName } from "./icons";
import { Prose } from "./Prose";
import { useSecond } from "./use-second";
import type { Verdict, VerdictKind } from "./verdict";

const ICONS: Readonly<Record<VerdictKind, IconName>> = {
  connecting: "waiting",
  starting: "waiting",
  lost: "lost",
  failed: "failed",
  reserve: "degraded",
  degraded: "degraded",
  good: "good",
};

const LEVEL_WORDS: Readonly<Record<Problem["level"], string>> = {
  failed: "Failed",
  degraded: "Degraded",
  notice: "Notice",
};

/** A tab's title is read beside others: the sign goes first. */
const TITLE_SIGNS: Readonly<Record<VerdictKind, string>> = {
  connecting: "…",
  starting: "…",
  lost: "⌀",
  failed: "✖",
  reserve: "▲",
  degraded: "▲",
  good: "●",
};

interface VerdictBannerProps {
  readonly verdict: Verdict;
  /** The collector's time; null before the first numbers. */
  readonly nowMs: number | null;
  readonly httpUrl: (path: string) => string;
  /** Problems beyond so many are only counted. */
  readonly problemsMax?: number;
}

export function VerdictBanner({ verdict, nowMs, httpUrl, problemsMax = Infinity }: VerdictBannerProps) {
  const { kind, title, sinceMs, note, numbersAtMs, problems } = verdict;
  useEffect(() => {
    document.title = `${TITLE_SIGNS[kind]} ${title}`;
  }, [kind, title]);
  const shown = problems.slice(0, problemsMax);
  const hidden = problems.length - shown.length;
  return (
    <section className={`verdict verdict-${kind}`} aria-label="Verdict">
      {/* Said once when it changes; the durations below change each second and are not announced. */}
      <p className="visually-hidden" aria-live="polite">
        {title}
      </p>
      <div className="verdict-head">
        <Icon name={ICONS[kind]} />
        <div className="verdict-words">
          <h2 className="verdict-title">
            {title}
            {numbersAtMs !== null && <Ago atMs={numbersAtMs} />}
          </h2>
          <p className="verdict-meta">
            {/* The title of a lost connection has its time in it already. */}
            {kind !== "lost" && sinceMs !== null && nowMs !== null && (
              <span>
                since {formatMoment(sinceMs, nowMs)} ({formatDuration((nowMs - sinceMs) / 1000)})
              </span>
            )}
            {note !== "" && <span>{note}</span>}
          </p>
        </div>
      </div>
      {shown.length > 0 && (
        <ul className="problems" aria-label="What is wrong">
          {shown.map((problem) => (
            <ProblemItem
              key={problem.id}
              problem={problem}
              nowMs={nowMs}
              isStale={numbersAtMs !== null}
              httpUrl={httpUrl}
            />
          ))}
        </ul>
      )}
      {hidden > 0 && (
        <p className="problems-more">
          <a href="/rl-stats">{plural(hidden, "more problem")}</a>
        </p>
      )}
    </section>
  );
}

const pageClock = () => performance.now();

/** How long ago, by the page's own clock: while the collector is away, its clock can't be read. */
function Ago({ atMs }: { readonly atMs: number }) {
  const nowMs = useSecond(pageClock, true);
  return <span className="verdict-ago">, {formatDuration((nowMs - atMs) / 1000)} ago</span>;
}

interface ProblemItemProps {
  readonly problem: Problem;
  readonly nowMs: number | null;
  /** Whether the collector's time stands still; then how long something lasts can't be told. */
  readonly isStale: boolean;
  readonly httpUrl: (path: string) => string;
}

function ProblemItem({ problem, nowMs, isStale, httpUrl }: ProblemItemProps) {
  const { level, title, detail, advice, since_ms: sinceMs, is_over: isOver } = problem;
  return (
    <li className={`problem problem-${level}`}>
      <Icon name={level} />
      <div>
        <p className="problem-title">
          <span className="visually-hidden">{LEVEL_WORDS[level]}: </span>
          {title}
          {sinceMs !== null && nowMs !== null && (
            <span className="problem-since">
              {isOver ? "at" : "since"} {formatMoment(sinceMs, nowMs)}
              {!isOver && !isStale && ` (${formatDuration((nowMs - sinceMs) / 1000)})`}
            </span>
          )}
          {isOver && <span className="problem-over">over</span>}
        </p>
        {detail !== "" && (
          <p className="problem-detail">
            <Prose text={detail} httpUrl={httpUrl} />
          </p>
        )}
        {advice !== "" && (
          <p className="problem-advice">
            <b>What to do</b> <Prose text={advice} httpUrl={httpUrl} />
          </p>
        )}
      </div>
    </li>
  );
}
