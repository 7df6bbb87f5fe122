"""The JSON of the live stream, to the character where prices are concerned."""

import json
from typing import Any, cast

import pytest

from collector.facts import AuditFact, DeltaFact, FrameBatch, FrameCounts, SnapshotFact
from collector.observe import FeedPhase, RecorderState, StorePhase
from collector.web._book_messages import LiveMessages, connection_text
from collector.web._current_books import current_books
from collector.web._stats import stats_text
from tests.web.recorder import NOW_US, delta, new_recorder, running_recorder, snapshot


def parse(text: str) -> tuple[str, dict[str, Any]]:
    message = json.loads(text, parse_float=str)
    return message["type"], message["data"]


def stats(state: RecorderState, clients: int) -> dict[str, Any]:
    """The data of `stats` as a client reads them."""
    message = json.loads(stats_text(state, clients))
    assert message["type"] == "stats"
    return cast("dict[str, Any]", message["data"])


def snapshot_data(yes: dict[str, str], no: dict[str, str]) -> dict[str, Any]:
    recorder = new_recorder("A")
    session = recorder.add_session("feed-1", "A")
    batch = recorder.fold(session, snapshot("A", 1, yes, no))
    fact = batch.facts[0]
    assert isinstance(fact, SnapshotFact)
    messages = LiveMessages(recorder.state)
    text = messages.snapshot(fact)
    assert text == messages.current("A")
    kind, data = parse(text)
    assert kind == "orderbook_snapshot"
    return data


def test_connection_is_as_specified() -> None:
    """`connection` names the markets, the status and the version."""
    recorder = new_recorder("KXCABOUT-29")
    assert connection_text(recorder.state) == (
        '{"type":"connection","data":{"markets":["KXCABOUT-29"],"status":"connected","version":"1.2.3"}}'
    )


def test_snapshot_is_as_specified() -> None:
    """Bids of both sides, asks derived from the other side, and mid prices, best prices first."""
    data = snapshot_data({"0.4400": "250.00", "0.4500": "100.00"}, {"0.4500": "150.00"})
    assert data == {
        "market_ticker": "A",
        "timestamp_ms": NOW_US // 1000,
        "sequence_number": 1,
        "yes_bids": {"45": 100, "44": 250},
        "yes_asks": {"55": 150},
        "no_bids": {"45": 150},
        "no_asks": {"55": 100, "56": 250},
        "yes_mid_price": 50,
        "no_mid_price": 50,
        "is_exact": True,
        "unknown_cause": None,
    }
    assert list(data["yes_bids"]) == ["45", "44"]
    assert list(data["no_asks"]) == ["55", "56"]


@pytest.mark.parametrize(
    ("yes", "no", "yes_mid", "no_mid"),
    [
        ({}, {}, None, None),
        ({"0.4500": "1"}, {}, None, None),
        ({}, {"0.4500": "1"}, None, None),
        ({"0.4500": "1"}, {"0.4400": "1"}, "50.5", "49.5"),
        ({"0.4550": "1"}, {"0.4500": "1"}, "50.25", "49.75"),
        ({"0.4501": "1"}, {"0.4500": "1"}, "50.005", "49.995"),
        ({"0.0001": "1"}, {"0.0002": "1"}, "49.995", "50.005"),
    ],
)
def test_mid_prices_are_exact(
    yes: dict[str, str], no: dict[str, str], yes_mid: str | None, no_mid: str | None
) -> None:
    """A mid price is null without both sides, and exact to half of the smallest price step."""
    data = snapshot_data(yes, no)
    assert (data["yes_mid_price"], data["no_mid_price"]) == (yes_mid, no_mid)


def test_fractions_are_written_only_where_there_are_some() -> None:
    """Keys and sizes are the shortest exact decimal text."""
    data = snapshot_data({"0.4550": "0.50", "0.4001": "3.25"}, {"0.0999": "1000000000.00"})
    assert data["yes_bids"] == {"45.5": "0.5", "40.01": "3.25"}
    assert data["yes_asks"] == {"90.01": 1_000_000_000}


