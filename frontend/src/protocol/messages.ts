// Generated from schema/dashboard.json by `npm run generate`; a test fails when it is out of date. Don't edit.

/**
 * Everything that the dashboard reads. Printed by python -m collector.web._jsonschema.
 */
export type Dashboard = LiveMessage | SeriesData | CoverageData | DataHealthData | ErrorAnswer;
/**
 * Whatever the live stream sends.
 */
export type LiveMessage = ConnectionMessage | SnapshotMessage | DeltaMessage | StatsMessage | ErrorMessage;
/**
 * Why a book is not known to be the exchange's own. The value is what tables, JSON and logs hold.
 *
 * Causes of gaps become rows of `rl_orderbook_gaps`; the last four are states of a book without a gap.
 */
export type Cause =
  | "after_end"
  | "audit_mismatch"
  | "buffer_overflow"
  | "channel_error"
  | "clock_conflict"
  | "ledger_hole"
  | "negative_level"
  | "no_snapshot_yet"
  | "not_recorded_yet"
  | "other_subscription"
  | "reject"
  | "sequence"
  | "sequence_conflict"
  | "session_ended"
  | "store_lost"
  | "unfollowed"
  | "unknown_error"
  | "unknown_market"
  | "unknown_type"
  | "unsubscribed";
/**
 * Whether PostgreSQL takes what is written.
 */
export type StorePhase = "available" | "away" | "starting";
/**
 * Where one connection to the exchange stands.
 */
export type FeedPhase = "backing_off" | "connected" | "connecting" | "refused" | "stopped" | "waiting_for_store";

/**
 * Greets a client of the live stream.
 */
export interface ConnectionMessage {
  data: ConnectionData;
  type: "connection";
}
/**
 * The first message to a client: the markets that it will hear of, and the service's version.
 */
export interface ConnectionData {
  /**
   * Items: A market's ticker.
   */
  markets: string[];
  status: "connected";
  version: string;
}
/**
 * Replaces a market's book as a whole.
 */
export interface SnapshotMessage {
  data: BookData;
  type: "orderbook_snapshot";
}
/**
 * A market's whole book, best prices first. Asks are derived from the other side's bids.
 *
 * `is_exact` says whether it is known to be the exchange's, and `unknown_cause` why not.
 */
export interface BookData {
  is_exact: boolean;
  /**
   * A market's ticker.
   */
  market_ticker: string;
  /**
   * Contracts by price in cents, as in {45.5: 100}.
   */
  no_asks: {
    [k: string]: number;
  };
  /**
   * Contracts by price in cents, as in {45.5: 100}.
   */
  no_bids: {
    [k: string]: number;
  };
  /**
   * The middle of best bid and best ask in cents; null when a side is empty.
   */
  no_mid_price: number | null;
  sequence_number: number;
  /**
   * A time in milliseconds since 1970 UTC.
   */
  timestamp_ms: number;
  unknown_cause: Cause | null;
  /**
   * Contracts by price in cents, as in {45.5: 100}.
   */
  yes_asks: {
    [k: string]: number;
  };
  /**
   * Contracts by price in cents, as in {45.5: 100}.
   */
  yes_bids: {
    [k: string]: number;
  };
  /**
   * The middle of best bid and best ask in cents; null when a side is empty.
   */
  yes_mid_price: number | null;
}
/**
 * Changes one level of a market's book.
 */
export interface DeltaMessage {
  data: DeltaData;
  type: "orderbook_delta";
}
/**
 * A level has changed. `side` is the side whose bids it belongs to.
 */
export interface DeltaData {
  action: "add" | "remove" | "update";
  /**
   * A market's ticker.
   */
  market_ticker: string;
  /**
   * A size in contracts.
   */
  new_size: number;
  /**
   * A size in contracts.
   */
  old_size: number;
  /**
   * A price in cents, between 0 and 100.
   */
  price: number;
  sequence_number: number;
  side: "no" | "yes";
  /**
   * A time in milliseconds since 1970 UTC.
   */
  timestamp_ms: number;
}
/**
 * The recorder's numbers, once a second.
 */
export interface StatsMessage {
  data: StatsData;
  type: "stats";
}
/**
 * The recorder's own numbers, once a second.
 *
 * `markets_active` counts exact books, `markets_tracked` all markets. `db_queue_size` is frames that are not
 * in the database yet. `message_age_ms` is the time since the newest frame, at `last_update_ms`, before
 * `server_time_ms`. `problems` is worst first, and empty when all is well. The `recent_` lists have the
 * newest 20 of the process, newest first.
 */
