"""What the exchange says of its maintenance, and what cannot be proven because of it."""

import json
import uuid

import pytest

from collector.facts import FeedTracker, ProvenEmptyFact, StreamNote, record_note
from collector.facts._maintenance import WINDOWS_MAX, Maintenance
from tests.frames import RECEIVED_US, delta_text, received, snapshot_text

KEY = uuid.UUID(int=7)
ACTIVE = b'{"exchange_active":true,"trading_active":true}'
INACTIVE = b'{"exchange_active":true,"trading_active":false,"exchange_estimated_resume_time":null}'
SHARD = (
    b'{"exchange_active":true,"trading_active":true,'
    b'"exchange_index_statuses":[{"exchange_index":1,"exchange_active":true,"trading_active":false}]}'
)
UNKNOWN = b'{"exchange_active":"no"}'
BOOK = {"0.4500": "10.00"}


def status(record: bytes, after_frame: int) -> StreamNote:
    return record_note("/exchange/status", record, after_frame, RECEIVED_US)


def schedule(begin: str, end: str) -> bytes:
    window = {"start_datetime": begin, "end_datetime": end}
    return json.dumps({"schedule": {"standard_hours": [], "maintenance_windows": [window]}}).encode()


def is_proven(*notes: StreamNote) -> bool:
    """Whether a sequence gap in frame 2 that frame 3 ends is proven empty with these notes."""
    texts = (
        snapshot_text("A", 1, yes=BOOK, clock=5),
        delta_text("B", 9, "0.4500", "1.00", clock=3),
        snapshot_text("A", 10, yes=BOOK, clock=5, command_id=9),
    )
    batch = FeedTracker.of_markets(["A", "B"], KEY).process(received(*texts), notes)
    return any(isinstance(fact, ProvenEmptyFact) for fact in batch.facts)


@pytest.mark.parametrize("record", [INACTIVE, SHARD])
@pytest.mark.parametrize("after_frame", [0, 1, 2])
def test_an_inactive_status_leaves_nothing_proven(record: bytes, after_frame: int) -> None:
    """Seen before or during the interruption, on the exchange or one of its indexes."""
    assert not is_proven(status(record, after_frame))


def test_an_active_status_or_one_that_is_not_understood_changes_nothing() -> None:
    """After an inactive one the next interruption can be proven again; the one that was touched can't."""
    assert is_proven(status(ACTIVE, 1), status(UNKNOWN, 2))
    assert is_proven(status(INACTIVE, 0), status(ACTIVE, 1))
    assert not is_proven(status(INACTIVE, 2), status(ACTIVE, 2))


def test_books_of_a_session_that_ends_while_the_exchange_is_inactive_prove_nothing() -> None:
    """Neither those that were exact at the end nor those of markets that had left."""
    tracker = FeedTracker.of_markets(["A"], KEY)
    tracker.process(received(snapshot_text("A", 1, yes=BOOK, clock=5)), [status(INACTIVE, 1)])
    assert tracker.held_books(1, RECEIVED_US) == {"A": None}


@pytest.mark.parametrize(
    ("begin", "end", "is_touched"),
    [
        ("2026-08-11T01:15:15.572Z", "2026-08-11T01:15:15.573Z", True),
        ("2026-08-11T01:00:00Z", "2026-08-11T03:00:00+00:00", True),
        ("2026-08-10T21:00:00-04:00", "2026-08-10T21:15:15.572-04:00", True),
        ("2026-08-11T01:15:16Z", "2026-08-11T03:00:00Z", False),
        ("2026-08-11T01:00:00Z", "2026-08-11T01:15:15Z", False),
    ],
)
def test_announced_windows_count_like_the_weekly_one(begin: str, end: str, *, is_touched: bool) -> None:
    """The interruption lasts from 01:15:15.572 to 15.573."""
    note = record_note("/exchange/schedule", schedule(begin, end), 0, RECEIVED_US)
    assert is_proven(note) is not is_touched


@pytest.mark.parametrize(
    "record",
    [b"{}", b"[]", b'{"schedule":{"maintenance_windows":[{}]}}', schedule("2026-08-11T01:00:00", "soon")],
)
def test_a_schedule_that_is_not_understood_changes_nothing(record: bytes) -> None:
    """The weekly maintenance is known without it."""
    assert is_proven(record_note("/exchange/schedule", record, 0, RECEIVED_US))


def test_windows_are_bounded_and_a_later_schedule_takes_none_back() -> None:
    """Of too many the earliest go."""
    maintenance = Maintenance()
    for hour in range(WINDOWS_MAX + 10):
        begin = f"{2000 + hour // 24:04d}-01-01T{hour % 24:02d}:00:00Z"
        maintenance.note(record_note("/exchange/schedule", schedule(begin, begin), 0, RECEIVED_US))
    assert len(maintenance.windows) == WINDOWS_MAX
    assert maintenance.windows == sorted(maintenance.windows)
