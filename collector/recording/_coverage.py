"""
When books were exact: one line of time for each market, whatever the number of its sessions.

Where two sessions record a market at once, as in a deployment that overlaps, its book is exact when one of
them has it exact. An interval that has not ended ends with the window.
"""

from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import pairwise
from typing import Final

import trio
from attrs import frozen

from collector.database import CoverageRows, CoverageSpan

_MARKETS_PER_STEP: Final = 20
_SPANS_PER_STEP: Final = 1000


@frozen
class CoverageInterval:
    """
    A market's book was exact from one time to another, or unknown for a cause. Milliseconds since 1970 UTC.
    """

    from_ms: int
    to_ms: int
    is_exact: bool
    cause: str | None


@frozen
class MarketCoverage:
    """The intervals of one market, in order, without overlap."""

    market_ticker: str
    intervals: Sequence[CoverageInterval]


@frozen
class _Stretch:
    """A market's book in one session, for a while. `is_over` is true after the end of the session."""

    from_us: int
    to_us: int
    is_exact: bool
    is_over: bool
    session_id: int
    cause: str | None

    @property
    def weight(self) -> tuple[int, int, int]:
        """Sort key. Of overlapping stretches the smallest wins: exact first, then not ended, then newest."""
        return (not self.is_exact, self.is_over, -self.session_id)


async def coverage_of_markets(rows: CoverageRows, from_us: int, to_us: int) -> list[MarketCoverage]:
    """All markets' intervals, by ticker. Checkpoints on the way, as there may be a thousand markets."""
    stretches: dict[str, list[_Stretch]] = {}
    ended_us = {session.session_id: session.ended_us for session in rows.sessions}
    for session in rows.sessions:
        if session.ended_us is not None:
            after = _Stretch(
                from_us=max(session.ended_us, from_us),
                to_us=to_us,
                is_exact=False,
                is_over=True,
                session_id=session.session_id,
                cause=session.cause,
            )
            for ticker in session.market_tickers:
                stretches.setdefault(ticker, []).append(after)
        await trio.lowlevel.checkpoint()
    for count, span in enumerate((*rows.spans, *rows.proofs), 1):
        stretch = _stretch_of(span, ended_us.get(span.session_id), from_us, to_us)
        stretches.setdefault(span.market_ticker, []).append(stretch)
        if count % _SPANS_PER_STEP == 0:
            await trio.lowlevel.checkpoint()
    markets: list[MarketCoverage] = []
    for count, ticker in enumerate(sorted(stretches), 1):
        intervals = _intervals(stretches[ticker])
        if intervals:
            markets.append(MarketCoverage(ticker, intervals))
        if count % _MARKETS_PER_STEP == 0:
            await trio.lowlevel.checkpoint()
    return markets


def _stretch_of(span: CoverageSpan, ended_us: int | None, from_us: int, to_us: int) -> _Stretch:
    end_us = min(us for us in (span.until_us, ended_us, to_us) if us is not None)
    return _Stretch(
        from_us=max(span.from_us, from_us),
        to_us=end_us,
        is_exact=span.is_exact,
        is_over=False,
        session_id=span.session_id,
        cause=span.cause,
    )


def _intervals(stretches: list[_Stretch]) -> list[CoverageInterval]:
    """Merge stretches into one timeline: at each moment the smallest `weight` wins; equal neighbours join."""
    waiting = sorted(stretches, key=lambda stretch: stretch.from_us, reverse=True)
    times_us = sorted({us for stretch in stretches for us in (stretch.from_us, stretch.to_us)})
    current: list[tuple[tuple[int, int, int], int, _Stretch]] = []
    line: list[CoverageInterval] = []
    for start_us, end_us in pairwise(times_us):
        while waiting and waiting[-1].from_us <= start_us:
            stretch = waiting.pop()
            heappush(current, (stretch.weight, len(waiting), stretch))
        while current and current[0][2].to_us <= start_us:
            heappop(current)
        if current and end_us // 1000 > start_us // 1000:
            _extend(line, start_us // 1000, end_us // 1000, current[0][2])
    return line


def _extend(line: list[CoverageInterval], from_ms: int, to_ms: int, stretch: _Stretch) -> None:
    last = line[-1] if line else None
    if last and last.to_ms == from_ms and (last.is_exact, last.cause) == (stretch.is_exact, stretch.cause):
        line[-1] = CoverageInterval(last.from_ms, to_ms, last.is_exact, last.cause)
    else:
        line.append(CoverageInterval(from_ms, to_ms, stretch.is_exact, stretch.cause))
