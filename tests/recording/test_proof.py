"""What the chain proves: to somebody who kept a hash, and to somebody who has a dump and nothing else."""

import json
import subprocess
import uuid
from collections.abc import Callable

import pytest
import trio

from collector.facts import ReceivedFrame
from collector.storage import DAY_US
from tests.clusters import programs_18
from tests.frames import delta_text, snapshot_text, subscribed_text
from tests.recording.recordings import (
    DAY,
    SECOND_US,
    START_US,
    TEXTS,
    at,
    execute,
    invoke,
    verify,
    verify_all,
    write_recording,
)
from tests.service.harness import query

STEP_US = 600 * SECOND_US


async def write_sessions(url: str, count: int, *, first: int = 1) -> None:
    """Sessions that follow each other."""
    for number in range(first, first + count):
        start_us = START_US + number * 200 * SECOND_US
        await write_recording(
            url,
            at(*TEXTS, start_us=start_us),
            started_us=start_us,
            ended_us=start_us + 100 * SECOND_US,
            key=uuid.UUID(int=number),
        )


def remove_sessions(url: str, condition: str) -> None:
    """Remove all rows of sessions, their own row last."""
    tables = query(
        url,
        "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE a.attname = 'session_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " AND c.relnamespace = 'public'::regnamespace ORDER BY c.relname = 'rl_orderbook_sessions'",
    )
    execute(url, *(f"DELETE FROM {table} WHERE {condition}" for (table,) in tables))


async def test_a_hash_that_was_kept_proves_what_led_to_it(database_url: str) -> None:
    """Later sessions change nothing about that; without the entries that led to it, it is not found."""
    await write_sessions(database_url, 2)
    kept = (await verify_all(database_url)).head
    await write_sessions(database_url, 1, first=3)

    assert (await verify_all(database_url, kept)).findings == []
    found = await trio.to_thread.run_sync(invoke, database_url, "verify", "--expect", kept.upper())
    assert found.exit_code == 0

    remove_sessions(database_url, "session_id > 1")
    execute(
        database_url,
        "DELETE FROM rl_chain WHERE entry_number > 2",
        "UPDATE rl_database SET newest_entry = 2",
    )
    assert (await verify_all(database_url)).findings == [], "nothing else refers to what was removed"
    assert (await verify_all(database_url, kept)).findings == [f"no entry has the hash {kept}"]
    found = await trio.to_thread.run_sync(invoke, database_url, "verify", "--expect", kept)
    assert found.exit_code == 1
    assert "expected_hash" in found.output


@pytest.mark.parametrize("value", ["abc", "0" * 63, "g" * 64, ""])
def test_what_is_no_hash_is_refused(database_url: str, value: str) -> None:
    """With what it must be."""
    refused = invoke(database_url, "verify", "--expect", value)
    assert refused.exit_code == 2
    assert "64 hexadecimal digits" in refused.output


def test_a_stranger_with_a_dump_comes_to_the_same_result(make_database: Callable[[], str]) -> None:
    """The dump is restored into an empty database, and nothing else is needed."""
    url, copy_url = make_database(), make_database()
    trio.run(write_sessions, url, 2)
    execute(url, "UPDATE rl_delta_rows SET delta_e2 = delta_e2 + 1 WHERE sequence_number = 3")
    dump = [str(programs_18() / "pg_dump"), "--no-owner", f"--dbname={url}"]
    text = subprocess.run(dump, check=True, capture_output=True).stdout
    restore = [str(programs_18() / "psql"), "-q", "-v", "ON_ERROR_STOP=1", copy_url]
    subprocess.run(restore, input=text, check=True, capture_output=True)

    ours = invoke(url, "verify", "--json")
    theirs = invoke(copy_url, "verify", "--json")

    assert ours.exit_code == theirs.exit_code == 1
    assert list(map(json.loads, ours.stdout.splitlines())) == list(
        map(json.loads, theirs.stdout.splitlines())
    )


