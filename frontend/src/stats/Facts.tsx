// Named facts in two columns: how writing goes, whether what is recorded is whole, how old messages are.
import type { ReactNode } from "react";
import type { DataHealthData, QuantilesData, StatsData } from "../protocol/messages";
import { formatBytes, formatCount, formatMoment, formatMs, NOTHING, parseTime, plural, words } from "../shared/format";
import { Panel } from "../shared/Panel";
import { StateTag, type Tone } from "../shared/StateTag";
import type { Polled } from "../shared/use-polled";

function Fact({
  name,
  children,
  note,
}: {
  readonly name: string;
  readonly children: ReactNode;
  readonly note?: ReactNode;
}) {
  return (
    <div className="fact">
      <dt>{name}</dt>
      <dd>{children}</dd>
      {note !== undefined && note !== "" && <dd className="fact-note">{note}</dd>}
    </div>
  );
}

const DATABASE_TONES: Readonly<Record<StatsData["database"]["phase"], Tone>> = {
  available: "good",
  starting: "waiting",
  away: "degraded",
};

export function WritePath({ stats }: { readonly stats: StatsData }) {
  const { database, spool, server_time_ms: nowMs } = stats;
  const since = parseTime(database.since);
  const spoolSince = parseTime(spool.since);
  return (
    <Panel title="Write path">
      <dl className="facts">
        <Fact
          name="Database"
          note={[since === null ? "" : `since ${formatMoment(since, nowMs)}`, database.reason]
            .filter(Boolean)
            .join(": ")}
        >
          <StateTag tone={DATABASE_TONES[database.phase]}>{words(database.phase)}</StateTag>
        </Fact>
        <Fact name="Spool" note={spoolNote(stats, spoolSince)}>
          {spoolState(stats)}
        </Fact>
        <Fact name="Rows written">{formatCount(stats.rows_written)}</Fact>
        <Fact name="Frames received">{formatCount(stats.frames_received)}</Fact>
        <Fact name="Frames to be written">{formatCount(stats.db_queue_size)}</Fact>
        <Fact name="Last write">{formatMs(stats.write_ms_last)}</Fact>
        <Fact name="Slowest write">{formatMs(stats.write_ms_max)}</Fact>
      </dl>
    </Panel>
  );
}

function spoolState({ spool }: StatsData): ReactNode {
  if (spool.is_full) {
    return <StateTag tone="failed">full</StateTag>;
  }
  if (spool.failure !== "") {
    return <StateTag tone="failed">disk fails</StateTag>;
  }
  if (spool.bytes > 0) {
    return <StateTag tone="degraded">in use</StateTag>;
  }
  return <StateTag tone={spool.damaged_files > 0 ? "degraded" : "good"}>empty</StateTag>;
}

function spoolNote({ spool, server_time_ms: nowMs }: StatsData, sinceMs: number | null): string {
  const isUsed = spool.bytes > 0;
  return [
    isUsed && sinceMs !== null ? `since ${formatMoment(sinceMs, nowMs)}` : "",
    `${formatBytes(spool.bytes)} of ${formatBytes(spool.bytes_max)}`,
    isUsed ? `${plural(spool.sessions, "session")} waiting` : "",
    spool.drained_records > 0 ? `${formatCount(spool.drained_records)} drained` : "",
    spool.torn_records > 0 ? plural(spool.torn_records, "torn record") : "",
    spool.damaged_files > 0 ? plural(spool.damaged_files, "damaged file") : "",
    spool.failure,
  ]
    .filter(Boolean)
    .join(", ");
}

const LEDGER_TONES: Readonly<Record<DataHealthData["status"], Tone>> = {
  good: "good",
  off: "failed",
  unknown: "waiting",
};

interface IntegrityProps {
  readonly stats: StatsData;
  readonly health: Polled<DataHealthData>;
}

