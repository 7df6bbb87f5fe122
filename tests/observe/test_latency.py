"""Message ages: histograms that cost little, and an alarm for a connection whose messages get older."""

import random

import pytest
from attrs import define, field

from collector.facts import FeedTracker
from collector.observe import quantile_us
from collector.observe._latency import SLOTS, AgeHistogram, AgeTrend, MessageAges
from collector.observe._state import SESSIONS_KEPT
from tests.frames import RECEIVED_US, delta_text, received, snapshot_text
from tests.web.recorder import NOW_US, delta, new_recorder, running_recorder

S = 1_000_000
HOUR_US = 3_600 * S
SENT_US = 1_750_000_000_123_000
"""The exchange's time in the frames that `delta` makes."""


@define
class Watch:
    """A trend, and the seconds that pass over it."""

    trend: AgeTrend = field(factory=AgeTrend)
    now_s: float = 0.0

    def windows(self, ages_us: list[int | None]) -> list[str]:
        """Let windows with these least ages pass (None: no messages), and tell what the trend said."""
        said: list[str] = []
        self.trend.tick(self.now_s)
        for age_us in ages_us:
            for second in range(10):
                self.trend.note(None if age_us is None else age_us + second)
                self.now_s += 1
                change = self.trend.tick(self.now_s)
                said += [] if change is None else [change]
        return said


def test_quantiles_are_off_by_less_than_a_bucket() -> None:
    """p50 and p99 of a wide mixture of ages are within a factor of two of the true ones."""
    rng = random.Random(5)
    ages_us = sorted(round(10 ** rng.uniform(1, 7)) for _ in range(5000))
    histogram = AgeHistogram()
    histogram.note(ages_us)
    for share in (0.5, 0.99):
        found_us = quantile_us(histogram.all(), share)
        assert found_us is not None
        assert 0.5 < found_us / ages_us[int(5000 * share)] < 2


def test_no_messages_have_no_quantile() -> None:
    """Without messages there is no age, rather than an age of nothing."""
    assert quantile_us(AgeHistogram().all(), 0.5) is None


def test_every_age_is_counted_somewhere() -> None:
    """Zero, a year and a message from the future are all counted; the last apart."""
    histogram = AgeHistogram()
    histogram.note([0, 365 * 24 * HOUR_US, 10**40, -1, -HOUR_US])
    assert sum(histogram.all()) == 3
    assert histogram.ahead == 2


def test_the_last_minute_forgets_and_the_whole_does_not() -> None:
    """After a minute without messages recent counts are zero, and the totals are as they were."""
    histogram = AgeHistogram()
    histogram.note([1000] * 10)
    for _ in range(SLOTS):
        histogram.rotate()
        assert sum(histogram.recent()) == 10
    histogram.rotate()
    assert sum(histogram.recent()) == 0
    assert sum(histogram.all()) == 10
    assert histogram.sum_us == 10_000


def test_the_process_keeps_the_ages_of_forgotten_sessions() -> None:
    """What Prometheus reads does not become less when old sessions leave the list."""
    recorder, first = running_recorder("A")
    recorder.now_us = SENT_US + 5000
    recorder.fold(first, delta("A", 2))
    first.status, first.is_safe = "closed", True
    before = recorder.state.age_sums()["receive_to_book"]
    for _ in range(SESSIONS_KEPT):
        recorder.state.add_session(recorder.add_session("feed-1", "A"))
        recorder.state.sessions.pop()
    assert first not in recorder.state.sessions
    after = recorder.state.age_sums()
    assert (sum(after["receive_to_book"].counts), after["receive_to_book"].sum_us) == (2, before.sum_us)
    assert sum(after["exchange_to_receive"].counts) == 1


def test_untimed_messages_have_no_age_from_the_exchange() -> None:
    """A delta without a time, and a snapshot, count from the socket on only."""
    recorder, session = running_recorder("A")
    recorder.fold(session, delta("A", 2, is_timed=False))
    assert sum(session.ages.receive_to_book.all()) == 2
    assert sum(session.ages.exchange_to_receive.all()) == 0


@pytest.mark.parametrize("base_us", [100_000, -50_000, 2 * S])
def test_messages_that_get_older_alarm_once(base_us: int) -> None:
    """Four windows of growth to over a second above the best alarm; within a second of it that ends."""
    watch = Watch()
    growing = [base_us + step * 400_000 for step in range(6)]
    assert watch.windows([base_us, *growing]) == ["began"]
    assert (watch.trend.age_us, watch.trend.best_us) == (base_us + 2 * S, base_us)
    assert watch.windows([base_us + 1_500_000, base_us + 1_200_000]) == []
    assert watch.windows([base_us + 900_000]) == ["ended"]


