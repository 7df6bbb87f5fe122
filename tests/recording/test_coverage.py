"""rl_market_coverage tells when each market's book is exact, and why it is not."""

from tests.frames import delta_text, snapshot_text, subscribed_text
from tests.recording.recordings import SECOND_US, START_US, TEXTS, at, execute, write_recording
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


async def test_a_level_below_zero_comes_after_the_snapshot_of_the_same_time(database_url: str) -> None:
    """At one and the same time, a gap behind the snapshot's number makes the book unknown."""
    texts = (snapshot_text("A", 1), delta_text("A", 2, "0.4500", "-1.00"))
    frames = at(*texts)
    await write_recording(database_url, frames)
    execute(database_url, f"UPDATE rl_orderbook_gaps SET detected_us = {frames[0].received_us}")

    assert coverage(database_url, "A") == [
        (0, 1, False, "no_snapshot_yet"),
        (1, 100, False, "negative_level"),
        (100, None, False, "stopped"),
    ]


async def test_a_gap_of_trades_concerns_no_book(database_url: str) -> None:
    """A hole in the numbers of another channel leaves books exact; an unknown one keeps its first cause."""
    await write_recording(database_url, at(*TEXTS))
    execute(
        database_url,
        "INSERT INTO rl_orderbook_gaps (session_id, sid, expected, received, detected_us, frame_number,"
        f" cause, channel) VALUES (1, 2, 1, 5, {START_US + 4 * SECOND_US}, 4, 'sequence', 'trade'),"
        f" (1, 1, 20, null, {START_US + 50 * SECOND_US}, 12, 'channel_error', 'orderbook_delta')",
    )

    assert coverage(database_url, "A")[1:5] == [
        (2, 8, True, None),
        (8, 9, False, "sequence"),
        (9, 50, True, None),
        (50, 100, False, "channel_error"),
    ]
    assert coverage(database_url, "B")[2] == (8, 100, False, "sequence")


async def test_on_the_oldest_postgresql(postgres_15_url: str) -> None:
    """The view gives the same on PostgreSQL 15."""
    await write_recording(postgres_15_url, at(*TEXTS))

    assert coverage(postgres_15_url, "A")[1:3] == [(2, 8, True, None), (8, 9, False, "sequence")]
