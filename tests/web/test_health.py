"""The health matrix: what is healthy, what is degraded, and what asks for a restart or a person."""

from collections.abc import Callable

import pytest

from collector.observe import FeedPhase, RecorderState, StorePhase
from collector.web._health import assess, health_json
from tests.web.recorder import NOW_US, new_recorder, running_recorder

S = 1_000_000


def quiet_market(state: RecorderState) -> None:
    state.sessions[0].last_message_us = NOW_US - 3500 * S


def left(phase: FeedPhase, seconds: int) -> Callable[[RecorderState], None]:
    """The feed's session ended so long ago; the phase itself began just now."""

    def change(state: RecorderState) -> None:
        feed, session = state.feeds[0], state.sessions[0]
        feed.phase, feed.since_us, feed.reason = phase, NOW_US, "the network is gone"
        session.status, session.ended_us = "error", NOW_US - seconds * S

    return change


def feed_in(phase: FeedPhase, reason: str = "") -> Callable[[RecorderState], None]:
    def change(state: RecorderState) -> None:
        state.feeds[0].phase, state.feeds[0].reason = phase, reason

    return change


def database_away(state: RecorderState) -> None:
    state.store.turn(StorePhase.AWAY, NOW_US - 5 * S, "connection refused")
    state.sessions[0].queued_frames = 1234


def nothing_recorded(state: RecorderState) -> None:
    database_away(state)
    state.feeds[0].phase = FeedPhase.WAITING_FOR_STORE


def never_available(state: RecorderState) -> None:
    state.store.phase = StorePhase.STARTING


def partitions_missing(state: RecorderState) -> None:
    state.store.partitions_missing = True
    state.store.partitions_until = "2025-06-15"


def partitions_present(state: RecorderState) -> None:
    state.store.partitions_until = "2025-06-22"


def late_ticks(state: RecorderState) -> None:
    state.loop_lag_ms = 900.0


def stopping(state: RecorderState) -> None:
    state.stopping = True
    state.feeds[0].phase = FeedPhase.STOPPED


def database_away_with_spool(state: RecorderState) -> None:
    database_away(state)
    state.spool.sessions, state.spool.bytes = 1, 3_400_000


def database_away_with_full_spool(state: RecorderState) -> None:
    database_away_with_spool(state)
    state.spool.is_full = True


def disk_fails(state: RecorderState) -> None:
    state.spool.failure = "No space left on device"


def damaged_spool_file(state: RecorderState) -> None:
    state.spool.damaged_files = 1


def growing_age(state: RecorderState) -> None:
    trend = state.sessions[0].age_trend
    trend.is_alarming, trend.age_us, trend.best_us = True, 3_200_000, 100_000


def growing_age_of_an_ended_session(state: RecorderState) -> None:
    growing_age(state)
    state.sessions[0].status = "closed"


def exchange_ahead(state: RecorderState) -> None:
    state.sessions[0].age_trend.age_us = -4_500_000


def clock_set(seconds_ago: int, size_us: int) -> Callable[[RecorderState], None]:
    def change(state: RecorderState) -> None:
        clock = state.wall_clock
        clock.steps, clock.last_step_us, clock.last_size_us = 1, NOW_US - seconds_ago * S, size_us

    return change


def second_feed_refused(state: RecorderState) -> None:
    state.feeds.append(type(state.feeds[0])("feed-2", ("B",), FeedPhase.REFUSED, NOW_US, "HTTP 401"))


