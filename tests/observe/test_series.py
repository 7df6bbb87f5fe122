"""The ring of seconds: what charts show of the last quarter of an hour."""

import pytest

from collector.observe import NO_POINT, SeriesRing
from collector.observe._latency import BUCKETS
from collector.observe._series import POINTS_KEPT, SeriesPoint, SeriesTotals

NOW_US = 1_750_000_000_000_000


def totals(frames: int, slow_commits: int = 0) -> SeriesTotals:
    """Totals with so many frames, all committed within a millisecond but for those that took a second."""
    commits = [0] * BUCKETS
    commits[10], commits[20] = frames - slow_commits, slow_commits
    return SeriesTotals(frames, commits, [0] * BUCKETS)


def test_each_second_has_its_own_messages_and_ages() -> None:
    """A second shows the messages and the ages of that second alone, and none where no message came."""
    ring = SeriesRing()
    ring.note(50.0, NOW_US, totals(100, 100), 3)
    ring.note(51.0, NOW_US + 1_000_000, totals(150, 100), 4)
    ring.note(52.01, NOW_US + 2_010_000, totals(150, 100), 4)
    first, second, third = ring.points
    assert first == SeriesPoint(exact_markets=3)
    assert (second.messages_per_second, second.age_p99_us, second.exact_markets) == (50.0, None, 4)
    assert second.commit_p99_us is not None
    assert 512 <= second.commit_p99_us <= 1024
    assert third == SeriesPoint(0.0, None, None, 4)
    assert ring.end_us == NOW_US + 2_010_000


def test_seconds_without_a_tick_are_empty() -> None:
    """When the event loop missed ticks, their seconds are empty and the rate is spread over them."""
    ring = SeriesRing()
    ring.note(0.0, NOW_US, totals(0), 1)
    ring.note(4.02, NOW_US + 4_020_000, totals(100), 1)
    assert list(ring.points)[1:4] == [NO_POINT] * 3
    assert ring.points[-1].messages_per_second == pytest.approx(25.0)


def test_it_is_bounded() -> None:
    """More than a quarter of an hour is forgotten, a machine's sleep of a month included."""
    ring = SeriesRing()
    for second in range(POINTS_KEPT + 5):
        ring.note(float(second), NOW_US, totals(second), second)
    assert len(ring.points) == POINTS_KEPT
    assert ring.points[0].exact_markets == 5
    ring.note(3e6, NOW_US, totals(10_000), 7)
    assert len(ring.points) == POINTS_KEPT
    assert list(ring.points)[:-1] == [NO_POINT] * (POINTS_KEPT - 1)
