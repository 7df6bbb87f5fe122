"""
A quarter of an hour of the recorder's numbers, one point a second, for charts.

Ages are of the messages of their own second: the difference of counts that only grow. Pure; a tick drives it.
"""

from collections import deque
from typing import Final

from attrs import define, field, frozen

from collector.observe._latency import quantile_us

POINTS_KEPT: Final = 900
"""A quarter of an hour: as far back as an operator looks who has just been called."""
STEP_MS: Final = 1000


@frozen
class SeriesTotals:
    """What has been counted since the process began: frames, and ages in buckets as AgeHistogram has them."""

    frames: int
    commit_counts: list[int]
    age_counts: list[int]


@frozen
class SeriesPoint:
    """
    One second. None where nothing is known: no message, or no tick because the event loop was busy.

    `commit_p99_us` is from arrival to database, `age_p99_us` from the exchange to arrival, in microseconds.
    """

    messages_per_second: float | None = None
    commit_p99_us: float | None = None
    age_p99_us: float | None = None
    exact_markets: int | None = None


NO_POINT: Final = SeriesPoint()


@define(eq=False)
class SeriesRing:
    """
    The newest points, one for each second, oldest first. Written by the tick.

    `end_us` is the wall clock's time of the newest one, 0 before the first.
    """

    end_us: int = 0
    points: deque[SeriesPoint] = field(factory=lambda: deque[SeriesPoint](maxlen=POINTS_KEPT))
    _before: SeriesTotals | None = field(default=None, init=False, repr=False)
    _before_s: float = field(default=0.0, init=False)

    def note(self, monotonic_s: float, now_us: int, totals: SeriesTotals, exact_markets: int) -> None:
        """Add the second that ends now. Seconds that were missed before it are empty, and not left out."""
        before, self._before = self._before, totals
        seconds = max(1, round(monotonic_s - self._before_s))
        self._before_s = monotonic_s
        self.end_us = now_us
        if before is None:
            self.points.append(SeriesPoint(exact_markets=exact_markets))
            return
        self.points.extend([NO_POINT] * min(seconds - 1, POINTS_KEPT))
        self.points.append(
            SeriesPoint(
                (totals.frames - before.frames) / seconds,
                _p99_us(before.commit_counts, totals.commit_counts),
                _p99_us(before.age_counts, totals.age_counts),
                exact_markets,
            )
        )


def _p99_us(before: list[int], now: list[int]) -> float | None:
    return quantile_us([new - old for old, new in zip(before, now, strict=True)], 0.99)