def test_three_windows_of_growth_do_not_alarm() -> None:
    """Growth that stops is not an alarm yet."""
    assert Watch().windows([0, S, 2 * S, 3 * S, 2 * S, 3 * S, 2 * S]) == []


def test_growth_below_a_second_does_not_alarm() -> None:
    """Ages may wander within a second for as long as they like."""
    assert Watch().windows([step * 50_000 for step in range(19)]) == []


def test_a_steady_delay_does_not_alarm() -> None:
    """An exchange that is always two seconds late, give or take, is not falling behind."""
    rng = random.Random(3)
    assert Watch().windows([2 * S + rng.randrange(500_000) for _ in range(300)]) == []


def test_a_quiet_market_does_not_alarm() -> None:
    """No messages are no news, neither from the start nor after some."""
    watch = Watch()
    assert watch.windows([None] * 20) == []
    assert watch.windows([100, None, None, 100, *([None] * 100)]) == []


def test_quiet_windows_do_not_interrupt_growth() -> None:
    """A slow market that falls behind is seen too."""
    ages_us = [100_000, None, 600_000, None, 1_100_000, None, 1_600_000, None, 2_100_000]
    assert Watch().windows(list(ages_us)) == ["began"]


def test_a_minute_of_silence_ends_the_alarm() -> None:
    """A connection without messages has none on their way, so it is not behind."""
    watch = Watch()
    assert watch.windows([step * S for step in range(5)]) == ["began"]
    assert watch.windows([None] * 5) == []
    assert watch.windows([None]) == ["ended"]


@pytest.mark.parametrize("step_us", [HOUR_US, -HOUR_US, 2 * S, -2 * S])
def test_a_step_of_the_clock_is_not_growing_age(step_us: int) -> None:
    """When the clock is set, ages begin anew, and the step is counted with its size; no alarm comes."""
    recorder, session = running_recorder("A")
    state, wall_us, alarms = recorder.state, SENT_US + 50_000, list[object]()
    rng = random.Random(1)
    for second in range(1200):
        shift_us = step_us if second >= 305 else 0
        recorder.now_us = wall_us + shift_us
        session.age_trend.note(50_000 + rng.randrange(400_000) + shift_us)
        if second == 305:
            # Was stamped before the clock was set, and is folded after it.
            assert state.note_clock(float(second)) == step_us
            session.age_trend.note(50_000)
        else:
            assert state.note_clock(float(second)) == 0
        alarms += state.note_trends(float(second))
        wall_us += S
    assert alarms == []
    clock = state.wall_clock
    assert (clock.steps, clock.last_size_us) == (1, step_us)
    assert clock.last_step_us == SENT_US + 50_000 + 305 * S + step_us


def test_a_late_tick_is_not_a_step_of_the_clock() -> None:
    """A busy event loop delays both clocks alike."""
    recorder = new_recorder("A")
    for second in (0.0, 1.0, 9.5, 10.0):
        recorder.now_us = NOW_US + round(second * S) + 400_000 * (second == 1.0)
        assert recorder.state.note_clock(second) == 0
    assert recorder.state.wall_clock.steps == 0


def test_messages_from_the_future_are_told() -> None:
    """Times that are more than a second ahead of ours say that a clock is off; less is nothing."""
    watch = Watch()
    watch.windows([-900_000])
    assert watch.trend.ahead_us == 0
    watch.windows([-4_500_000])
    assert watch.trend.ahead_us == 4_500_000


def test_the_alarm_of_a_session_that_ends_is_over() -> None:
    """An ended session's messages no longer get older, and that is told once."""
    recorder, session = running_recorder("A")
    Watch(session.age_trend).windows([step * S for step in range(6)])
    assert session.age_trend.is_alarming
    session.status = "error"
    assert recorder.state.note_trends(500.0) == [(session, "ended")]
    assert recorder.state.note_trends(501.0) == []


def test_sending_time_splits_the_way_from_the_exchange() -> None:
    """A frame that says when it was sent adds to both parts, one that does not adds to neither."""
    texts = [
        snapshot_text("A", 1),
        delta_text("A", 2, "0.4500", "1.00", sending_ts_ms=1786410915568),
        delta_text("A", 3, "0.4500", "1.00"),
    ]
    batch = FeedTracker.of_markets(["A"]).process(received(*texts))
    ages = MessageAges()
    ages.note_folded(batch, RECEIVED_US + 5000)
    assert (sum(ages.exchange_to_send.all()), ages.exchange_to_send.sum_us) == (1, 2000)
    assert (sum(ages.send_to_receive.all()), ages.send_to_receive.sum_us) == (1, 4000)
    assert sum(ages.exchange_to_receive.all()) == 2
