"""A book at an instant, from rows or from raw frames, and what is said where there is none."""

import pytest
import trio

from collector.recording import parse_instant
from collector.storage import DAY_US
from tests.frames import delta_text, snapshot_text, subscribed_text
from tests.recording.recordings import (
    DAY,
    SECOND_US,
    START_US,
    TEXTS,
    at,
    drop_before,
    execute,
    invoke,
    invoke_json,
    write_recording,
)


def book(url: str, ticker: str, seconds: float) -> dict[str, object]:
    return invoke_json(url, "book", ticker, "--at", str(START_US + int(seconds * SECOND_US)))


EXPECTED = [
    (2, {"4500": 1000}, {"5000": 325}, 1, None),
    (4.5, {"4500": 600}, {"5000": 325}, 3, None),
    (6, {"4600": 200, "4500": 600}, {"5000": 325}, 5, None),
    (8, {"4600": 200}, {"5000": 325}, 9, "sequence"),
    (9.5, {"4600": 200}, {"5000": 325}, 10, None),
    (100, {"4600": 200}, {"5000": 325}, 10, "stopped"),
]


@pytest.mark.parametrize("source", ["rows", "raw"])
def test_book_at_an_instant(database_url: str, source: str) -> None:
    """Rows, and the raw frames where rows are gone, give the same books, numbers and causes."""
    trio.run(write_recording, database_url, at(*TEXTS))
    if source == "raw":
        drop_before(database_url, "rl_delta_rows", "rl_snapshot_rows", day=DAY + 1)

    for seconds, yes_bids, no_bids, number, cause in EXPECTED:
        found = book(database_url, "A", seconds)
        assert (found["yes_bids"], found["no_bids"]) == (yes_bids, no_bids), seconds
        assert (found["sequence_number"], found["unknown_cause"]) == (number, cause), seconds
        assert found["is_exact"] is (cause is None)
        assert (found["source"], found["session_id"]) == (source, 1)


def test_a_session_without_an_end(database_url: str) -> None:
    """Up to its last message; what came behind it nobody can know, and `now` means as of that message."""

    async def write() -> None:
        await write_recording(database_url, at(*TEXTS[:2]), ended_us=None)

    trio.run(write)

    assert book(database_url, "A", 2)["is_exact"] is True
    assert book(database_url, "A", 2.1)["unknown_cause"] == "not_recorded_yet"
    newest = invoke_json(database_url, "book", "A", "--at", "now")
    assert (newest["is_exact"], newest["at_us"]) == (True, START_US + 2 * SECOND_US)
    drop_before(database_url, "rl_delta_rows", "rl_snapshot_rows", day=DAY + 1)
    assert book(database_url, "A", 2)["is_exact"] is True
    assert book(database_url, "A", 2.1)["unknown_cause"] == "not_recorded_yet"
    assert invoke_json(database_url, "book", "A", "--at", "now")["is_exact"] is True


@pytest.mark.parametrize("source", ["rows", "raw"])
def test_overlapping_recorders(database_url: str, source: str) -> None:
    """As a deployment brings them: the one at work is believed, and of two at work the one that is exact."""

    async def write() -> None:
        old = at(subscribed_text("orderbook_delta", 1), snapshot_text("A", 1, yes={"0.4000": "7.00"}))
        await write_recording(
            database_url, old, ended_us=START_US + 20 * SECOND_US, reason="recorder stopped"
        )
        new = at(
            subscribed_text("orderbook_delta", 1),
            snapshot_text("A", 1, yes={"0.4000": "7.00"}),
            delta_text("A", 3, "0.4000", "-2.00"),
            start_us=START_US + 8 * SECOND_US,
        )
        await write_recording(database_url, new, started_us=START_US + 5 * SECOND_US)
        brief = at(subscribed_text("orderbook_delta", 1), start_us=START_US + 30 * SECOND_US)
        started_us, ended_us = START_US + 30 * SECOND_US, START_US + 40 * SECOND_US
        await write_recording(database_url, brief, started_us=started_us, ended_us=ended_us)

    trio.run(write)

    if source == "raw":
        drop_before(database_url, "rl_delta_rows", "rl_snapshot_rows", day=DAY + 1)
    for seconds, session_id, cause in (
        (4, 1, None),
        (7, 1, None),  # the second has begun, without a snapshot yet
        (10.5, 2, None),  # both are exact: the one that began last
        (15, 1, None),  # the second has a gap
        (20, 2, "sequence"),  # the first ends
        (35, 2, "sequence"),  # nobody is exact, and the third has no snapshot yet
        (50, 2, "sequence"),  # the third began last, and has ended
        (200, 2, "stopped"),  # all have ended: the one that ended last
    ):
        found = book(database_url, "A", seconds)
        assert (found["session_id"], found["unknown_cause"]) == (session_id, cause), seconds


def test_a_recorder_that_may_be_dead(database_url: str) -> None:
    """One without an end that has long been silent gives way to what was recorded later."""

    async def write() -> None:
        living = at(
            subscribed_text("orderbook_delta", 1),
            snapshot_text("A", 1, yes={"0.4000": "5.00"}),
            delta_text("A", 3, "0.4000", "-2.00"),
        )
        living += at(snapshot_text("A", 4, command_id=1), first=4, start_us=START_US + 600 * SECOND_US)
        await write_recording(database_url, living, ended_us=None)
        dead = at(
            subscribed_text("orderbook_delta", 1), snapshot_text("A", 1), start_us=START_US + 10 * SECOND_US
        )
        await write_recording(database_url, dead, started_us=START_US + 10 * SECOND_US, ended_us=None)

    trio.run(write)

    for seconds, session_id, cause in (
        (11.5, 1, "sequence"),
        (12, 2, None),
        (50, 2, "not_recorded_yet"),  # it may still be about to write
        (400, 1, "sequence"),  # that long it is not: the other one tells more
        (605, 1, "not_recorded_yet"),
    ):
        found = book(database_url, "A", seconds)
        assert (found["session_id"], found["unknown_cause"]) == (session_id, cause), seconds
    newest = invoke_json(database_url, "book", "A", "--at", "now")
    assert (newest["session_id"], newest["is_exact"]) == (1, True)
    assert newest["at_us"] == START_US + 604 * SECOND_US


