// The newest gaps, rejects and audits.
import type { ReactNode } from "react";
import type { AuditData, GapData, RejectData, StatsData } from "../protocol/messages";
import { causeWords } from "../shared/causes";
import { formatCount, formatMoment, parseTime, words } from "../shared/format";
import { Icon, type IconName } from "../shared/icons";
import { Panel } from "../shared/Panel";
import { ScrollRegion } from "../shared/ScrollRegion";

interface EventItemProps {
  readonly icon: IconName;
  readonly iso: string;
  readonly nowMs: number;
  readonly title: ReactNode;
  readonly children?: ReactNode;
}

function EventItem({ icon, iso, nowMs, title, children }: EventItemProps) {
  const ms = parseTime(iso);
  return (
    <li className="event">
      <Icon name={icon} />
      <time dateTime={iso}>{ms === null ? "" : formatMoment(ms, nowMs)}</time>
      <div className="event-words">
        <p>{title}</p>
        {children !== undefined && <p className="soft">{children}</p>}
      </div>
    </li>
  );
}

interface EventListProps {
  readonly title: string;
  readonly count: number;
  readonly empty: string;
  readonly children: readonly ReactNode[];
}

function EventList({ title, count, empty, children }: EventListProps) {
  return (
    <Panel title={title} aside={<span className="count">{formatCount(count)}</span>}>
      {children.length === 0 ? (
        <p className="empty">{empty}</p>
      ) : (
        <ScrollRegion className="events" name={`Newest ${title.toLowerCase()}`}>
          <ul>{children}</ul>
        </ScrollRegion>
      )}
    </Panel>
  );
}

export function RecentEvents({ stats }: { readonly stats: StatsData }) {
  const nowMs = stats.server_time_ms;
  return (
    <div className="trio">
      <EventList title="Gaps" count={stats.gaps} empty="Nothing is missing.">
        {stats.recent_gaps.map((gap, index) => (
          <EventItem
            key={`${gap.detected} ${index}`}
            icon="degraded"
            iso={gap.detected}
            nowMs={nowMs}
            title={gapTitle(gap)}
          >
            {gapWords(gap)}
          </EventItem>
        ))}
      </EventList>
      <EventList title="Rejects" count={stats.rejects} empty="Every frame was understood.">
        {stats.recent_rejects.map((reject, index) => (
          <EventItem
            key={`${reject.received} ${index}`}
            icon="degraded"
            iso={reject.received}
            nowMs={nowMs}
            title={rejectTitle(reject)}
          >
            <code>{reject.text}</code>
          </EventItem>
        ))}
      </EventList>
      <EventList title="Audits" count={stats.audits} empty="No book has been compared yet.">
        {stats.recent_audits.map((audit, index) => (
          <EventItem
            key={`${audit.received} ${index}`}
            icon={audit.is_match ? "good" : "failed"}
            iso={audit.received}
            nowMs={nowMs}
            title={auditTitle(audit)}
          >
            {audit.first_difference ?? undefined}
          </EventItem>
        ))}
      </EventList>
    </div>
  );
}

function gapTitle(gap: GapData): ReactNode {
  return (
    <>
      <span className="ticker">{gap.market_ticker ?? `all books of subscription ${gap.sid}`}</span>{" "}
      {causeWords(gap.cause)}
    </>
  );
}

function gapWords(gap: GapData): string {
  const { expected, received } = gap;
  const at = `frame ${formatCount(gap.frame_number)}`;
  if (received === null) {
    return `${at}: the subscription ended before number ${formatCount(expected)}`;
  }
  if (received <= expected) {
    return `${at}: no number is missing`;
  }
  const missing = received - expected;
  return missing === 1
    ? `${at}: number ${formatCount(expected)} is missing`
    : `${at}: numbers ${formatCount(expected)} to ${formatCount(received - 1)} are missing`;
}

function rejectTitle(reject: RejectData): string {
  return `${words(reject.reason)}, frame ${formatCount(reject.frame_number)}`;
}

function auditTitle(audit: AuditData): ReactNode {
  return (
    <>
      <span className="ticker">{audit.market_ticker}</span> {audit.is_match ? "equal" : "differs"}
    </>
  );
}
