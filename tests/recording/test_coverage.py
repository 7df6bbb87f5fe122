"""rl_market_coverage tells when each market's book is exact, and why it is not."""

import uuid

import pytest

from collector.facts import LastExact, ReceivedFrame, digest_levels
from collector.postgres import open_connection
from collector.recording import rebuild_book
from tests.frames import delta_text, error_text, snapshot_text, subscribed_text, trade_text
from tests.recording.recordings import SECOND_US, START_US, TEXTS, at, execute, verify, write_recording
from tests.service.harness import query

Interval = tuple[int, int | None, bool, str | None]


def coverage(url: str, ticker: str) -> list[Interval]:
    """The intervals of a market, in seconds after the start."""
    rows = query(
        url,
        "SELECT from_us, until_us, is_exact, cause FROM rl_market_coverage"
        f" WHERE market_ticker = '{ticker}' ORDER BY from_us",
    )
    return [
        (_seconds(start), None if end is None else _seconds(end), is_exact, cause)
        for start, end, is_exact, cause in rows
    ]


def _seconds(time_us: int) -> int:
    return (time_us - START_US) // SECOND_US


async def test_a_gap_ends_exactness_until_the_markets_own_snapshot(database_url: str) -> None:
    """A is exact from its snapshots, unknown in the gap; B stays unknown; after the end both are."""
    await write_recording(database_url, at(*TEXTS))

    assert coverage(database_url, "A") == [
        (0, 2, False, "no_snapshot_yet"),
        (2, 8, True, None),
        (8, 9, False, "sequence"),
        (9, 100, True, None),
        (100, None, False, "stopped"),
    ]
    assert coverage(database_url, "B") == [
        (0, 3, False, "no_snapshot_yet"),
        (3, 8, True, None),
        (8, 100, False, "sequence"),
        (100, None, False, "stopped"),
    ]


async def test_sessions_follow_each_other(database_url: str) -> None:
    """Between two sessions the end's reason holds; an active one is told up to its last message."""
    await write_recording(database_url, at(*TEXTS[:3]), ended_us=START_US + 10 * SECOND_US)
    later = START_US + 20 * SECOND_US
    await write_recording(database_url, at(*TEXTS[:4], start_us=later), started_us=later, ended_us=None)

    assert coverage(database_url, "A")[2:] == [
        (10, 20, False, "stopped"),
        (20, 22, False, "no_snapshot_yet"),
        (22, 24, True, None),
    ]


async def test_numbers_decide_at_equal_times(database_url: str) -> None:
    """A snapshot that shows the hole makes its own market exact at once; the other is unknown."""
    texts = (
        subscribed_text("orderbook_delta", 1),
        snapshot_text("A", 1),
        snapshot_text("B", 2),
        snapshot_text("A", 5, command_id=9),
    )
    await write_recording(database_url, at(*texts))

    assert coverage(database_url, "A")[1] == (2, 100, True, None)
    assert coverage(database_url, "B")[1:3] == [(3, 4, True, None), (4, 100, False, "sequence")]


async def test_frames_decide_at_equal_times(database_url: str) -> None:
    """A book that one frame makes exact and a later one unknown was unknown at the time of both."""
    frames = at(snapshot_text("A", 1), delta_text("A", 2, "0.4500", "-1.00"))
    together = [ReceivedFrame(frame.number, frames[0].received_us, frame.text) for frame in frames]
    await write_recording(database_url, together)

    assert coverage(database_url, "A") == [
        (0, 1, False, "no_snapshot_yet"),
        (1, 100, False, "negative_level"),
        (100, None, False, "stopped"),
    ]


async def test_a_gap_of_trades_concerns_no_book(database_url: str) -> None:
    """A hole in the numbers of another channel leaves books exact."""
    numbered = (trade_text("A", 1, sid=2), trade_text("A", 5, sid=2), error_text(10, sid=1, seq=12))
    await write_recording(database_url, at(*TEXTS[:10], subscribed_text("trade", 2), *numbered))

    assert coverage(database_url, "A")[1:5] == [
        (2, 8, True, None),
        (8, 9, False, "sequence"),
        (9, 14, True, None),
        (14, 100, False, "channel_error"),
    ]
    assert coverage(database_url, "B")[2] == (8, 100, False, "sequence")


QUIET = (
    subscribed_text("orderbook_delta", 1),
    snapshot_text("A", 1, yes={"0.4500": "10.00"}),
    snapshot_text("B", 2),
    delta_text("A", 3, "0.4500", "1.00"),
    delta_text("A", 4, "0.4500", "1.00"),
    delta_text("A", 5, "0.4500", "1.00"),
    delta_text("A", 6, "0.4500", "1.00"),
    snapshot_text("A", 7, yes={"0.4500": "14.00"}, command_id=9),
)
"""Three batches, the last of which has a snapshot of A at its end."""


def lose_batch(url: str, number: int) -> None:
    """Take away what a batch has written, as a database does that was restored from a backup."""
    first, last = query(
        url, f"SELECT first_frame, last_frame FROM rl_write_ledger WHERE batch_number = {number}"
    )[0]
    execute(url, f"DELETE FROM rl_write_ledger WHERE batch_number = {number}")
    execute(url, f"DELETE FROM rl_book_states WHERE frame_number BETWEEN {first} AND {last}")
    execute(url, f"DELETE FROM rl_snapshot_rows WHERE frame_number BETWEEN {first} AND {last}")
    received_us = f"{START_US + first * SECOND_US} AND {START_US + last * SECOND_US}"
    execute(url, f"DELETE FROM rl_delta_rows WHERE received_us BETWEEN {received_us}")


