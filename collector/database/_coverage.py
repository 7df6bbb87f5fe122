"""
From when to when each market's book was exact, as far as a window of time is concerned.

Reads only, in one transaction. The view `rl_book_states` is what `rl_market_coverage` is made of; it is asked
for the sessions of the window alone, which its window functions let through, and it says what an active
session's books are after its last message, which `rl_market_coverage` leaves out.

The states of a session are told from its snapshots and gaps, so the cost grows with the length of the
sessions in the window, and hardly with the window. With 300 markets, audits each quarter of an hour and a gap
each hour it was 0.1 s for a session of a day and 2.5 s for one of a month.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from attrs import frozen
from psycopg.rows import TupleRow

from collector.database._transactions import open_pages, read_only
from collector.postgres import TrioConnection

EARLIER_SESSIONS_MAX: Final = 20
"""Sessions before the window that are looked at, for markets that none in the window is for."""
STATEMENT_MS_MAX: Final = 10_000
"""Whoever asks has gone by then: the server need not go on."""
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
# Only what reaches into the window: a session that has lost its books often has as many states a market.
_SPANS: Final = (
    "SELECT session_id, market_ticker, from_us, until_us, is_exact, cause FROM ("
    " SELECT session_id, market_ticker, from_us, is_exact, cause,"
    "  lead(from_us) OVER (PARTITION BY session_id, market_ticker ORDER BY from_us) AS until_us"
    "  FROM rl_book_states WHERE session_id = ANY(%(ids)s)) AS spans"
    " WHERE from_us < %(to_us)s AND (until_us IS NULL OR until_us > %(from_us)s)"
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
    """A market's book in one session: exact or why not; until the session's end when `until_us` is None."""

    session_id: int
    market_ticker: str
    from_us: int
    until_us: int | None
    is_exact: bool
    cause: str | None


@frozen
class CoverageRows:
    """What the database holds about a window: its sessions, and some before it; and spans of its sessions."""

    sessions: tuple[CoverageSession, ...]
    spans: tuple[CoverageSpan, ...]


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
    return CoverageRows(tuple(sessions), tuple(spans))


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