def test_what_has_ended_later_comes_before_what_may_be_dead(database_url: str) -> None:
    """A row that nobody could close does not hide what another recorder has recorded since."""

    async def write() -> None:
        await write_recording(database_url, at(*TEXTS[:2]), ended_us=None)
        later = at(*TEXTS[:2], start_us=START_US + 500 * SECOND_US)
        started_us, ended_us = START_US + 500 * SECOND_US, START_US + 700 * SECOND_US
        await write_recording(database_url, later, started_us=started_us, ended_us=ended_us)

    trio.run(write)

    for seconds, session_id, cause in ((600, 2, None), (800, 2, "stopped")):
        found = book(database_url, "A", seconds)
        assert (found["session_id"], found["unknown_cause"]) == (session_id, cause), seconds
    assert invoke_json(database_url, "book", "A", "--at", "now")["unknown_cause"] == "stopped"


@pytest.mark.parametrize("has_gap", [False, True])
def test_a_session_of_which_rows_are_gone_beside_one_of_today(database_url: str, has_gap: bool) -> None:
    """The raw frames of the old one tell more than the new one, which has no exact book yet."""

    async def write() -> None:
        await write_recording(database_url, at(*TEXTS[:2]), ended_us=None)
        started_us = (DAY + 1) * DAY_US
        gap = (snapshot_text("A", 1), delta_text("A", 3, "0.4500", "1.00"))
        new = at(subscribed_text("orderbook_delta", 1), *(gap if has_gap else ()), start_us=started_us)
        await write_recording(database_url, new, started_us=started_us, ended_us=None)
        execute(
            database_url, f"UPDATE rl_orderbook_sessions SET last_message_us = {started_us + 9 * SECOND_US}"
        )

    trio.run(write)
    drop_before(database_url, "rl_delta_rows", "rl_snapshot_rows", day=DAY + 1)

    time = str((DAY + 1) * DAY_US + 5 * SECOND_US)
    found = invoke_json(database_url, "book", "A", "--at", time)
    assert (found["session_id"], found["source"], found["is_exact"]) == (1, "raw", True)


def test_lines_for_the_eye(database_url: str) -> None:
    """The text says plainly whether the book is exact, from what it was made, and its levels in dollars."""
    trio.run(write_recording, database_url, at(*TEXTS))

    exact = invoke(database_url, "book", "A", "--at", str(START_US + 6 * SECOND_US))
    unknown = invoke(database_url, "book", "A", "--at", "now")

    assert "A at 2026-08-11T" in exact.stdout
    assert ": exact" in exact.stdout
    assert "0.4600              2" in exact.stdout
    assert unknown.exit_code == 0
    assert "UNKNOWN (stopped)" in unknown.stdout


def test_what_is_not_there(database_url: str) -> None:
    """One clear line, and exit status 1; a time that is none is a wrong argument, status 2."""
    trio.run(write_recording, database_url, at(*TEXTS))

    for ticker, time, words in (
        ("NOBODY", "now", "there is no market NOBODY"),
        ("A", str(START_US - 1), "nothing is recorded of A before then"),
        ("A", str(START_US + SECOND_US), "no snapshot of A"),
    ):
        result = invoke(database_url, "book", ticker, "--at", time)
        assert result.exit_code == 1
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert invoke(database_url, "book", "A", "--at", "yesterday").exit_code == 2
    assert invoke(database_url, "book", "A", "--at", "2026-08-11T01:15:15").exit_code == 2


def test_neither_rows_nor_raw_frames(database_url: str) -> None:
    """When the raw block is missing too, that is said."""
    trio.run(write_recording, database_url, at(*TEXTS))
    drop_before(database_url, "rl_delta_rows", "rl_snapshot_rows", day=DAY + 1)
    execute(database_url, "DELETE FROM rl_raw_blocks")

    result = invoke(database_url, "book", "A", "--at", "now")

    assert result.exit_code == 1
    assert "raw block of frame 1 is missing" in result.stderr


@pytest.mark.parametrize(
    "text", ["2026-08-11T01:15:15.57Z", "2026-08-11T03:15:15.570+02:00", "1786410915570", "1786410915570000"]
)
def test_ways_to_write_an_instant(text: str) -> None:
    """All of them are the same microsecond."""
    assert parse_instant(text, 1_786_410_915_570_000) == 1_786_410_915_570_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("yesterday", "write it like 2026-01-31T12:00:00Z"),
        ("2026-13-01T00:00:00Z", "write it like 2026-01-31T12:00:00Z"),
        ("2026-08-11T01:15:15", "needs its offset"),
        ("1786410915", "not seconds"),
        ("1786410915571", "is in the future"),
        ("2036-08-11T01:15:15Z", "is in the future"),
        ("9" * 5000, "write it like 2026-01-31T12:00:00Z"),
    ],
)
def test_what_is_no_instant(text: str, words: str) -> None:
    """What to write instead is said."""
    with pytest.raises(ValueError, match=words):
        parse_instant(text, 1_786_410_915_570_000)
