// The verdict at the top, and what is wrong and what to do about it, before any number.
import { useEffect } from "react";
import type { Problem } from "../protocol/messages";
import { formatDuration, formatMoment, plural } from "./format";
import { Icon, type IconName } from "./icons";
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
  /** Problems beyond so many are only counted. */
  readonly problemsMax?: number;
}

export function VerdictBanner({ verdict, nowMs, problemsMax = Infinity }: VerdictBannerProps) {
  const { kind, title, sinceMs, note, problems } = verdict;
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
          <h2 className="verdict-title">{title}</h2>
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
            <ProblemItem key={problem.id} problem={problem} nowMs={nowMs} />
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

function ProblemItem({ problem, nowMs }: { readonly problem: Problem; readonly nowMs: number | null }) {
  return (
    <li className={`problem problem-${problem.level}`}>
      <Icon name={problem.level} />
      <div>
        <p className="problem-title">
          <span className="visually-hidden">{LEVEL_WORDS[problem.level]}: </span>
          {problem.title}
          {problem.since_ms !== null && nowMs !== null && (
            <span className="problem-since">since {formatMoment(problem.since_ms, nowMs)}</span>
          )}
        </p>
        {problem.detail !== "" && <p className="problem-detail">{problem.detail}</p>}
        {problem.advice !== "" && (
          <p className="problem-advice">
            <b>What to do</b> {problem.advice}
          </p>
        )}
      </div>
    </li>
  );
}