export interface StatsData {
  ages_ms: AgesData;
  audit_mismatches: number;
  audits: number;
  clients: number;
  clock: ClockData;
  database: DatabaseData;
  db_queue_size: number;
  deltas_processed: number;
  discovery: DiscoveryData;
  environment: string;
  feeds: FeedData[];
  frames_received: number;
  gaps: number;
  growing_ages: GrowingAgeData[];
  is_simulated: boolean;
  last_update_ms: number | null;
  markets_active: number;
  markets_tracked: number;
  message_age_ms: number | null;
  messages_per_second: number;
  newest_second: SecondData;
  problems: Problem[];
  recent_audits: AuditData[];
  recent_gaps: GapData[];
  recent_rejects: RejectData[];
  reconnections: number;
  rejects: number;
  rows_written: number;
  sample_rate: number;
  /**
   * A time in milliseconds since 1970 UTC.
   */
  server_time_ms: number;
  session_id: string;
  session_status: "active" | "closed" | "connecting" | "error" | "refused";
  sessions: SessionData[];
  snapshots_processed: number;
  spool: SpoolData;
  stales: number;
  stopping: boolean;
  trades_processed: number;
  unanswered_audits: number;
  uptime_seconds: number;
  version: string;
  write_ms_last: number | null;
  write_ms_max: number | null;
}
/**
 * How old messages are: from the exchange to us, from there to the book, and to the database.
 */
export interface AgesData {
  exchange_to_receive: QuantilesData;
  exchange_to_send: QuantilesData;
  receive_to_book: QuantilesData;
  receive_to_commit: QuantilesData;
  send_to_receive: QuantilesData;
}
/**
 * Ages of the last minute's messages, in milliseconds; null without messages.
 */
export interface QuantilesData {
  p50: number | null;
  p99: number | null;
}
/**
 * How often the wall clock was set; when last, and by how much, with a sign.
 */
export interface ClockData {
  last_size_ms: number | null;
  last_step: string | null;
  steps: number;
}
/**
 * PostgreSQL, as the writers see it, and since when.
 *
 * `database` says which one it is. `repeated_batches` were written again after it had lost some, `losses`
 * counts how often that was not possible. `chain_head` is the newest hash of its chain in hexadecimal, empty
 * until it is known.
 */
export interface DatabaseData {
  chain_head: string;
  database: string;
  losses: number;
  phase: StorePhase;
  reason: string;
  repeated_batches: number;
  since: string | null;
}
/**
 * What is found of the exchange's markets, where the settings don't name them.
 *
 * `followed` of `open_markets` are recorded. `reason` says why the last look failed, and is empty when it
 * did not; `last_look` is when one succeeded.
 */
export interface DiscoveryData {
  followed: number;
  is_on: boolean;
  last_look: string | null;
  open_markets: number;
  reason: string;
}
/**
 * One connection slot: where it stands and why, how many markets it is for, and how often it tried.
 */
export interface FeedData {
  attempts: number;
  markets: number;
  name: string;
  phase: FeedPhase;
  reason: string;
  since: string | null;
}
/**
 * A feed whose messages get older: the least age of the newest ten seconds, and the best ever.
 */
export interface GrowingAgeData {
  age_ms: number | null;
  best_ms: number | null;
  feed: string;
}
/**
 * The newest second of what `/rl/series` tells; `end_ms` is 0 before the first.
 */
export interface SecondData {
  age_p99_ms: number | null;
  commit_p99_ms: number | null;
  /**
   * A time in milliseconds since 1970 UTC.
   */
  end_ms: number;
  exact_markets: number | null;
  messages_per_second: number | null;
}
/**
 * Something that an operator should know of.
 *
 * `id` names the problem for as long as it lasts. `failed` means that something which should be recorded is
 * not, or that the service can't do its job; `degraded` that it is, with a reserve in use or in doubt;
 * `notice` that nothing needs to be done now. `detail` says what exactly, and `advice` what to do about it.
 * `is_over` tells of something that has passed: then `since_ms` is when it happened.
 */
export interface Problem {
  advice: string;
  detail: string;
  id: string;
  is_over: boolean;
  level: "degraded" | "failed" | "notice";
  since_ms: number | null;
  title: string;
}
/**
 * A book that was compared with the exchange's own.
 *
 * `first_difference` is null when they were equal, else the first level that was not, in the recorder's
 * units (1/100 cent, 1/100 contract).
 */
export interface AuditData {
  first_difference: string | null;
  is_match: boolean;
  /**
   * A market's ticker.
   */
  market_ticker: string;
  /**
   * A time, as in 2025-01-01T00:00:00.000Z.
   */
  received: string;
  sequence_number: number;
}
/**
 * Something is missing, and books were unknown from there on.
 *
 * The numbers from `expected` up to but without `received` are missing; `received` is null when the
 * subscription ended, and equal to `expected` when no number is missing. `market_ticker` is null when all
 * books of the subscription are concerned.
 */
export interface GapData {
  cause: Cause;
  /**
   * A time, as in 2025-01-01T00:00:00.000Z.
   */
  detected: string;
  expected: number;
  frame_number: number;
  market_ticker: string | null;
  received: number | null;
  sid: number;
}
/**
 * A frame that could not be understood, why, and the beginning of its text.
 */
export interface RejectData {
  frame_number: number;
  reason: string;
  /**
   * A time, as in 2025-01-01T00:00:00.000Z.
   */
  received: string;
  text: string;
}
/**
 * One connection's recording. `id` is null until its row is written.
 *
 * `received` and `frames_received` are what came, `frames_written` what the ledger holds, `queued` the
 * frames between the two. `is_safe` tells that the session has ended and all of it is in the database.
 */