REMOVED_TAIL = (
    "DELETE FROM rl_raw_blocks WHERE batch_number > 1",
    "DELETE FROM rl_delta_rows WHERE received_us > {0}",
    "DELETE FROM rl_snapshot_rows WHERE received_us > {0}",
    "DELETE FROM rl_book_states WHERE received_us > {0}",
    "DELETE FROM rl_orderbook_gaps",
    "DELETE FROM rl_orderbook_audits",
    "DELETE FROM rl_orderbook_rejects",
    "DELETE FROM rl_market_events",
    "DELETE FROM rl_write_ledger WHERE batch_number > 1",
    "UPDATE rl_orderbook_sessions SET (batches, frames, snapshots, deltas, trades, controls, stales,"
    " rejects, gaps, last_message_us, last_frame) = (SELECT 1, last_frame, snapshots, deltas, trades,"
    " controls, stales, rejects, gap_rows, last_received_us, last_frame FROM rl_write_ledger)",
)


async def test_a_tail_that_was_removed_with_its_counts(database_url: str) -> None:
    """Everything fits, but for the ending, which has the hash of the last batch."""
    await write_recording(database_url, at(*TEXTS))
    execute(database_url, *(text.format(START_US + 3 * SECOND_US) for text in REMOVED_TAIL))
    (report,) = await verify(database_url)
    assert {finding.kind for finding in report.found.found} == {"ending", "ledger"}


async def test_two_sessions_whose_times_are_swapped(database_url: str) -> None:
    """Their openings and endings say otherwise."""
    await write_sessions(database_url, 2)
    execute(
        database_url,
        "UPDATE rl_orderbook_sessions a SET started_us = b.started_us, ended_us = b.ended_us"
        " FROM rl_orderbook_sessions b WHERE a.session_id <> b.session_id",
    )
    for report in await verify(database_url):
        assert {finding.kind for finding in report.found.found} == {"opening", "ending"}


async def test_a_session_that_was_deleted(database_url: str) -> None:
    """The chain names it."""
    await write_sessions(database_url, 2)
    remove_sessions(database_url, "session_id = 1")
    assert (await verify_all(database_url)).findings == [
        f"session {uuid.UUID(int=1)} is in the chain, and not in the database"
    ]


async def test_a_partition_that_was_dropped_by_hand(database_url: str) -> None:
    """The day is named, and what it means."""
    await write_recording(database_url, at(*TEXTS))
    name = query(database_url, f"SELECT to_char(date '1970-01-01' + {DAY}, 'YYYYMMDD')")[0][0]
    execute(database_url, f"DROP TABLE rl_delta_rows_{name}")
    found = (await verify_all(database_url)).found.found
    assert [(each.kind, each.from_us, each.until_us) for each in found] == [
        ("partition", DAY * DAY_US, (DAY + 1) * DAY_US)
    ]


def three_hours() -> list[ReceivedFrame]:
    """A snapshot, and a delta every ten minutes for three hours."""
    texts = [subscribed_text("orderbook_delta", 1), snapshot_text("A", 1, yes={"0.4500": "10.00"})]
    texts += [delta_text("A", seq, "0.4500", "1.00") for seq in range(2, 20)]
    return at(*texts, step_us=STEP_US)


async def test_a_damaged_block_hides_nothing_else(database_url: str) -> None:
    """A changed row of another hour and two that are missing beside the damaged block are found with it."""
    frames = three_hours()
    await write_recording(
        database_url, frames, tickers=("A",), ended_us=START_US + 21 * STEP_US, batch_frames=2
    )
    states = query(database_url, "SELECT frame_number FROM rl_tracker_states ORDER BY 1")
    assert len(states) >= 2
    execute(database_url, "UPDATE rl_raw_blocks SET payload = '\\x00' WHERE first_frame = 3")
    execute(database_url, "DELETE FROM rl_delta_rows WHERE sequence_number IN (2, 3)")
    execute(database_url, "UPDATE rl_delta_rows SET timestamp_ms = 5 WHERE sequence_number = 17")

    (report,) = await verify(database_url)

    kinds = [finding.kind.value for finding in report.found.found]
    assert kinds.count("block") == 1
    assert "delta rows: 16 where the ledger counts 18" in report.findings
    changed_us = frames[17].received_us
    assert any(
        finding.kind == "rows" and (finding.from_us or 0) <= changed_us < (finding.until_us or 0)
        for finding in report.found.found
    ), report.findings


async def test_a_session_whose_recorder_is_gone(database_url: str) -> None:
    """Nobody has ended it: that is no good recording, and the report says what to do."""
    await write_recording(database_url, at(*TEXTS), ended_us=None)
    result = await trio.to_thread.run_sync(invoke, database_url, "verify")
    assert result.exit_code == 1
    assert "no recorder holds the lock of its own" in result.output
    assert "start the recorder with the spool folder of that recorder" in result.output
