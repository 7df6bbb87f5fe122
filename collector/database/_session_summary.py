"""
Summaries of the newest sessions: their rows, what the ledger adds up to, and what is in the other tables.

Reads only, in one transaction that sees one state of the database, so that a session that is being recorded
agrees with itself. Nothing is judged here. The ledger of a session has a row for each batch, up to some a
second: a session of a month is read in about a second.
"""

from collections.abc import Mapping
from typing import Any, Final

from psycopg.rows import dict_row

from collector.database._ledger import LEDGER_COUNTS
from collector.database._transactions import read_only
from collector.facts import FRAME_COUNTS, FrameCounts
from collector.postgres import TrioConnection
from collector.storage import COUNTED_KINDS, KINDS, Audits, Coverage, LedgerTotals, RowKind, SessionSummary

_SESSIONS: Final = (
    "SELECT session_id, status, started_us, ended_us, end_reason, last_message_us, frames, batches,"
    f" gaps, {', '.join(FRAME_COUNTS)} FROM rl_orderbook_sessions ORDER BY session_id DESC LIMIT %s"
)
_LEDGERS: Final = (
    # A summary stands for several batches.
    "SELECT session_id, sum(batch_number - COALESCE(first_batch, batch_number) + 1)::bigint AS batches,"
    " min(COALESCE(first_batch, batch_number)) AS first_batch,"
    " max(batch_number) AS last_batch, sum(last_frame - first_frame + 1)::bigint AS frames,"
    " min(first_frame) AS first_frame, max(last_frame) AS last_frame,"
    f" {', '.join(f'sum({name})::bigint AS {name}' for name in LEDGER_COUNTS)}"
    " FROM rl_write_ledger WHERE session_id = ANY(%s) GROUP BY session_id"
)
_GAPS: Final = (
    "SELECT session_id, cause, count(*) AS gaps FROM rl_orderbook_gaps"
    " WHERE session_id = ANY(%s) GROUP BY session_id, cause ORDER BY session_id, cause"
)
_AUDITS: Final = (
    "SELECT session_id, count(*) FILTER (WHERE is_match) AS matches,"
    " count(*) FILTER (WHERE NOT is_match) AS mismatches, max(received_us) AS last_us"
    " FROM rl_orderbook_audits WHERE session_id = ANY(%s) GROUP BY session_id"
)
_HAS_COVERAGE: Final = "SELECT to_regclass(%s) IS NOT NULL AS is_there"
# An active session counts up to its last message, so an idle one loses nothing.
_COVERAGE: Final = (
    "WITH spans AS (SELECT c.session_id, c.market_ticker, c.is_exact, c.from_us,"
    "  LEAST(c.until_us, COALESCE(s.ended_us, s.last_message_us, s.started_us)) AS until_us"
    "  FROM rl_spans(%s::integer[]) c JOIN rl_orderbook_sessions s USING (session_id)"
    # Time after a market has left the session does not count: nothing was to be recorded then.
    "  WHERE c.cause IS DISTINCT FROM 'unfollowed'),"
    " ranked AS (SELECT *, row_number() OVER (PARTITION BY session_id, market_ticker"
    "  ORDER BY from_us DESC, until_us DESC) = 1 AS is_last FROM spans WHERE until_us > from_us)"
    " SELECT session_id, count(*) FILTER (WHERE is_last) AS markets,"
    " count(*) FILTER (WHERE is_last AND is_exact) AS exact_markets,"
    " sum(until_us - from_us)::bigint AS total_us,"
    " coalesce(sum(until_us - from_us) FILTER (WHERE is_exact), 0)::bigint AS exact_us"
    " FROM ranked GROUP BY session_id"
)


async def fetch_session_summaries(connection: TrioConnection, sessions: int) -> list[SessionSummary]:
    """The newest sessions, newest first. Raises StoreUnavailable and StoreRejected."""
    async with read_only(connection):
        rows = await _fetch(connection, _SESSIONS, sessions)
        ids = [row["session_id"] for row in rows]
        ledgers = {row["session_id"]: row for row in await _fetch(connection, _LEDGERS, ids)}
        counted = {kind: await _count_rows(connection, kind, ids) for kind in COUNTED_KINDS}
        gaps: dict[int, dict[str, int]] = {}
        for row in await _fetch(connection, _GAPS, ids):
            gaps.setdefault(row["session_id"], {})[row["cause"]] = row["gaps"]
        audits = {row.pop("session_id"): Audits(**row) for row in await _fetch(connection, _AUDITS, ids)}
        coverage = await _coverage(connection, ids)
    return [
        SessionSummary(
            **{name: row[name] for name in row if name not in FRAME_COUNTS},
            frame_counts=_frame_counts(row),
            ledger=_ledger(ledgers.get(row["session_id"])),
            rows={kind: counts.get(row["session_id"], 0) for kind, counts in counted.items()},
            gaps_by_cause=gaps.get(row["session_id"], {}),
            audits=audits.get(row["session_id"], Audits()),
            coverage=coverage.get(row["session_id"]),
        )
        for row in rows
    ]


async def _count_rows(connection: TrioConnection, kind: RowKind, ids: list[int]) -> dict[int, int]:
    counted = f"SELECT session_id, count(*) AS rows FROM {kind.table}"
    rows = await _fetch(connection, f"{counted} WHERE session_id = ANY(%s) GROUP BY session_id", ids)
    return {row["session_id"]: row["rows"] for row in rows}


async def _fetch(connection: TrioConnection, query: str, argument: object) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query.encode(), (argument,))
        return await cursor.fetchall()


async def _coverage(connection: TrioConnection, ids: list[int]) -> dict[int, Coverage]:
    # A recorder of an older version may have made the tables, without this view.
    (answer,) = await _fetch(connection, _HAS_COVERAGE, "rl_book_spans")
    if not answer["is_there"]:
        return {}
    rows = await _fetch(connection, _COVERAGE, ids)
    return {row.pop("session_id"): Coverage(**row) for row in rows}


def _ledger(row: Mapping[str, Any] | None) -> LedgerTotals:
    if row is None:
        return LedgerTotals()
    places = ("batches", "first_batch", "last_batch", "frames", "first_frame", "last_frame")
    return LedgerTotals(
        **{name: row[name] for name in places},
        frame_counts=_frame_counts(row),
        row_counts={kind: row[kind.rows_column] for kind in KINDS},
    )


def _frame_counts(row: Mapping[str, Any]) -> FrameCounts:
    return FrameCounts(**{name: row[name] for name in FRAME_COUNTS})