export interface SessionData {
  audit_mismatches: number;
  audits: number;
  batches: number;
  close_code: number | null;
  end_reason: string | null;
  ended: string | null;
  feed: string;
  frames_received: number;
  frames_written: number;
  gaps: number;
  id: number | null;
  is_safe: boolean;
  key: string;
  queued: number;
  received: FrameCounts;
  rows_written: number;
  started: string | null;
  status: "active" | "closed" | "error";
  unanswered_audits: number;
  write_ms_last: number | null;
  write_ms_max: number | null;
}
/**
 * Number of frames by kind. Every frame is in exactly one of the counts.
 *
 * The names are also those of the columns in `rl_write_ledger` and `rl_orderbook_sessions`, and of the keys
 * in every JSON: see FRAME_COUNTS.
 */
export interface FrameCounts {
  controls: number;
  deltas: number;
  rejects: number;
  snapshots: number;
  stales: number;
  trades: number;
}
/**
 * What waits on disk for the database.
 *
 * `bytes` and `sessions` wait now, `records` of this process. `kept_bytes` are written, and kept for the
 * rewrite window. The others are counts.
 *
 * `failure` is the disk's reason for not taking what it should take, and empty when it takes everything;
 * `keep_failure` the same of what is kept.
 */
export interface SpoolData {
  bytes: number;
  bytes_max: number;
  damaged_files: number;
  drained_records: number;
  failure: string;
  is_full: boolean;
  keep_failure: string;
  kept_bytes: number;
  records: number;
  refused_batches: number;
  sessions: number;
  since: string | null;
  torn_records: number;
}
/**
 * The last message to a client that can't stay.
 */
export interface ErrorMessage {
  data: ErrorData;
  type: "error";
}
/**
 * Why a client can't stay; its connection is closed next.
 */
export interface ErrorData {
  message: string;
}
/**
 * The answer of `/rl/series`: one value for each step, oldest first, null where there was none.
 *
 * All lists are equally long; their last value is of the step that ended at `end_ms`. Ages are those of the
 * messages of that step: `commit` from arrival to database, `age` from the exchange to arrival.
 */
export interface SeriesData {
  age_p99_ms: (number | null)[];
  commit_p99_ms: (number | null)[];
  /**
   * A time in milliseconds since 1970 UTC.
   */
  end_ms: number;
  exact_markets: (number | null)[];
  messages_per_second: (number | null)[];
  step_ms: number;
}
/**
 * The answer of `/rl/coverage`: when books were exact, by the database, for markets by ticker.
 */
export interface CoverageData {
  /**
   * A time in milliseconds since 1970 UTC.
   */
  from_ms: number;
  markets: MarketCoverageData[];
  /**
   * A time in milliseconds since 1970 UTC.
   */
  to_ms: number;
}
/**
 * A market's intervals in their order; between them, no session was for this market.
 */
export interface MarketCoverageData {
  intervals: IntervalData[];
  /**
   * A market's ticker.
   */
  market_ticker: string;
}
/**
 * A time in which a market's book was exact, or why it was unknown.
 */
export interface IntervalData {
  cause: string | null;
  /**
   * A time in milliseconds since 1970 UTC.
   */
  from_ms: number;
  is_exact: boolean;
  /**
   * A time in milliseconds since 1970 UTC.
   */
  to_ms: number;
}
/**
 * The answer of `/health/data`: `off` when a ledger does not close, `unknown` when nobody could say.
 */
export interface DataHealthData {
  sessions: DataSessionData[];
  status: "good" | "off" | "unknown";
  why: string;
}
/**
 * A session as it is in the database. `findings` says where its ledger does not close.
 *
 * `gaps` counts by cause. `coverage` is null when the session has no market.
 */
export interface DataSessionData {
  audits: AuditsData;
  counts: DataCountsData;
  coverage: DataCoverageData | null;
  end_reason: string | null;
  ended: string | null;
  findings: string[];
  frames: number;
  gaps: {
    [k: string]: number;
  };
  id: number;
  is_good: boolean;
  last_message: string | null;
  ledger: LedgerData;
  rejects: number;
  started: string | null;
  status: "active" | "closed" | "error";
}
/**
 * How often books were compared with the exchange's, with what outcome, and when last.
 */
export interface AuditsData {
  last: string | null;
  matches: number;
  mismatches: number;
}
/**
 * Frames of a session by kind, and its gaps.
 */
export interface DataCountsData {
  controls: number;
  deltas: number;
  gaps: number;
  rejects: number;
  snapshots: number;
  stales: number;
  trades: number;
}
/**
 * How many markets have an exact book now, or had at the end, and the share of time over all markets.
 */
export interface DataCoverageData {
  exact_markets: number;
  exact_time_share: number | null;
  markets: number;
}
/**
 * What a session's ledger adds up to.
 */
export interface LedgerData {
  batches: number;
  frames: number;
  last_frame: number;
}
/**
 * What every HTTP route answers when it can't do what was asked: a name, and a sentence for people.
 */
export interface ErrorAnswer {
  error: string;
  message: string;
}
