"""
The current books, and which of them are not known to be the exchange's.

A book is unknown when its session has ended, or when its session's tracker says why. Pure.
"""

from collections.abc import Iterable

from attrs import frozen

from collector.facts import AuditFact, Cause, GapFact, MarketState
from collector.observe import RecorderState, SessionStats


@frozen
class CurrentBook:
    """A market's newest book and the session it comes from."""

    session: SessionStats
    market: MarketState

    @property
    def unknown_cause(self) -> Cause | None:
        """Why the book is not known to be the exchange's; None when it is."""
        if self.session.status != "active":
            return Cause.SESSION_ENDED
        return self.market.unknown_cause

    @property
    def is_exact(self) -> bool:
        """Whether the book is the exchange's right now."""
        return self.unknown_cause is None


def current_books(state: RecorderState) -> dict[str, CurrentBook]:
    """The newest book of every market that has one, as `RecorderState.market` finds it for one."""
    books: dict[str, CurrentBook] = {}
    for session in reversed(state.sessions):
        for ticker, market in session.tracker.markets.items():
            if ticker not in books and (market.snapshots or market.deltas):
                books[ticker] = CurrentBook(session, market)
    return books


def current_book(state: RecorderState, ticker: str) -> CurrentBook | None:
    """The newest book of one market."""
    for session in reversed(state.sessions):
        market = session.tracker.markets.get(ticker)
        if market is not None and (market.snapshots or market.deltas):
            return CurrentBook(session, market)
    return None


@frozen
class UnknownBooks:
    """
    Books of sessions that are active, unknown for one cause: their markets, by ticker.

    `since_us` is when the first of them became unknown; None when that is so long ago that it is forgotten.
    """

    cause: Cause
    tickers: tuple[str, ...]
    since_us: int | None


def unknown_books(state: RecorderState) -> list[UnknownBooks]:
    """What is unknown right now in sessions that are active, by cause; the largest group first."""
    found: dict[Cause, list[tuple[str, int | None]]] = {}
    for session in state.sessions:
        if session.status != "active":
            continue
        gaps = list(state.recent_gaps) if len(session.tracker.markets) > session.tracker.exact_count() else []
        for ticker, market in session.tracker.markets.items():
            if market.unknown_cause is not None:
                since_us = _unknown_since_us(session, market, gaps)
                found.setdefault(market.unknown_cause, []).append((ticker, since_us))
    groups = [
        UnknownBooks(cause, tuple(sorted(ticker for ticker, _ in group)), _earliest(us for _, us in group))
        for cause, group in found.items()
    ]
    return sorted(groups, key=lambda group: (-len(group.tickers), group.cause))


def recent_mismatches(state: RecorderState, now_us: int, seconds: int) -> list[AuditFact]:
    """Audits that found a difference within so many seconds, oldest first; at most the number kept."""
    return [audit for audit in state.recent_mismatches if audit.received_us > now_us - seconds * 1_000_000]


def _unknown_since_us(session: SessionStats, market: MarketState, gaps: list[GapFact]) -> int | None:
    if market.unknown_cause == Cause.NO_SNAPSHOT_YET:
        return session.started_us
    for gap in reversed(gaps):
        is_meant = gap.market_ticker in (None, market.ticker) and market.sid in (None, gap.sid)
        if is_meant and gap.cause == market.unknown_cause and gap.detected_us >= session.started_us:
            return gap.detected_us
    return None


def _earliest(times_us: Iterable[int | None]) -> int | None:
    """The least of the times; None when one of them is not known."""
    known: list[int] = []
    for time_us in times_us:
        if time_us is None:
            return None
        known.append(time_us)
    return min(known, default=None)
