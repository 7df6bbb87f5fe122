// Feeds and sessions: what is connected, what was, and why it ended.
import type { ReactNode } from "react";
import type { DataHealthData, FeedData, SessionData, StatsData } from "../protocol/messages";
import { formatCount, formatDuration, formatMoment, formatMs, NOTHING, parseTime, words } from "../shared/format";
import { Panel } from "../shared/Panel";
import { ScrollRegion } from "../shared/ScrollRegion";
import { StateTag, type Tone } from "../shared/StateTag";

interface Heading {
  readonly name: string;
  readonly isNumber?: boolean;
}

interface TableProps {
  readonly title: string;
  readonly headings: readonly Heading[];
  readonly empty: string;
  readonly children: readonly ReactNode[];
}

/** A table that scrolls sideways where it must, by keys too. */
function Table({ title, headings, empty, children }: TableProps) {
  return (
    <ScrollRegion className="table-scroll" name={`Table of ${title.toLowerCase()}`}>
      <table className="plain">
        <caption className="visually-hidden">{title}</caption>
        <thead>
          <tr>
            {headings.map((heading) => (
              <th key={heading.name} scope="col" className={heading.isNumber === true ? "number" : undefined}>
                {heading.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {children.length > 0 ? (
            children
          ) : (
            <tr>
              <td colSpan={headings.length} className="empty">
                {empty}
              </td>
            </tr>
          )}
        </tbody>
      </table>
    </ScrollRegion>
  );
}

function Moment({ iso, nowMs }: { readonly iso: string | null; readonly nowMs: number }) {
  const ms = parseTime(iso);
  return ms === null || iso === null ? NOTHING : <time dateTime={iso}>{formatMoment(ms, nowMs)}</time>;
}

const FEED_TONES: Readonly<Record<FeedData["phase"], Tone>> = {
  connected: "good",
  connecting: "waiting",
  backing_off: "degraded",
  refused: "failed",
  waiting_for_store: "failed",
  stopped: "failed",
};

const FEED_HEADINGS: readonly Heading[] = [
  { name: "Feed" },
  { name: "State" },
  { name: "Since" },
  { name: "Markets", isNumber: true },
  { name: "Attempts", isNumber: true },
  { name: "Reason" },
];

export function Feeds({ stats }: { readonly stats: StatsData }) {
  return (
    <Panel title="Feeds">
      {stats.discovery.is_on && <p className="panel-note panel-lead">{discoveryWords(stats)}</p>}
      <Table title="Feeds" headings={FEED_HEADINGS} empty="No feed yet.">
        {stats.feeds.map((feed) => (
          <tr key={feed.name}>
            <th scope="row">{feed.name}</th>
            <td>
              <StateTag tone={FEED_TONES[feed.phase]}>{words(feed.phase)}</StateTag>
            </td>
            <td>
              <Moment iso={feed.since} nowMs={stats.server_time_ms} />
            </td>
            <td className="number">{formatCount(feed.markets)}</td>
            <td className="number">{formatCount(feed.attempts)}</td>
            <td className="wide">{feed.reason}</td>
          </tr>
        ))}
      </Table>
    </Panel>
  );
}

/** What is recorded of all that could be, where the collector finds its markets by itself. */
function discoveryWords({ discovery, server_time_ms: nowMs }: StatsData): string {
  const { followed, open_markets: open, last_look: lastLook, reason } = discovery;
  const lastMs = parseTime(lastLook);
  if (lastMs === null) {
    return `Open markets were not looked up yet${reason === "" ? "" : `: ${reason}`}`;
  }
  const ago = formatDuration((nowMs - lastMs) / 1000);
  const failure = reason === "" ? "" : `; the last look failed: ${reason}`;
  return `Recording ${formatCount(followed)} of ${formatCount(open)} open markets, looked up ${ago} ago${failure}`;
}

const SESSION_TONES: Readonly<Record<SessionData["status"], Tone>> = {
  active: "good",
  closed: "waiting",
  error: "degraded",
};

const SESSION_HEADINGS: readonly Heading[] = [
  { name: "Session" },
  { name: "Feed" },
  { name: "State" },
  { name: "Started" },
  { name: "Ended" },
  { name: "Why it ended" },
  { name: "Received", isNumber: true },
  { name: "Written", isNumber: true },
  { name: "Queued", isNumber: true },
  { name: "Rows", isNumber: true },
  { name: "Gaps", isNumber: true },
  { name: "Rejects", isNumber: true },
  { name: "Audits", isNumber: true },
  { name: "Write", isNumber: true },
  { name: "Ledger" },
];

interface SessionsProps {
  readonly stats: StatsData;
  readonly health: DataHealthData | null;
}

export function Sessions({ stats, health }: SessionsProps) {
  const ledgers = new Map(health?.sessions.map((session) => [session.id, session]));
  return (
    <Panel title="Sessions" aside={<span className="soft">newest first</span>}>
      <Table title="Sessions" headings={SESSION_HEADINGS} empty="No session yet.">
        {stats.sessions.toReversed().map((session) => {
          const ledger = session.id === null ? undefined : ledgers.get(session.id);
          return (
            <tr key={session.key}>
              <th scope="row">{session.id ?? NOTHING}</th>
              <td>{session.feed}</td>
              <td>
                <StateTag tone={SESSION_TONES[session.status]}>{words(session.status)}</StateTag>
              </td>
              <td>
                <Moment iso={session.started} nowMs={stats.server_time_ms} />
              </td>
              <td>
                <Moment iso={session.ended} nowMs={stats.server_time_ms} />
              </td>
              <td className="wide">{endWords(session)}</td>
              <td className="number">{formatCount(session.frames_received)}</td>
              <td className="number">{formatCount(session.frames_written)}</td>
              <td className="number">{formatCount(session.queued)}</td>
              <td className="number">{formatCount(session.rows_written)}</td>
              <td className="number">{formatCount(session.gaps)}</td>
              <td className="number">{formatCount(session.received.rejects)}</td>
              <td className="number">
                {formatCount(session.audits)}
                {session.audit_mismatches > 0 && ` (${formatCount(session.audit_mismatches)} differ)`}
                {session.unanswered_audits > 0 && ` (${formatCount(session.unanswered_audits)} unanswered)`}
              </td>
              <td className="number" title={`Slowest ${formatMs(session.write_ms_max)}`}>
                {formatMs(session.write_ms_last)}
              </td>
              <td title={ledger?.findings.join("; ")}>
                {ledger === undefined ? (
                  NOTHING
                ) : (
                  <StateTag tone={ledger.is_good ? "good" : "failed"}>{ledger.is_good ? "closes" : "off"}</StateTag>
                )}
              </td>
            </tr>
          );
        })}
      </Table>
    </Panel>
  );
}

function endWords(session: SessionData): string {
  const reason = session.end_reason === null ? "" : words(session.end_reason);
  return session.close_code === null ? reason : `${reason} (code ${session.close_code})`.trim();
}
