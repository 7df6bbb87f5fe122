"""What is left of a day whose partitions retention has dropped: a summary that keeps the proof."""

from typing import Any

import psycopg
import pytest
import trio

from collector.database import fetch_session_summaries, read_only
from collector.facts import ReceivedFrame
from collector.postgres import open_connection
from collector.recording import ledger_faults
from collector.storage import DAY_US
from tests.maintenance.keeper import keep
from tests.recording.recordings import (
    DAY,
    SECOND_US,
    START_US,
    TEXTS,
    at,
    drop_before,
    execute,
    invoke,
    verify,
    write_recording,
)
from tests.recording.test_retention import MORE

PARTITIONED = ("rl_delta_rows", "rl_trade_rows", "rl_snapshot_rows", "rl_tracker_states", "rl_raw_blocks")
DETAILS = {
    "rl_orderbook_gaps": "detected_us",
    "rl_book_states": "received_us",
    "rl_proven_empty_rows": "received_us",
    "rl_connection_events": "received_us",
    "rl_orderbook_rejects": "received_us",
    "rl_orderbook_audits": "received_us",
    "rl_market_events": "received_us",
}
NEXT_US = START_US + DAY_US
FRAMES = "SELECT sum(deltas + snapshots + trades + controls + stales + rejects) FROM rl_write_ledger"
RANGES = "SELECT COALESCE(first_batch, batch_number), batch_number FROM rl_write_ledger ORDER BY batch_number"
LEDGER_2 = "SELECT * FROM rl_write_ledger WHERE session_id = 2 ORDER BY batch_number"


def frames() -> list[ReceivedFrame]:
    """A session of two days, with everything that can be summarised on the first one."""
    return [*at(*TEXTS), *at(*MORE, first=len(TEXTS) + 1, start_us=NEXT_US)]


def fetch(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


async def summarise(url: str, days: int = 1) -> None:
    """Drop the partitions of the first days, and let maintenance do its rounds."""
    drop_before(url, *PARTITIONED, day=DAY + days)
    for _ in range(days):
        await keep(url)


async def assert_closes(url: str) -> None:
    """`verify` has no finding, and neither has the check that health makes."""
    for report in await verify(url):
        assert (report.findings, report.proof) == ([], "rows")
    async with open_connection(url) as connection, read_only(connection):
        for summary in await fetch_session_summaries(connection, 10):
            assert ledger_faults(summary) == []
    result = await trio.to_thread.run_sync(invoke, url, "verify")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("batch_frames", [1, 3, len(TEXTS)])
async def test_the_first_day_of_a_session(each_database_url: str, batch_frames: int) -> None:
    """One row of the ledger is left of it, the hashes continue, and the second day is as it was."""
    url = each_database_url
    await write_recording(url, frames(), ended_us=START_US + 2 * DAY_US, batch_frames=batch_frames)
    whole = fetch(url, FRAMES)
    last = fetch(url, "SELECT hash FROM rl_write_ledger ORDER BY batch_number DESC LIMIT 1")
    coverage = f"SELECT * FROM rl_book_spans WHERE from_us >= {NEXT_US} ORDER BY 1, 2, 3"
    covered = fetch(url, coverage)
    await summarise(url)

    rows = fetch(
        url,
        "SELECT COALESCE(first_batch, batch_number), batch_number, first_frame, last_frame"
        f" FROM rl_write_ledger WHERE last_received_us < {NEXT_US} ORDER BY 2",
    )
    batches = len(TEXTS) // batch_frames
    assert rows == [(1, batches, 1, batches * batch_frames)]
    assert fetch(url, FRAMES) == whole
    assert fetch(url, "SELECT hash FROM rl_write_ledger ORDER BY batch_number DESC LIMIT 1") == last
    assert fetch(url, "SELECT * FROM rl_ledger_holes") == []
    assert fetch(url, coverage) == covered
    # With batches of three, a block that begins on the first day has frames of the second.
    if batch_frames != 3:
        book = await trio.to_thread.run_sync(invoke, url, "book", "B", "--at", str(NEXT_US + 20 * SECOND_US))
        assert book.exit_code == 0, book.output
    left = {
        table: fetch(url, f"SELECT count(*) FROM {table} WHERE {time} < {NEXT_US}")
        for table, time in DETAILS.items()
    }
    assert left == {table: [(2,)] if table == "rl_book_states" else [(0,)] for table in DETAILS}, "of A and B"
    dropped = dict(fetch(url, "SELECT key, value::integer FROM rl_day_summaries, json_each_text(deleted)"))
    assert dropped == {
        "rl_write_ledger": batches - 1,
        "rl_orderbook_gaps": 1,
        "rl_book_states": dropped["rl_book_states"],
        "rl_proven_empty_rows": 0,
        "rl_connection_events": 0,
        "rl_orderbook_rejects": 1,
        "rl_orderbook_audits": 1,
        "rl_market_events": 1,
    }
    assert dropped["rl_book_states"] > 0
    await assert_closes(url)


async def test_a_session_that_is_over(database_url: str) -> None:
    """Its dictionaries and the states of its books go too; a session that begins later is as it was."""
    await write_recording(database_url, at(*TEXTS), batch_frames=2)
    await write_recording(
        database_url, at(*TEXTS, start_us=NEXT_US), started_us=NEXT_US, ended_us=NEXT_US + 100 * SECOND_US
    )
    execute(database_url, "INSERT INTO rl_raw_lexicons VALUES (1, 9, 'x'), (2, 9, 'x')")
    later = fetch(database_url, LEDGER_2)
    await summarise(database_url)
    assert fetch(database_url, "SELECT DISTINCT session_id FROM rl_book_states") == [(2,)]
    assert fetch(database_url, "SELECT DISTINCT session_id FROM rl_raw_lexicons") == [(2,)]
    assert fetch(database_url, LEDGER_2) == later
    first, second = await verify(database_url)
    assert (first.findings, first.proof, second.findings, second.proof) == ([], "rows", [], "raw")


async def test_a_hole_stays_a_hole(database_url: str) -> None:
    """Batches on both sides of a hole in the ledger are summarised apart."""
    await write_recording(database_url, frames(), ended_us=START_US + 2 * DAY_US, batch_frames=2)
    execute(database_url, "DELETE FROM rl_write_ledger WHERE batch_number = 3")
    holes = fetch(database_url, "SELECT * FROM rl_ledger_holes")
    assert len(holes) == 1
    await summarise(database_url)
    assert fetch(database_url, "SELECT * FROM rl_ledger_holes") == holes
    assert fetch(database_url, RANGES)[:2] == [(1, 2), (4, 6)]
    (report,) = await verify(database_url)
    assert any("batch 3 is missing" in finding for finding in report.findings)


async def test_days_are_summarised_one_by_one(database_url: str) -> None:
    """And nothing before all of a day's partitions are dropped."""
    await write_recording(database_url, frames(), ended_us=START_US + 2 * DAY_US, batch_frames=1)
    drop_before(database_url, *PARTITIONED[1:], day=DAY + 1)
    await keep(database_url)
    assert fetch(database_url, "SELECT count(*) FROM rl_write_ledger") == [(len(TEXTS) + len(MORE),)]
    await summarise(database_url)
    assert fetch(database_url, "SELECT count(*) FROM rl_write_ledger") == [(1 + len(MORE),)]
    await summarise(database_url, days=2)
    assert fetch(database_url, RANGES) == [(1, len(TEXTS)), (len(TEXTS) + 1, len(TEXTS) + len(MORE))]
    await assert_closes(database_url)
