"""What the page says first when something is wrong: the cause, by a name that needs no explanation."""

from collections.abc import Callable

import pytest

from collector.facts import AuditFact, Cause, FrameBatch, FrameCounts
from collector.observe import FeedPhase, RecorderState, StorePhase
from collector.web._health import assess
from collector.web._problem_text import CAUSES
from collector.web._problems import find_problems
from collector.web._schema import Problem
from tests.web import test_health as states
from tests.web.recorder import NOW_US, Recorder, delta, new_recorder, running_recorder, snapshot

S = 1_000_000
Change = Callable[[Recorder], None]


def of_state(change: Callable[[RecorderState], None]) -> Change:
    return lambda recorder: change(recorder.state)


def key_refused(recorder: Recorder) -> None:
    feed = recorder.state.feeds[0]
    feed.phase, feed.reason = FeedPhase.REFUSED, "refused with HTTP 401: authentication_error"


def spool_full(recorder: Recorder) -> None:
    """The database is away, the spool is full, and the feed waits for room."""
    states.nothing_recorded(recorder.state)
    recorder.state.memory_frames_max = 200_000
    recorder.state.spool.sessions, recorder.state.spool.is_full = 1, True
    recorder.state.spool.bytes = recorder.state.spool.bytes_max = 2_048_000_000


def silent_subscription(recorder: Recorder) -> None:
    states.left(FeedPhase.BACKING_OFF, 3)(recorder.state)
    recorder.state.feeds[
        0
    ].reason = "subscription 1 (orderbook_delta) is silent: two probes without an answer"


def lost_and_back(recorder: Recorder) -> None:
    session = recorder.state.sessions[0]
    session.status, session.ended_us, session.end_reason = "error", NOW_US - 30 * S, "network: reset"
    recorder.fold(recorder.add_session("feed-1", "A", "B", session_id=18), snapshot("A", 1), snapshot("B", 2))


def sequence_gap(recorder: Recorder) -> None:
    recorder.fold(recorder.state.sessions[0], delta("A", 9))


def sequence_gap_for_long(recorder: Recorder) -> None:
    recorder.now_us = NOW_US - 90 * S
    recorder.state.sessions[0].started_us = NOW_US - 3600 * S
    sequence_gap(recorder)
    recorder.now_us = NOW_US


def healed_gap(recorder: Recorder) -> None:
    sequence_gap(recorder)
    recorder.fold(recorder.state.sessions[0], snapshot("A", 10), snapshot("B", 11))


def wrong_book(recorder: Recorder) -> None:
    """An audit of A found a difference, and the next answer has healed the book."""
    session = recorder.state.sessions[0]
    fact = AuditFact("A", 9, NOW_US - 5 * S, False, "yes 4500: book 100, exchange 300", sid=1)
    frames = recorder.fold(session, snapshot("A", 3)).frames
    recorder.state.note_batch(session, FrameBatch(frames, (fact,), FrameCounts()))


def level_below_zero(recorder: Recorder) -> None:
    recorder.fold(recorder.state.sessions[0], delta("A", 3, size="-900.00"), snapshot("A", 4))


def strange_frame(recorder: Recorder) -> None:
    recorder.fold(recorder.state.sessions[0], '{"sid":7}')


def unknown_type(recorder: Recorder) -> None:
    recorder.fold(recorder.state.sessions[0], '{"type":"market_weather","msg":{}}')


def no_first_snapshot(recorder: Recorder) -> None:
    recorder.add_session("feed-1", "OLD").started_us = NOW_US - 60 * S


def unanswered_audits(recorder: Recorder) -> None:
    session = recorder.state.sessions[0]
    session.audits, session.unanswered_audits = 19, 2


def discovery_fails(recorder: Recorder) -> None:
    discovery = recorder.state.discovery
    discovery.is_on, discovery.reason, discovery.followed = True, "REST: answered with HTTP 503", 2
    discovery.last_us = NOW_US - 90 * S


def no_market_found(recorder: Recorder) -> None:
    discovery_fails(recorder)
    recorder.state.feeds.clear()
    recorder.state.sessions.clear()


def stopping(recorder: Recorder) -> None:
    recorder.state.stopping = True