export function Integrity({ stats, health }: IntegrityProps) {
  const { clock, server_time_ms: nowMs } = stats;
  const lastStep = parseTime(clock.last_step);
  return (
    <Panel title="Integrity">
      <dl className="facts">
        <Fact name="Ledger" note={health.error === "" ? (health.data?.why ?? "") : health.error}>
          <LedgerState health={health} />
        </Fact>
        <Fact name="Audits" note={auditNote(stats)}>
          {stats.audit_mismatches > 0 ? (
            <StateTag tone="failed">differences</StateTag>
          ) : stats.audits > 0 ? (
            <StateTag tone="good">agree</StateTag>
          ) : (
            <StateTag tone="waiting">none yet</StateTag>
          )}
        </Fact>
        <Fact name="Newest hash" note="of the chain: kept elsewhere, it proves the recording up to now">
          {stats.database.chain_head === "" ? "none yet" : <code className="hash">{stats.database.chain_head}</code>}
        </Fact>
        <Fact name="Gaps">{formatCount(stats.gaps)}</Fact>
        <Fact name="Rejects">{formatCount(stats.rejects)}</Fact>
        <Fact name="Stale frames">{formatCount(stats.stales)}</Fact>
        <Fact name="Trades">{formatCount(stats.trades_processed)}</Fact>
        <Fact name="Reconnections">{formatCount(stats.reconnections)}</Fact>
        <Fact
          name="Clock set"
          note={lastStep === null ? "" : `last ${formatMoment(lastStep, nowMs)}, by ${formatMs(clock.last_size_ms)}`}
        >
          {clock.steps === 0 ? "never" : plural(clock.steps, "time")}
        </Fact>
      </dl>
    </Panel>
  );
}

function auditNote(stats: StatsData): string {
  const { audits, audit_mismatches: mismatches, unanswered_audits: unanswered } = stats;
  return [
    mismatches > 0
      ? `${formatCount(mismatches)} of ${plural(audits, "book")} differed`
      : audits > 0
        ? `${plural(audits, "book")} compared with the exchange’s`
        : "",
    unanswered > 0 ? `${formatCount(unanswered)} not answered` : "",
  ]
    .filter(Boolean)
    .join(", ");
}

function LedgerState({ health }: { readonly health: Polled<DataHealthData> }) {
  const status = health.data?.status;
  if (status === undefined || health.error !== "") {
    return <StateTag tone="waiting">{health.error === "" ? "asking" : "can’t be asked"}</StateTag>;
  }
  return (
    <StateTag tone={LEDGER_TONES[status]}>
      {{ good: "closes", off: "does not close", unknown: "unknown" }[status]}
    </StateTag>
  );
}

const AGES = [
  {
    name: "exchange_to_receive",
    title: "Exchange to arrival",
    what: "exchange and network; the clocks’ difference is in it",
  },
  { name: "exchange_to_send", title: "Exchange to sending", what: "the exchange, where its frames say so" },
  { name: "send_to_receive", title: "Sending to arrival", what: "the network; the clocks’ difference is in it" },
  { name: "receive_to_book", title: "Arrival to book", what: "this service" },
  { name: "receive_to_commit", title: "Arrival to database", what: "waiting for a batch, and PostgreSQL" },
] as const;

export function MessageAges({ stats }: { readonly stats: StatsData }) {
  return (
    <Panel title="Message age" aside={<span className="soft">last minute</span>}>
      <table className="plain">
        <thead>
          <tr>
            <th scope="col">From</th>
            <th scope="col" className="number">
              Half within
            </th>
            <th scope="col" className="number">
              99 % within
            </th>
          </tr>
        </thead>
        <tbody>
          {AGES.map(({ name, title, what }) => (
            <AgeRow key={name} title={title} what={what} ages={stats.ages_ms[name]} />
          ))}
        </tbody>
      </table>
      {stats.growing_ages.length > 0 && (
        <ul className="panel-list">
          {stats.growing_ages.map((feed) => (
            <li key={feed.feed}>
              <StateTag tone="degraded">
                {feed.feed}: getting older, {formatMs(feed.age_ms)} now, {formatMs(feed.best_ms)} at best
              </StateTag>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function AgeRow({
  title,
  what,
  ages,
}: {
  readonly title: string;
  readonly what: string;
  readonly ages: QuantilesData;
}) {
  return (
    <tr>
      <th scope="row">
        {title}
        <span className="row-note">{what}</span>
      </th>
      <td className="number">{ages.p50 === null ? NOTHING : formatMs(ages.p50)}</td>
      <td className="number">{ages.p99 === null ? NOTHING : formatMs(ages.p99)}</td>
    </tr>
  );
}