@pytest.mark.parametrize(
    ("change", "status", "verdict", "component", "why"),
    [
        (lambda state: None, 200, "ok", "feeds", "connected"),
        (quiet_market, 200, "ok", "feeds", "connected"),
        (left(FeedPhase.BACKING_OFF, 59), 200, "ok", "feeds", "reconnects: the network is gone"),
        (left(FeedPhase.CONNECTING, 59), 200, "ok", "feeds", "reconnects"),
        (left(FeedPhase.BACKING_OFF, 61), 503, "failed", "feeds", "not connected for over 60 s"),
        (left(FeedPhase.CONNECTING, 61), 503, "failed", "feeds", "not connected for over 60 s"),
        (feed_in(FeedPhase.REFUSED, "HTTP 401"), 503, "failed", "feeds", "refuses the connection: HTTP 401"),
        (second_feed_refused, 503, "failed", "feeds", "feed-2: the exchange refuses"),
        (feed_in(FeedPhase.STOPPED, "a bug"), 503, "failed", "feeds", "a bug"),
        (stopping, 503, "failed", "feeds", "the service is stopping"),
        (
            database_away,
            200,
            "degraded",
            "store",
            "connection refused): 1234 frames wait, not all of them on the disk",
        ),
        (nothing_recorded, 503, "failed", "feeds", "nothing is recorded: the feed waits for PostgreSQL"),
        (never_available, 503, "failed", "store", "never reached"),
        (partitions_missing, 200, "degraded", "partitions", "missing after 2025-06-15"),
        (partitions_present, 200, "ok", "partitions", "present until 2025-06-22"),
        (database_away_with_spool, 200, "degraded", "store", "recording goes on into the spool"),
        (database_away_with_spool, 200, "degraded", "spool", "3.4 MB of 1 session wait for the database"),
        (
            database_away_with_full_spool,
            503,
            "failed",
            "spool",
            "what comes waits in memory",
        ),
        (disk_fails, 503, "failed", "spool", "disk: No space left on device"),
        (damaged_spool_file, 200, "degraded", "spool", "1 damaged files"),
        (lambda state: None, 200, "ok", "spool", "empty"),
        (growing_age, 200, "degraded", "message_age", "of feed-1 are getting older: 3.2 s behind, 0.1 s at"),
        (growing_age_of_an_ended_session, 200, "ok", "message_age", "do not get older"),
        (exchange_ahead, 200, "degraded", "clock", "times are ahead of ours by 4.5 s: check NTP"),
        (clock_set(599, -3_600_000_000), 200, "degraded", "clock", "was set by -3600.0 s"),
        (clock_set(599, 2_000_000), 200, "degraded", "clock", "was set by +2.0 s"),
        (clock_set(601, 2_000_000), 200, "ok", "clock", "goes evenly"),
        (late_ticks, 200, "degraded", "event_loop", "900 ms late"),
    ],
)
def test_a_running_service(
    change: Callable[[RecorderState], None], status: int, verdict: str, component: str, why: str
) -> None:
    """After the first two minutes each trouble has its verdict, its reason and its status code."""
    recorder, _ = running_recorder("A")
    change(recorder.state)
    health = assess(recorder.state, NOW_US)
    assert (health.status_code, health.verdict) == (status, verdict)
    found = {part.name: part for part in health.components}[component]
    assert found.verdict == verdict
    assert why in found.why


@pytest.mark.parametrize(
    ("phase", "store", "age_s", "status"),
    [
        (None, StorePhase.STARTING, 119, 200),
        (None, StorePhase.AVAILABLE, 121, 503),
        (FeedPhase.CONNECTING, StorePhase.STARTING, 119, 200),
        (FeedPhase.BACKING_OFF, StorePhase.AVAILABLE, 119, 200),
        (FeedPhase.BACKING_OFF, StorePhase.AVAILABLE, 121, 503),
        (FeedPhase.WAITING_FOR_STORE, StorePhase.STARTING, 119, 200),
        (FeedPhase.WAITING_FOR_STORE, StorePhase.STARTING, 121, 503),
        (FeedPhase.WAITING_FOR_STORE, StorePhase.AWAY, 10, 503),
        (FeedPhase.REFUSED, StorePhase.AVAILABLE, 10, 503),
    ],
)
def test_a_starting_service(phase: FeedPhase | None, store: StorePhase, age_s: int, status: int) -> None:
    """Starting up is healthy for two minutes; a refusal, or a database that went away, is not."""
    recorder = new_recorder("A")
    recorder.state.store.phase = store
    if phase is not None:
        feed = recorder.add_feed("feed-1", "A")
        feed.phase, feed.ever_connected = phase, False
    assert assess(recorder.state, NOW_US + age_s * S).status_code == status


def test_since_is_when_the_feed_was_left() -> None:
    """A failed feed counts from the end of its session, not from its newest attempt."""
    recorder, _ = running_recorder("A")
    left(FeedPhase.CONNECTING, 90)(recorder.state)
    status, body = health_json(recorder.state, NOW_US)
    assert status == 503
    assert body["feeds"] == [
        {
            "name": "feed-1",
            "status": "failed",
            "why": "not connected for over 60 s: the network is gone",
            "since": "2025-06-15T15:05:10.000Z",
        }
    ]
