"""
How the newest sessions stand in the database: their rows, what the ledger adds up to, and what is missing.

Reads only, in one transaction that sees one state of the database, so that a session that is being recorded
agrees with itself. Nothing is judged here. The ledger of a session has a row for each batch, up to some a
second: a session of a month is read in about a second.
"""

from typing import Any, Final

from attrs import field, frozen
from psycopg.rows import dict_row

from collector.store.connection import TrioConnection, translate_errors

COUNTS: Final = ("deltas", "snapshots", "trades", "controls", "stales", "rejects", "gaps")

_SESSIONS: Final = (
    "SELECT session_id, status, started_us, ended_us, end_reason, last_message_us, frames, batches,"
    " deltas, snapshots, trades, controls, stales, rejects, gaps"
    " FROM rl_orderbook_sessions ORDER BY session_id DESC LIMIT %s"
)
_LEDGERS: Final = (
    "SELECT session_id, count(*) AS batches, min(batch_number) AS first_batch,"
    " max(batch_number) AS last_batch, sum(last_frame - first_frame + 1)::bigint AS frames,"
    " min(first_frame) AS first_frame, max(last_frame) AS last_frame,"
    " sum(delta_frames) AS deltas, sum(snapshot_frames) AS snapshots, sum(trade_frames) AS trades,"
    " sum(control_frames) AS controls, sum(stale_frames) AS stales, sum(rejected_frames) AS rejects,"
    " sum(gap_rows) AS gaps, sum(reject_rows) AS reject_rows,"
    " sum(audit_rows) AS audit_rows, sum(event_rows) AS event_rows"
    " FROM rl_write_ledger WHERE session_id = ANY(%s) GROUP BY session_id"
)
_GAPS: Final = (
    "SELECT session_id, cause, count(*) AS gaps FROM rl_orderbook_gaps"
    " WHERE session_id = ANY(%s) GROUP BY session_id, cause ORDER BY session_id, cause"
)
_REJECTS: Final = (
    "SELECT session_id, count(*) AS rejects FROM rl_orderbook_rejects"
    " WHERE session_id = ANY(%s) GROUP BY session_id"
)
_AUDITS: Final = (
    "SELECT session_id, count(*) FILTER (WHERE is_match) AS matches,"
    " count(*) FILTER (WHERE NOT is_match) AS mismatches, max(received_us) AS last_us"
    " FROM rl_orderbook_audits WHERE session_id = ANY(%s) GROUP BY session_id"
)
_EVENTS: Final = (
    "SELECT session_id, count(*) AS events FROM rl_market_events"
    " WHERE session_id = ANY(%s) GROUP BY session_id"
)
_HAS_COVERAGE: Final = "SELECT to_regclass(%s) IS NOT NULL AS is_there"
# Beyond the end of a session nothing counts: that its books are unknown then is no fault of it.
_COVERAGE: Final = (
    "WITH spans AS (SELECT c.session_id, c.market_ticker, c.is_exact, c.from_us,"
    "  LEAST(c.until_us, s.ended_us, (extract(epoch FROM now()) * 1000000)::bigint) AS until_us"
    "  FROM rl_market_coverage c JOIN rl_orderbook_sessions s USING (session_id)"
    # From a market that has left nothing more was wanted.
    "  WHERE c.session_id = ANY(%s) AND c.cause IS DISTINCT FROM 'unfollowed'),"
    " ranked AS (SELECT *, row_number() OVER (PARTITION BY session_id, market_ticker"
    "  ORDER BY from_us DESC, until_us DESC) = 1 AS is_last FROM spans WHERE until_us > from_us)"
    " SELECT session_id, count(*) FILTER (WHERE is_last) AS markets,"
    " count(*) FILTER (WHERE is_last AND is_exact) AS exact_markets,"
    " sum(until_us - from_us)::bigint AS total_us,"
    " coalesce(sum(until_us - from_us) FILTER (WHERE is_exact), 0)::bigint AS exact_us"
    " FROM ranked GROUP BY session_id"
)


@frozen
class Ledger:
    """What a session's ledger adds up to."""

    batches: int = 0
    first_batch: int = 1
    last_batch: int = 0
    frames: int = 0
    first_frame: int = 1
    last_frame: int = 0
    reject_rows: int = 0
    audit_rows: int = 0
    event_rows: int = 0
    counts: dict[str, int] = field(factory=lambda: dict.fromkeys(COUNTS, 0))


@frozen
class Audits:
    """How often books were compared with the exchange's, with what outcome, and when last."""

    matches: int = 0
    mismatches: int = 0
    last_us: int | None = None


@frozen
class Coverage:
    """How many of its markets have an exact book now, or had at its end; times are over all markets."""

    markets: int
    exact_markets: int
    total_us: int
    exact_us: int


@frozen
class SessionStanding:
    """One session: its row, its ledger, and the tables beside them."""

    session_id: int
    status: str
    started_us: int
    ended_us: int | None
    end_reason: str | None
    last_message_us: int | None
    frames: int
    batches: int
    counts: dict[str, int]
    ledger: Ledger
    gaps_by_cause: dict[str, int]
    reject_rows: int
    event_rows: int
    audits: Audits
    coverage: Coverage | None
    """None when the database does not tell coverage, or the session has no market."""


async def fetch_standings(connection: TrioConnection, sessions: int) -> list[SessionStanding]:
    """The newest sessions, newest first. Raises StoreUnavailable and StoreRejected."""
    with translate_errors():
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            rows = await _fetch(connection, _SESSIONS, sessions)
            ids = [row["session_id"] for row in rows]
            ledgers = {row["session_id"]: row for row in await _fetch(connection, _LEDGERS, ids)}
            gaps: dict[int, dict[str, int]] = {}
            for row in await _fetch(connection, _GAPS, ids):
                gaps.setdefault(row["session_id"], {})[row["cause"]] = row["gaps"]
            rejects = {row["session_id"]: row["rejects"] for row in await _fetch(connection, _REJECTS, ids)}
            events = {row["session_id"]: row["events"] for row in await _fetch(connection, _EVENTS, ids)}
            audits = {row.pop("session_id"): Audits(**row) for row in await _fetch(connection, _AUDITS, ids)}
            coverage = await _coverage(connection, ids)
    return [
        SessionStanding(
            **{name: row[name] for name in row if name not in COUNTS},
            counts={name: row[name] for name in COUNTS},
            ledger=_ledger(ledgers.get(row["session_id"])),
            gaps_by_cause=gaps.get(row["session_id"], {}),
            reject_rows=rejects.get(row["session_id"], 0),
            event_rows=events.get(row["session_id"], 0),
            audits=audits.get(row["session_id"], Audits()),
            coverage=coverage.get(row["session_id"]),
        )
        for row in rows
    ]


async def _fetch(connection: TrioConnection, query: str, argument: object) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query.encode(), (argument,))
        return await cursor.fetchall()


async def _coverage(connection: TrioConnection, ids: list[int]) -> dict[int, Coverage]:
    # A recorder of an older version may have made the tables, without this view.
    (answer,) = await _fetch(connection, _HAS_COVERAGE, "rl_market_coverage")
    if not answer["is_there"]:
        return {}
    rows = await _fetch(connection, _COVERAGE, ids)
    return {row.pop("session_id"): Coverage(**row) for row in rows}


def _ledger(row: dict[str, Any] | None) -> Ledger:
    if row is None:
        return Ledger()
    return Ledger(
        **{name: row[name] for name in row if name not in COUNTS and name != "session_id"},
        counts={name: int(row[name]) for name in COUNTS},
    )
