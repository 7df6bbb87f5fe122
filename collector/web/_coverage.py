"""When books were exact, for the page: the answer of `/rl/coverage`."""

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from collector.clock import WallClock
from collector.recording import MarketCoverage, Recording
from collector.web._query_cache import QueryCache, Unanswered
from collector.web._schema import CoverageData, IntervalData, MarketCoverageData

MINUTES_DEFAULT: Final = 60
MINUTES_MAX: Final = 1440


@frozen
class CoverageQuery:
    """Answers for the last minutes, kept for a while. The window ends when the database is asked."""

    cache: QueryCache[CoverageData]

    @classmethod
    def of(cls, clock: WallClock, recording: Recording | None) -> "CoverageQuery":
        """A query of this recording; without one, every answer says that there is no database."""
        if recording is None:
            return cls(QueryCache(None))

        async def fetch(minutes: int) -> CoverageData:
            to_us = clock()
            from_us = to_us - minutes * 60_000_000
            return coverage_data(await recording.coverage(from_us, to_us), from_us, to_us)

        return cls(QueryCache(fetch))

    async def ask(self, minutes: int, markets: frozenset[str] | None = None) -> CoverageData | Unanswered:
        """The last minutes of these markets, or of all. A checkpoint; raises nothing of the database's."""
        answer = await self.cache.ask(minutes)
        if isinstance(answer, Unanswered) or markets is None:
            return answer
        chosen = [market for market in answer.markets if market.market_ticker in markets]
        return CoverageData(answer.from_ms, answer.to_ms, chosen)


def coverage_data(markets: Sequence[MarketCoverage], from_us: int, to_us: int) -> CoverageData:
    """The answer's JSON. Pure."""
    return CoverageData(
        from_us // 1000,
        to_us // 1000,
        [
            MarketCoverageData(
                market.market_ticker,
                [
                    IntervalData(interval.from_ms, interval.to_ms, interval.is_exact, interval.cause)
                    for interval in market.intervals
                ],
            )
            for market in markets
        ],
    )