async def test_a_hole_in_the_ledger_is_a_hole_until_the_next_snapshot(database_url: str) -> None:
    """Nobody has noted it, and nothing in the numbers of the rows that are left need show it."""
    await write_recording(database_url, at(*QUIET))
    lose_batch(database_url, 2)

    assert coverage(database_url, "A")[1:4] == [
        (2, 3, True, None),
        (3, 8, False, "ledger_hole"),
        (8, 100, True, None),
    ]
    assert coverage(database_url, "B")[1:3] == [(3, 100, False, "ledger_hole"), (100, None, False, "stopped")]


@pytest.mark.parametrize("counted", ["ledger", "ledger and session"])
async def test_a_session_whose_last_batches_are_lost_is_unknown_from_there_on(
    database_url: str, counted: str
) -> None:
    """Also when the database forgot that they were counted: its ending says how many frames there were."""
    await write_recording(database_url, at(*QUIET))
    lose_batch(database_url, 3)
    if counted == "ledger and session":
        execute(database_url, "UPDATE rl_orderbook_sessions SET frames = 6, batches = 2")

    assert coverage(database_url, "A")[1:] == [
        (2, 6, True, None),
        (6, 100, False, "ledger_hole"),
        (100, None, False, "stopped"),
    ]


async def test_a_session_without_its_ledger_is_unknown(database_url: str) -> None:
    """Rows alone prove nothing."""
    await write_recording(database_url, at(*QUIET[:3]))
    execute(database_url, "DELETE FROM rl_write_ledger")

    assert coverage(database_url, "B") == [(0, 100, False, "ledger_hole"), (100, None, False, "stopped")]


async def test_on_the_oldest_postgresql(postgres_15_url: str) -> None:
    """The view gives the same on PostgreSQL 15."""
    await write_recording(postgres_15_url, at(*TEXTS))

    assert coverage(postgres_15_url, "A")[1:3] == [(2, 8, True, None), (8, 9, False, "sequence")]


def last_exact_of_a(session_key: uuid.UUID, last_frame: int, from_us: int) -> LastExact:
    """What a recorder holds of A's book after `QUIET`, if it is exact there."""
    digest = digest_levels({4500: 1400}, {})
    return LastExact("A", session_key, last_frame, from_us, 7, digest)


CLOCKED = tuple(
    text.replace('"0000"', '"0000", "clock": 7') if '"A"' in text and "snapshot" in text else text
    for text in QUIET
)


async def reconnect(url: str, *, clock: int = 7) -> None:
    """A session, 10 s without one, and another one whose first frame is a snapshot of A."""
    later_us = START_US + 40 * SECOND_US
    await write_recording(url, at(*CLOCKED), ended_us=START_US + 30 * SECOND_US)
    key = query(url, "SELECT session_key FROM rl_orderbook_sessions")[0][0]
    again = snapshot_text("A", 1, yes={"0.4500": "14.00"}, clock=clock)
    await write_recording(
        url,
        at(again, start_us=later_us),
        started_us=later_us,
        last_exact=(last_exact_of_a(key, 8, START_US + 30 * SECOND_US),),
    )


async def test_reconnection_in_which_nothing_happened_is_exact(database_url: str) -> None:
    """The time after the end, the time before the snapshot: both, with the reason; and verify agrees."""
    await reconnect(database_url)

    assert coverage(database_url, "A")[1:] == [
        (2, 30, True, None),
        (30, 40, True, "proven_empty"),
        (40, 41, True, "proven_empty"),
        (41, 100, True, None),
        (100, None, False, "stopped"),
    ]
    assert [report.findings for report in await verify(database_url)] == [[], []]
    for seconds in (35, 40.5):
        async with open_connection(database_url) as connection:
            book = await rebuild_book(connection, "A", START_US + int(seconds * SECOND_US))
        assert (book.unknown_cause, book.yes_bids) == (None, {4500: 1400})


async def test_reconnection_in_which_something_happened_is_a_hole(database_url: str) -> None:
    """The clock has moved on: the same levels do not help."""
    await reconnect(database_url, clock=8)

    assert coverage(database_url, "A")[2:4] == [
        (30, 40, False, "stopped"),
        (40, 41, False, "no_snapshot_yet"),
    ]


@pytest.mark.parametrize("batch_number", [2, 3])
async def test_proof_holds_only_while_the_ledger_before_it_is_complete(
    database_url: str, batch_number: int
) -> None:
    """A restored database lacks what the proof relies on."""
    await reconnect(database_url)
    condition = f"session_id = 1 AND batch_number = {batch_number}"
    assert execute(database_url, f"DELETE FROM rl_write_ledger WHERE {condition}") == 1

    between = [cause for start, _, _, cause in coverage(database_url, "A") if 30 <= start < 41]
    assert between == ["stopped", "no_snapshot_yet"]


async def test_gap_in_which_nothing_happened_is_exact(database_url: str) -> None:
    """Numbers are missing, and they were those of other markets."""
    texts = (
        *CLOCKED,
        delta_text("B", 12, "0.4500", "1.00"),
        snapshot_text("A", 13, yes={"0.4500": "14.00"}, clock=7),
    )
    await write_recording(database_url, at(*texts))

    assert coverage(database_url, "A")[1:4] == [
        (2, 9, True, None),
        (9, 10, True, "proven_empty"),
        (10, 100, True, None),
    ]
    assert coverage(database_url, "B")[2] == (9, 100, False, "sequence")