TROUBLES: list[tuple[Change, str, str, str, str, str]] = [
    (key_refused, "failed", "feed:feed-1", "refuses the API key", "HTTP 401", "KALSHI_API_KEY_ID"),
    (of_state(states.database_away), "degraded", "database", "database is away", "refused", "DATABASE_URL"),
    (
        of_state(states.database_away_with_spool),
        "degraded", "database", "database is away", "into the spool", "RL_SPOOL_MAX_MB",
    ),
    (
        of_state(states.nothing_recorded),
        "failed", "feed:feed-1", "database is away", "2 markets are not recorded", "Bring the database back",
    ),
    (of_state(states.never_available), "failed", "database", "never reached", "never", "DATABASE_URL"),
    (spool_full, "failed", "database", "and the spool is full", "of its 200,000 frames", "Don't restart"),
    (of_state(states.disk_fails), "failed", "spool-disk", "disk is full", "No space left", "RL_SPOOL_DIR"),
    (of_state(states.damaged_spool_file), "degraded", "spool-damaged", "Damaged", "1 damaged", "Keep the"),
    (sequence_gap, "notice", "books:sequence", "2 of 2 books unknown: sequence gap", "A, B", "snapshot"),
    (sequence_gap_for_long, "degraded", "books:sequence", "sequence gap", "A, B", "network"),
    (healed_gap, "notice", "gaps:sequence", "Sequence gap", "6 numbers missing from 3 on", "Nothing now"),
    (silent_subscription, "notice", "feed:feed-1", "went silent", "reconnects: subscription 1", "by itself"),
    (
        of_state(states.left(FeedPhase.BACKING_OFF, 61)),
        "failed", "feed:feed-1", "connection to the exchange was lost", "the network is gone", "network",
    ),
    (lost_and_back, "notice", "connection-lost", "was lost", "1 in the last 10 minutes", "Nothing now"),
    (
        wrong_book,
        "degraded", "audit-mismatch", "audit found a wrong book",
        "YES bids at 45 ¢: 1 contracts here, 3 at the exchange",
        "`collector verify --session 17`",
    ),
    (
        level_below_zero,
        "notice", "gaps:negative_level", "level went below zero", ": A, no number missing", "--session 17",
    ),
    (of_state(states.clock_set(5, -2 * S)), "degraded", "clock", "clock was set", "by -2.0 s", "NTP"),
    (of_state(states.exchange_ahead), "degraded", "clock", "is behind the exchange's", "4.5 s", "NTP"),
    (of_state(states.growing_age), "degraded", "message-age", "getting older", "3.2 s behind", "network"),
    (of_state(states.late_ticks), "degraded", "event-loop", "does not keep up", "900 ms", "processor time"),
    (
        of_state(states.partitions_missing),
        "degraded", "partitions", "Partitions", "after 2025-06-15", "Read the log",
    ),
    (strange_frame, "notice", "rejects", "not understood", "frame 3", "rl_orderbook_rejects"),
    (discovery_fails, "notice", "discovery", "Which markets", "HTTP 503; last done at", "KALSHI_API_URL"),
    (no_market_found, "failed", "no-feed", "no market to record", "HTTP 503", "RL_MARKET_MODE"),
    (unanswered_audits, "notice", "unanswered:feed-1", "without an answer", "2 without", "RL_AUDIT_INTERVAL"),
    (unknown_type, "notice", "unknown-types", "unknown type", "market_weather (1)", "kept raw"),
    (no_first_snapshot, "notice", "books:no_snapshot_yet", "no first snapshot", "OLD", "RL_MARKET_TICKERS"),
    (of_state(states.stopping), "failed", "stopping", "is stopping", "is stopping", "Start it again"),
    (stopping, "notice", "stopping", "is stopping", "connected", "Start it again"),
]  # fmt: skip


def troubled(change: Change) -> tuple[Recorder, list[Problem]]:
    recorder, _ = running_recorder("A", "B")
    change(recorder)
    return recorder, find_problems(recorder.state, NOW_US)


@pytest.mark.parametrize(("change", "level", "name", "title", "detail", "advice"), TROUBLES)
def test_the_cause_comes_first_with_advice(
    change: Change, level: str, name: str, title: str, detail: str, advice: str
) -> None:
    """Each trouble is the first problem by its own name, says what exactly, and what to do."""
    _, (first, *_) = troubled(change)
    assert (first.level, first.id) == (level, name)
    assert title in first.title
    assert detail in first.detail
    assert advice in first.advice


@pytest.mark.parametrize("change", [trouble[0] for trouble in TROUBLES])
def test_page_and_probe_agree(change: Change) -> None:
    """The worst level is health's verdict, where a notice is no fault; problems are in order and distinct."""
    recorder, problems = troubled(change)
    levels = [problem.level for problem in problems]
    worst = levels[0] if levels and levels[0] != "notice" else "ok"
    assert worst == assess(recorder.state, NOW_US).verdict
    assert levels == sorted(levels, key=["failed", "degraded", "notice"].index)
    assert len({problem.id for problem in problems}) == len(problems)
    for problem in problems:
        assert "{" not in problem.title + problem.advice + problem.detail
        assert len(problem.title) < 80


def test_a_healthy_recorder_has_no_problems() -> None:
    """Nothing is said where nothing is wrong; a quiet market is nothing wrong."""
    recorder, _ = running_recorder("A", "B")
    states.quiet_market(recorder.state)
    assert find_problems(recorder.state, NOW_US) == []