@pytest.mark.parametrize(
    ("side", "price", "size", "expected"),
    [
        ("yes", "0.4500", "50.00", ("update", 45, 100, 150)),
        ("yes", "0.4500", "-100.00", ("remove", 45, 100, 0)),
        ("no", "0.3050", "0.50", ("add", "30.5", 0, "0.5")),
    ],
)
def test_delta_is_as_specified(side: str, price: str, size: str, expected: tuple[object, ...]) -> None:
    """A delta tells side, action, price in cents, and sizes before and after."""
    recorder, session = running_recorder("A")
    batch = recorder.fold(session, delta("A", 2, side, price, size))
    (fact,) = batch.facts
    assert isinstance(fact, DeltaFact)
    kind, data = parse(LiveMessages(recorder.state).delta(fact))
    assert kind == "orderbook_delta"
    action, cents, old_size, new_size = expected
    assert data == {
        "market_ticker": "A",
        "timestamp_ms": 1_750_000_000_123,
        "sequence_number": 2,
        "side": side,
        "action": action,
        "price": cents,
        "old_size": old_size,
        "new_size": new_size,
    }


def test_delta_without_a_time_takes_the_receive_time() -> None:
    """What the exchange leaves untimed is timed by its arrival."""
    recorder, session = running_recorder("A")
    (fact,) = recorder.fold(session, delta("A", 2, is_timed=False)).facts
    assert isinstance(fact, DeltaFact)
    _, data = parse(LiveMessages(recorder.state).delta(fact))
    assert data["timestamp_ms"] == NOW_US // 1000


def test_a_book_of_an_ended_session_is_not_exact() -> None:
    """The last book stays visible when its session ends, but nobody is told that it is exact."""
    recorder, session = running_recorder("A")
    session.status = "closed"
    text = LiveMessages(recorder.state).current("A")
    assert text is not None
    _, data = parse(text)
    assert (data["is_exact"], data["unknown_cause"]) == (False, "session_ended")


def test_the_newest_session_with_a_book_gives_it() -> None:
    """A new session's empty tracker does not hide the old book; its first snapshot replaces it."""
    recorder, old = running_recorder("A")
    old.status = "closed"
    new = recorder.add_session("feed-1", "A", session_id=18)
    assert current_books(recorder.state)["A"].session is old
    recorder.fold(new, snapshot("A", 1))
    assert current_books(recorder.state)["A"].session is new


def test_stats_have_every_specified_field() -> None:
    """`stats` carries the recorder's own numbers under the specified names."""
    recorder, session = running_recorder("A", "B")
    recorder.fold(session, delta("A", 3), delta("B", 4), '{"sid":7}')
    session.queued_frames = 45
    recorder.now_us += 2_500_000
    data = stats(recorder.state, clients=3)
    assert {
        "session_id": "17",
        "session_status": "active",
        "markets_active": 2,
        "snapshots_processed": 2,
        "deltas_processed": 2,
        "messages_per_second": 0.0,
        "db_queue_size": 45,
        "uptime_seconds": 3602,
        "last_update_ms": NOW_US // 1000,
        "message_age_ms": 2500,
        "frames_received": 5,
        "rejects": 1,
        "gaps": 0,
        "clients": 3,
        "markets_tracked": 2,
        "version": "1.2.3",
        "environment": "demo",
        "is_simulated": False,
        "sample_rate": 1,
    }.items() <= data.items()


def test_stats_have_ages_spool_audits_and_clock() -> None:
    """How old messages are, what waits on disk, and whether books were the exchange's, each second."""
    recorder, session = running_recorder("A")
    before = stats(recorder.state, 0)
    recorder.now_us = 1_750_000_000_123_000 + 40_000
    batch = recorder.fold(session, delta("A", 2))
    session.ages.note_committed(batch.frames, recorder.now_us + 300_000)
    verdicts = (
        AuditFact("A", 2, NOW_US, True, None, sid=1),
        AuditFact("A", 2, NOW_US, False, "yes 4500", sid=1),
    )
    recorder.state.note_batch(session, FrameBatch(batch.frames, verdicts, FrameCounts()))
    recorder.state.spool.records, recorder.state.spool.bytes = 7, 9_000
    session.age_trend.is_alarming = True
    session.age_trend.age_us, session.age_trend.best_us = 3_200_000, 100_000
    data = stats(recorder.state, 0)
    nothing = {"p50": None, "p99": None}
    ages = data["ages_ms"]
    assert before["ages_ms"]["exchange_to_receive"] == nothing
    assert 32 <= ages["exchange_to_receive"]["p50"] <= 66
    assert 262 <= ages["receive_to_commit"]["p99"] <= 525
    assert ages["receive_to_book"]["p50"] < 0.01
    assert data["spool"].items() >= {"records": 7, "bytes": 9000}.items()
    assert (data["audits"], data["audit_mismatches"]) == (2, 1)
    assert (session.audits, session.audit_mismatches) == (2, 1)
    assert data["growing_ages"] == [{"feed": "feed-1", "age_ms": 3200.0, "best_ms": 100.0}]
    assert data["clock"] == {"steps": 0, "last_step": None, "last_size_ms": None}


