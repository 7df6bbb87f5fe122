// The numbers that one looks for first.
import type { ReactNode } from "react";
import type { StatsData } from "../protocol/messages";
import { formatCount, formatDuration, formatMoment, formatMs, formatRate, NOTHING, words } from "../shared/format";
import { AsOf } from "../shared/as-of";

interface CellProps {
  readonly name: string;
  readonly children: ReactNode;
  readonly sub?: ReactNode;
  readonly tone?: "degraded" | "failed" | undefined;
}

function Cell({ name, children, sub, tone }: CellProps) {
  return (
    <div className={`cell ${tone === undefined ? "" : `cell-${tone}`}`}>
      <dt>{name}</dt>
      <dd className="cell-value">{children}</dd>
      {sub !== undefined && <dd className="cell-sub">{sub}</dd>}
    </div>
  );
}

export function KeyNumbers({ stats }: { readonly stats: StatsData | null }) {
  if (stats === null) {
    return <NoNumbers />;
  }
  const nowMs = stats.server_time_ms;
  const isBehind = stats.database.phase === "away" && stats.db_queue_size > 0;
  return (
    <section className="numbers" aria-label="Key numbers">
      <AsOf />
      <dl className="cells">
        <Cell name="Session" sub={words(stats.session_status)}>
          {stats.session_id === "" ? NOTHING : stats.session_id}
        </Cell>
        <Cell
          name="Exact markets"
          sub={`of ${formatCount(stats.markets_tracked)} tracked`}
          tone={stats.markets_active < stats.markets_tracked ? "degraded" : undefined}
        >
          {formatCount(stats.markets_active)}
        </Cell>
        <Cell name="Messages / s" sub="mean of 10 s">
          {formatRate(stats.messages_per_second)}
        </Cell>
        <Cell name="Snapshots" sub="received">
          {formatCount(stats.snapshots_processed)}
        </Cell>
        <Cell name="Deltas" sub={stats.sample_rate > 1 ? `received; 1 row in ${stats.sample_rate} kept` : "received"}>
          {formatCount(stats.deltas_processed)}
        </Cell>
        <Cell name="Queue" sub="frames to be written" tone={isBehind ? "degraded" : undefined}>
          {formatCount(stats.db_queue_size)}
        </Cell>
        <Cell name="Uptime" sub={`since ${formatMoment(nowMs - stats.uptime_seconds * 1000, nowMs)}`}>
          {formatDuration(stats.uptime_seconds)}
        </Cell>
        <Cell
          name="Last update"
          sub={stats.message_age_ms === null ? "no message yet" : `${formatMs(stats.message_age_ms)} ago`}
        >
          {stats.last_update_ms === null ? NOTHING : formatMoment(stats.last_update_ms, nowMs)}
        </Cell>
      </dl>
    </section>
  );
}

const NAMES = [
  "Session",
  "Exact markets",
  "Messages / s",
  "Snapshots",
  "Deltas",
  "Queue",
  "Uptime",
  "Last update",
] as const;

function NoNumbers() {
  return (
    <section className="numbers" aria-label="Key numbers">
      <dl className="cells">
        {NAMES.map((name) => (
          <Cell key={name} name={name} sub={"\u00a0"}>
            {NOTHING}
          </Cell>
        ))}
      </dl>
    </section>
  );
}