@pytest.mark.parametrize("feeds", [0, 1, 2])
def test_a_start_is_one_notice_at_most(feeds: int) -> None:
    """While the service starts one notice says what it still waits for."""
    recorder = new_recorder("A")
    for number in range(feeds):
        feed = recorder.add_feed(f"feed-{number}", "A")
        feed.phase, feed.ever_connected = FeedPhase.CONNECTING, False
    (problem,) = find_problems(recorder.state, NOW_US + 5 * S)
    assert (problem.level, problem.id, problem.since_ms) == ("notice", "starting", NOW_US // 1000)
    assert "store: not connected yet" in problem.detail


def test_a_connection_that_has_just_begun_has_no_problem_yet() -> None:
    """Books get some seconds for their first snapshots."""
    recorder = new_recorder("A")
    recorder.state.store.turn(StorePhase.AVAILABLE, NOW_US)
    recorder.add_feed("feed-1", "A")
    recorder.add_session("feed-1", "A")
    assert find_problems(recorder.state, NOW_US + 9 * S) == []
    assert [problem.id for problem in find_problems(recorder.state, NOW_US + 11 * S)] == [
        "books:no_snapshot_yet"
    ]


def test_a_market_that_is_over_is_no_problem_of_audits() -> None:
    """One audit in ten may stay without an answer."""
    recorder, session = running_recorder("A")
    session.audits, session.unanswered_audits = 20, 2
    assert find_problems(recorder.state, NOW_US) == []


def test_two_feeds_in_trouble_are_two_problems() -> None:
    """Each feed has its own reason; the one that records nothing comes before the one that reconnects."""
    recorder, _ = running_recorder("A")
    states.left(FeedPhase.BACKING_OFF, 3)(recorder.state)
    states.second_feed_refused(recorder.state)
    problems = find_problems(recorder.state, NOW_US)
    assert [(problem.id, problem.level) for problem in problems] == [
        ("feed:feed-2", "failed"),
        ("feed:feed-1", "notice"),
    ]
    assert [problem.since_ms for problem in problems] == [NOW_US // 1000, NOW_US // 1000 - 3000]


def test_many_unknown_books_name_a_few() -> None:
    """A thousand names would hide the cause."""
    tickers = [f"MARKET-{number:02}" for number in range(40)]
    recorder, session = running_recorder(*tickers)
    recorder.fold(session, delta(tickers[0], 99))
    first = find_problems(recorder.state, NOW_US)[0]
    assert first.title == "40 of 40 books unknown: sequence gap"
    assert "MARKET-04 and 35 more" in first.detail
    assert first.since_ms == NOW_US // 1000


@pytest.mark.parametrize(
    ("change", "seconds", "is_told"),
    [
        (healed_gap, 599, True),
        (healed_gap, 601, False),
        (strange_frame, 599, True),
        (strange_frame, 601, False),
        (lost_and_back, 569, True),
        (lost_and_back, 571, False),
        (wrong_book, 3594, True),
        (wrong_book, 3596, False),
    ],
)
def test_what_has_passed_is_told_for_a_while(change: Change, seconds: int, is_told: bool) -> None:
    """Gaps, rejects and lost connections are told for ten minutes, a wrong book for an hour."""
    recorder, _ = troubled(change)
    assert bool(find_problems(recorder.state, NOW_US + seconds * S)) == is_told


def test_more_than_are_remembered_is_said_as_such() -> None:
    """Beyond the fifty that are kept, a count would be a lie."""
    recorder, session = running_recorder("A")
    recorder.fold(session, *['{"sid":7}'] * 60)
    (problem,) = find_problems(recorder.state, NOW_US)
    assert problem.detail.startswith("at least 50 in the last 10 minutes; newest: frame 61")


def test_spool_in_use_is_told_with_the_database_and_with_how_long_it_will_do() -> None:
    """One trouble is told once: cause, reserve, and the time that is left."""
    recorder, _ = running_recorder("A")
    states.database_away(recorder.state)
    spool = recorder.state.spool
    spool.sessions, spool.bytes, spool.bytes_max = 1, 1_000_000, 101_000_000
    spool.since_us = recorder.state.clock() - 60_000_000

    problems = find_problems(recorder.state, recorder.state.clock())

    stores = [problem.id for problem in problems if problem.id.startswith(("spool", "database"))]
    assert stores == ["database"]
    assert "1.0 MB of 101.0 MB, enough for 100 minutes at this rate" in problems[0].detail


def test_full_spool_tells_how_long_memory_will_do() -> None:
    """It is what an operator has to know first then."""
    recorder, session = running_recorder("A")
    recorder.state.memory_frames_max = 200_000
    spool = recorder.state.spool
    spool.sessions, spool.bytes, spool.bytes_max, spool.is_full = 1, 2_000_000_000, 2_000_000_000, True
    for total in (0, 200):
        recorder.state.received = FrameCounts(deltas=total)
        recorder.state.note_tick()

    def details() -> list[str]:
        session.queued_frames, session.spooled_frames = 100_000, 60_000
        return [problem.detail for problem in find_problems(recorder.state, recorder.state.clock())]

    left = "40,000 of its 200,000 frames, enough for 13 minutes at this rate"
    assert left in details()[0]
    states.database_away(recorder.state)
    assert left in details()[0]


def test_every_cause_has_words() -> None:
    """Whatever makes a book unknown, the operator reads a title and an advice."""
    assert CAUSES.keys() == set(Cause)
    assert all(words.title and words.advice for words in CAUSES.values())