def test_stats_have_problems_and_the_newest_events() -> None:
    """What is wrong comes along, with the newest twenty gaps, rejects and audits, newest first."""
    recorder, session = running_recorder("A")
    for number in range(2, 27):
        recorder.fold(session, f'{{"sid":7,"x":"{"x" * 1000}{number}"}}', delta("A", number * 10))
    batch = recorder.fold(session, delta("A", 261))
    audits = (
        AuditFact("A", 2, NOW_US, True, None, sid=1),
        AuditFact("A", 3, NOW_US + 1000, False, "yes 4500", sid=1),
    )
    recorder.state.note_batch(session, FrameBatch(batch.frames, audits, FrameCounts()))
    data = stats(recorder.state, 0)
    assert data["problems"][0]["id"] == "audit-mismatch"
    assert [gap["received"] for gap in data["recent_gaps"]] == [number * 10 for number in range(26, 6, -1)]
    assert data["recent_gaps"][0] == {
        "detected": "2025-06-15T15:06:40.000Z",
        "cause": "sequence",
        "market_ticker": None,
        "sid": 1,
        "expected": 251,
        "received": 260,
        "frame_number": 51,
    }
    assert len(data["recent_rejects"]) == 20
    assert (data["recent_rejects"][0]["frame_number"], data["recent_rejects"][0]["text"]) == (
        50,
        ('{"sid":7,"x":"' + "x" * 200)[:200],
    )
    assert data["recent_audits"] == [
        {
            "received": "2025-06-15T15:06:40.001Z",
            "market_ticker": "A",
            "sequence_number": 3,
            "is_match": False,
            "first_difference": "yes 4500",
        },
        {
            "received": "2025-06-15T15:06:40.000Z",
            "market_ticker": "A",
            "sequence_number": 2,
            "is_match": True,
            "first_difference": None,
        },
    ]


def test_stats_before_the_first_session() -> None:
    """A service that has just started has no session id, no last update, and connects."""
    data = stats(new_recorder("A").state, clients=0)
    assert (data["session_id"], data["session_status"]) == ("", "connecting")
    assert data["last_update_ms"] is None
    assert data["write_ms_last"] is None


def test_stats_of_a_session_whose_row_is_not_written() -> None:
    """An active session without an id yet shows an empty one."""
    recorder = new_recorder("A")
    recorder.add_session("feed-1", "A", session_id=None)
    data = stats(recorder.state, clients=0)
    assert (data["session_id"], data["session_status"]) == ("", "active")


@pytest.mark.parametrize(
    ("session_status", "phase", "expected"),
    [
        ("active", FeedPhase.REFUSED, "active"),
        ("error", FeedPhase.BACKING_OFF, "error"),
        ("closed", FeedPhase.STOPPED, "closed"),
        ("error", FeedPhase.CONNECTING, "connecting"),
        ("error", FeedPhase.REFUSED, "refused"),
    ],
)
def test_session_status_tells_what_keeps_the_next_one(
    session_status: str, phase: FeedPhase, expected: str
) -> None:
    """Without an active session the status is the feed's trouble, else how the last session ended."""
    recorder, session = running_recorder("A")
    session.status = session_status
    recorder.state.feeds[0].phase = phase
    assert stats(recorder.state, 0)["session_status"] == expected


def test_stats_repeat_feeds_sessions_and_database() -> None:
    """Each feed, each session and the database come with their reasons."""
    recorder, session = running_recorder("A")
    recorder.state.store.turn(StorePhase.AWAY, NOW_US, "connection refused")
    store = recorder.state.store
    store.database, store.repeated_batches, store.losses = "database 1", 3, 1
    store.chain_head = "0b"
    recorder.state.feeds[0].connections = 4
    session.write_ms_last, session.write_ms_max = 3.14159, 90.0
    data = stats(recorder.state, 0)
    assert data["database"] == {
        "phase": "away",
        "reason": "connection refused",
        "since": "2025-06-15T15:06:40.000Z",
        "database": "database 1",
        "repeated_batches": 3,
        "losses": 1,
        "chain_head": "0b",
    }
    assert data["feeds"] == [
        {
            "name": "feed-1",
            "phase": "connected",
            "reason": "",
            "since": "2025-06-15T15:06:40.000Z",
            "markets": 1,
            "attempts": 0,
        }
    ]
    assert (data["reconnections"], data["write_ms_last"], data["write_ms_max"]) == (3, 3.1, 90.0)
    sessions = data["sessions"]
    assert (sessions[0]["id"], sessions[0]["feed"], sessions[0]["status"]) == (17, "feed-1", "active")
