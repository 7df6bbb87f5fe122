// Messages as the collector sends them, with what a test wants changed.
import type { BookData, DeltaData, Problem, SecondData, SessionData, StatsData } from "../src/protocol/messages";

/** 12:00:00 UTC on 24 November 2026. */
export const NOON_MS = Date.UTC(2026, 10, 24, 12);

export function iso(ms: number): string {
  return new Date(ms).toISOString();
}

export function makeProblem(change: Partial<Problem> = {}): Problem {
  return {
    id: "database",
    level: "degraded",
    title: "PostgreSQL is away",
    detail: "connection refused",
    advice: "Check that PostgreSQL runs.",
    since_ms: NOON_MS - 60_000,
    is_over: false,
    ...change,
  };
}

export function makeSession(change: Partial<SessionData> = {}): SessionData {
  return {
    id: 17,
    key: "9b0bb12e-e267-fc89-8ffe-1e5f5ff13705",
    feed: "feed-1",
    status: "active",
    end_reason: null,
    close_code: null,
    started: iso(NOON_MS - 3_600_000),
    ended: null,
    received: { deltas: 90, snapshots: 3, trades: 5, controls: 2, stales: 0, rejects: 0 },
    frames_received: 100,
    frames_written: 98,
    queued: 2,
    rows_written: 98,
    batches: 4,
    gaps: 0,
    audits: 0,
    audit_mismatches: 0,
    unanswered_audits: 0,
    write_ms_last: 3.9,
    write_ms_max: 7,
    is_safe: false,
    ...change,
  };
}

export function makeSecond(change: Partial<SecondData> = {}): SecondData {
  return {
    end_ms: NOON_MS,
    messages_per_second: 12,
    commit_p99_ms: 640,
    age_p99_ms: 2,
    exact_markets: 3,
    ...change,
  };
}

export function makeStats(change: Partial<StatsData> = {}): StatsData {
  return {
    session_id: "17",
    session_status: "active",
    markets_active: 3,
    snapshots_processed: 15,
    deltas_processed: 1523,
    messages_per_second: 12.5,
    db_queue_size: 45,
    uptime_seconds: 3600,
    last_update_ms: NOON_MS - 123,
    trades_processed: 5,
    frames_received: 1600,
    gaps: 0,
    rejects: 0,
    stales: 0,
    rows_written: 1500,
    reconnections: 1,
    sessions: [makeSession()],
    write_ms_last: 3.9,
    write_ms_max: 7,
    ages_ms: {
      exchange_to_receive: { p50: 0.7, p99: 2 },
      exchange_to_send: { p50: 0.3, p99: 1 },
      send_to_receive: { p50: 0.4, p99: 1 },
      receive_to_book: { p50: 0.4, p99: 1.1 },
      receive_to_commit: { p50: 540, p99: 1043 },
    },
    growing_ages: [],
    clock: { steps: 0, last_step: null, last_size_ms: null },
    audits: 0,
    audit_mismatches: 0,
    spool: {
      bytes: 0,
      bytes_max: 2_147_483_648,
      records: 0,
      sessions: 0,
      torn_records: 0,
      damaged_files: 0,
      drained_records: 0,
      kept_bytes: 0,
      refused_batches: 0,
      keep_failure: "",
      is_full: false,
      failure: "",
      since: null,
    },
    message_age_ms: 123,
    database: {
      phase: "available",
      reason: "",
      since: iso(NOON_MS - 3_600_000),
      database: "database 6f0c0d0e-0000-4000-8000-000000000001",
      repeated_batches: 0,
      losses: 0,
      chain_head: "6f0c0d0e".repeat(8),
    },
    feeds: [
      { name: "feed-1", phase: "connected", reason: "", since: iso(NOON_MS - 1_800_000), markets: 3, attempts: 0 },
    ],
    clients: 1,
    is_simulated: false,
    version: "1.0.0",
    environment: "demo",
    sample_rate: 1,
    markets_tracked: 3,
    stopping: false,
    server_time_ms: NOON_MS,
    problems: [],
    recent_gaps: [],
    recent_rejects: [],
    recent_audits: [],
    unanswered_audits: 0,
    newest_second: makeSecond(),
    discovery: { is_on: false, open_markets: 0, followed: 0, last_look: null, reason: "" },
    ...change,
  };
}

export function makeSnapshot(change: Partial<BookData> = {}): BookData {
  return {
    market_ticker: "KXCABOUT-29",
    timestamp_ms: NOON_MS,
    sequence_number: 1001,
    yes_bids: { "45": 100, "44": 250 },
    yes_asks: { "55": 150 },
    no_bids: { "45": 150 },
    no_asks: { "55": 100, "56": 250 },
    yes_mid_price: 50,
    no_mid_price: 50,
    is_exact: true,
    unknown_cause: null,
    ...change,
  };
}

export function makeDelta(change: Partial<DeltaData> = {}): DeltaData {
  return {
    market_ticker: "KXCABOUT-29",
    timestamp_ms: NOON_MS + 1_000,
    sequence_number: 1002,
    side: "yes",
    action: "update",
    price: 45,
    old_size: 100,
    new_size: 150,
    ...change,
  };
}
