"""
When books were exact, for the page: the answer of `/rl/coverage`.

A market has one line of time, whatever the number of its sessions: where two record it at once, as in a
deployment that overlaps, it is exact when one of them is. An interval that has not ended ends now.
"""

from heapq import heappop, heappush
from itertools import pairwise
from typing import Final

import trio
from attrs import frozen

from collector.clock import WallClock
from collector.store.connection import ConnectStore, TrioConnection
from collector.store.coverage import CoverageRows, CoverageSession, CoverageSpan, fetch_coverage
from collector.web.desk import Desk, Unanswered
from collector.web.schema import CoverageData, IntervalData, MarketCoverageData

MINUTES_DEFAULT: Final = 60
MINUTES_MAX: Final = 1440
_MARKETS_PER_STEP: Final = 20
_SPANS_PER_STEP: Final = 1000


@frozen
class CoverageDesk:
    """Where the question is asked; see `Desk`. The window ends when the database is asked."""

    desk: Desk[CoverageData]

    @classmethod
    def at(cls, clock: WallClock, connect_store: ConnectStore | None) -> "CoverageDesk":
        """A desk that asks this database."""

        async def fetch(connection: TrioConnection, minutes: int) -> CoverageData:
            to_us = clock()
            from_us = to_us - minutes * 60_000_000
            rows = await fetch_coverage(connection, from_us, to_us)
            return await coverage_data(rows, from_us, to_us)

        return cls(Desk(connect_store, fetch))

    async def ask(self, minutes: int, markets: frozenset[str] | None = None) -> CoverageData | Unanswered:
        """The last minutes of these markets, or of all. A checkpoint; raises nothing of the database's."""
        answer = await self.desk.ask(minutes)
        if isinstance(answer, Unanswered) or markets is None:
            return answer
        chosen = [market for market in answer.markets if market.market_ticker in markets]
        return CoverageData(answer.from_ms, answer.to_ms, chosen)


@frozen
class _Stretch:
    """What one session says of a market for a while; `is_over` tells that the session itself had ended."""

    from_us: int
    to_us: int
    is_exact: bool
    is_over: bool
    session_id: int
    cause: str | None

    @property
    def weight(self) -> tuple[int, int, int]:
        """Of stretches at the same time the lightest counts: exact, then of a living session, then newest."""
        return (not self.is_exact, self.is_over, -self.session_id)


async def coverage_data(rows: CoverageRows, from_us: int, to_us: int) -> CoverageData:
    """All markets' intervals, by ticker. Checkpoints on the way, as there may be a thousand markets."""
    stretches: dict[str, list[_Stretch]] = {}
    sessions = {session.session_id: session for session in rows.sessions}
    for session in rows.sessions:
        if session.ended_us is not None:
            start_us = max(session.ended_us, from_us)
            over = _Stretch(start_us, to_us, False, True, session.session_id, session.cause)
            for ticker in session.market_tickers:
                stretches.setdefault(ticker, []).append(over)
        await trio.lowlevel.checkpoint()
    for count, span in enumerate(rows.spans, 1):
        stretch = _stretch_of(span, sessions[span.session_id], from_us, to_us)
        stretches.setdefault(span.market_ticker, []).append(stretch)
        if count % _SPANS_PER_STEP == 0:
            await trio.lowlevel.checkpoint()
    markets: list[MarketCoverageData] = []
    for count, ticker in enumerate(sorted(stretches), 1):
        intervals = _intervals(stretches[ticker])
        if intervals:
            markets.append(MarketCoverageData(ticker, intervals))
        if count % _MARKETS_PER_STEP == 0:
            await trio.lowlevel.checkpoint()
    return CoverageData(from_us // 1000, to_us // 1000, markets)


def _stretch_of(span: CoverageSpan, session: CoverageSession, from_us: int, to_us: int) -> _Stretch:
    end_us = min(
        to_us if span.until_us is None else span.until_us,
        to_us if session.ended_us is None else session.ended_us,
        to_us,
    )
    return _Stretch(max(span.from_us, from_us), end_us, span.is_exact, False, span.session_id, span.cause)


def _intervals(stretches: list[_Stretch]) -> list[IntervalData]:
    """One line of time: at each moment the stretch that counts, neighbours that say the same as one."""
    waiting = sorted(stretches, key=lambda stretch: stretch.from_us, reverse=True)
    times_us = sorted({us for stretch in stretches for us in (stretch.from_us, stretch.to_us)})
    current: list[tuple[tuple[int, int, int], int, _Stretch]] = []
    line: list[IntervalData] = []
    for start_us, end_us in pairwise(times_us):
        while waiting and waiting[-1].from_us <= start_us:
            stretch = waiting.pop()
            heappush(current, (stretch.weight, len(waiting), stretch))
        while current and current[0][2].to_us <= start_us:
            heappop(current)
        if current and end_us // 1000 > start_us // 1000:
            _extend(line, start_us // 1000, end_us // 1000, current[0][2])
    return line


def _extend(line: list[IntervalData], from_ms: int, to_ms: int, stretch: _Stretch) -> None:
    last = line[-1] if line else None
    if last and last.to_ms == from_ms and (last.is_exact, last.cause) == (stretch.is_exact, stretch.cause):
        line[-1] = IntervalData(last.from_ms, to_ms, last.is_exact, last.cause)
    else:
        line.append(IntervalData(from_ms, to_ms, stretch.is_exact, stretch.cause))
