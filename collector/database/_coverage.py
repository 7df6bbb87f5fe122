"""
When each market's book was exact or unknown within a window of time.

Reads only, in one transaction. Calls `rl_spans`, from which `rl_market_coverage` is made, with the sessions
of the window: it reads all their book states, and all their ledger for its holes. It continues after the last
message of an active session, where `rl_market_coverage` ends.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from attrs import frozen
from psycopg.rows import TupleRow

from collector.database._transactions import open_pages, read_only
from collector.facts import PROVEN_EMPTY
from collector.postgres import TrioConnection

EARLIER_SESSIONS_MAX: Final = 20
"""
Maximum number of sessions that ended before the window. They give the cause for markets without a session in
the window.
"""
STATEMENT_MS_MAX: Final = 10_000
"""PostgreSQL cancels a statement after this time: no caller waits longer for the answer."""
_PAGE_ROWS: Final = 1000
"""Turning a page into values takes about a millisecond, and other tasks run between two pages."""

Made = TypeVar("Made")

_LIMITS: Final = f"SET LOCAL statement_timeout = {STATEMENT_MS_MAX}; SET LOCAL jit = off"
_SESSIONS: Final = (
    "SELECT session_id, started_us, ended_us, COALESCE(end_reason, status), market_tickers"
    " FROM rl_orderbook_sessions"
    " WHERE started_us < %(to_us)s AND (ended_us IS NULL OR ended_us > %(from_us)s)"
    " UNION ALL (SELECT session_id, started_us, ended_us, COALESCE(end_reason, status), market_tickers"
    " FROM rl_orderbook_sessions WHERE ended_us <= %(from_us)s ORDER BY session_id DESC LIMIT %(earlier)s)"
)
# Only spans that overlap the window: after many gaps a session has many, most of them outside.
_SPANS: Final = (
    "SELECT session_id, market_ticker, from_us, until_us, is_exact, cause FROM rl_spans(%(ids)s::integer[])"
    " WHERE from_us < %(to_us)s AND (until_us IS NULL OR until_us > %(from_us)s)"
)
_PROOFS: Final = (
    "SELECT session_id, market_ticker, from_us, until_us, true, %(reason)s"
    " FROM rl_proofs_between(%(from_us)s, %(to_us)s)"
)


@frozen
class CoverageSession:
    """A session whose markets are concerned; `cause` is why its books are unknown after its end."""

    session_id: int
    started_us: int
    ended_us: int | None
    cause: str
    market_tickers: tuple[str, ...]


@frozen
class CoverageSpan:
    """
    An interval in which one session has a market's book exact, or unknown for `cause`.

    `until_us` is None for the last interval, which lasts until the session's end.
    """

    session_id: int
    market_ticker: str
    from_us: int
    until_us: int | None
    is_exact: bool
    cause: str | None


@frozen
class CoverageRows:
    """
    What the database holds about a window: its sessions, and some before it; spans of its sessions; and the
    times in which nothing happened to a market by a proof, which may lie between two sessions.
    """

    sessions: tuple[CoverageSession, ...]
    spans: tuple[CoverageSpan, ...]
    proofs: tuple[CoverageSpan, ...]


async def fetch_coverage(connection: TrioConnection, from_us: int, to_us: int) -> CoverageRows:
    """The sessions and spans that reach into a window. Raises StoreUnavailable and StoreRejected."""
    window: dict[str, object] = {"from_us": from_us, "to_us": to_us, "earlier": EARLIER_SESSIONS_MAX}
    async with read_only(connection):
        await connection.execute(_LIMITS.encode())
        sessions = await _fetch(connection, _SESSIONS, window, _session_of)
        ids = [
            session.session_id
            for session in sessions
            if session.ended_us is None or session.ended_us > from_us
        ]
        spans = await _fetch(connection, _SPANS, {**window, "ids": ids}, _span_of)
        proofs = await _fetch(connection, _PROOFS, {**window, "reason": PROVEN_EMPTY}, _span_of)
    return CoverageRows(tuple(sessions), tuple(spans), tuple(proofs))


async def _fetch(
    connection: TrioConnection, query: str, arguments: Mapping[str, Any], make: Callable[[TupleRow], Made]
) -> list[Made]:
    made: list[Made] = []
    async with open_pages(connection, query, arguments, _PAGE_ROWS) as pages:
        async for rows in pages:
            made += map(make, rows)
    return made


def _session_of(row: TupleRow) -> CoverageSession:
    session_id, started_us, ended_us, cause, market_tickers = row
    return CoverageSession(session_id, started_us, ended_us, cause, tuple(market_tickers))


def _span_of(row: TupleRow) -> CoverageSpan:
    return CoverageSpan(*row)
