"""A recording is still proved, as far as it can be, after retention has dropped a part of it."""

import pytest

from collector.storage import DAY_US
from tests.frames import delta_text
from tests.recording.recordings import (
    DAY,
    SECOND_US,
    START_US,
    TEXTS,
    at,
    drop_before,
    execute,
    verify,
    write_recording,
)

MORE = (delta_text("A", 12, "0.4600", "1.00"), delta_text("B", 13, "0.9900", "-1.00", side="no"))


async def write_two_days(url: str) -> None:
    """The last two frames come the next day; the first of them lead to a checkpoint of A."""
    frames = [*at(*TEXTS), *at(*MORE, first=len(TEXTS) + 1, start_us=START_US + DAY_US)]
    # A block lies in the partition of its first frame: the days must not share one.
    await write_recording(url, frames, ended_us=START_US + 2 * DAY_US, batch_frames=len(TEXTS))


async def test_all_raw_frames_dropped(database_url: str) -> None:
    """The rows are checked among themselves, and the report says so."""
    await write_two_days(database_url)
    assert (await verify(database_url))[0].proof == "raw"
    drop_before(database_url, "rl_raw_blocks", day=DAY + 2)

    (report,) = await verify(database_url)

    assert report.findings == []
    assert report.proof == "rows"
    assert any("were checked alone" in note for note in report.notes)
    assert report.gaps == 1


async def test_the_first_raw_frames_dropped(database_url: str) -> None:
    """What is left of the raw blocks is checked for itself: a damaged one is found."""
    await write_two_days(database_url)
    drop_before(database_url, "rl_raw_blocks", day=DAY + 1)

    (report,) = await verify(database_url)
    assert (report.findings, report.proof) == ([], "rows")

    execute(database_url, "UPDATE rl_raw_blocks SET payload = '\\x00'")
    (report,) = await verify(database_url)
    assert any("another hash" in finding for finding in report.findings)


SPOILS = {
    "a lost row": ("DELETE FROM rl_delta_rows WHERE sequence_number = 3", "delta rows: 6 where"),
    "a lost audit": ("DELETE FROM rl_orderbook_audits", "audit rows: 0 where"),
    "an old size": (
        "UPDATE rl_delta_rows SET old_size_e2 = 1 WHERE sequence_number = 3",
        "A at number 3: old size 1, but the rows before give 1000",
    ),
    "a change": (
        "UPDATE rl_delta_rows SET delta_e2 = 1 WHERE sequence_number = 3",
        "requested snapshot is not",
    ),
    "a checkpoint": (
        "UPDATE rl_snapshot_rows SET yes_bids = '{}', no_bids = '{}', digest = sha256(E'yes\\nno')"
        " WHERE origin = 'checkpoint'",
        "checkpoint snapshot is not",
    ),
    "a digest": ("UPDATE rl_snapshot_rows SET digest = sha256('') WHERE sequence_number = 6", "the digest"),
    "a level": (
        """UPDATE rl_snapshot_rows SET yes_bids = '{"4500": -5}' WHERE sequence_number = 1""",
        "not above zero",
    ),
    "a negative level": (
        "UPDATE rl_delta_rows SET delta_e2 = -5000 WHERE sequence_number = 3",
        "goes to -4000 without a gap",
    ),
    "a ledger row": ("DELETE FROM rl_write_ledger WHERE batch_number = 1", "batch 1 is missing"),
    "the session's count": ("UPDATE rl_orderbook_sessions SET deltas = 1", "session's counts"),
}


@pytest.mark.parametrize("name", SPOILS)
async def test_spoiled_rows_are_found_without_raw_frames(database_url: str, name: str) -> None:
    """One change at a time to a row, the ledger or a count."""
    statement, words = SPOILS[name]
    await write_two_days(database_url)
    drop_before(database_url, "rl_raw_blocks", day=DAY + 2)
    assert execute(database_url, statement) > 0

    (report,) = await verify(database_url)

    assert any(words in finding for finding in report.findings), report.findings


async def test_a_recorded_negative_level_is_no_fault(database_url: str) -> None:
    """A gap that says so excuses what the exchange did."""
    texts = (*TEXTS[:4], delta_text("A", 5, "0.4500", "-9.00"))
    await write_recording(database_url, at(*texts), ended_us=START_US + DAY_US)
    drop_before(database_url, "rl_raw_blocks", day=DAY + 1)

    (report,) = await verify(database_url)

    assert report.findings == []
    assert report.gaps == 1


async def test_a_block_that_is_missing_in_the_middle(database_url: str) -> None:
    """Only the beginning can be gone by retention: a hole behind a block that is there is a finding."""
    await write_recording(database_url, at(*TEXTS))
    execute(database_url, "DELETE FROM rl_raw_blocks WHERE first_frame = 4")

    (report,) = await verify(database_url)

    assert any("frame 4 is missing" in finding for finding in report.findings)


async def test_a_first_block_that_is_missing_on_a_day_that_is_kept(database_url: str) -> None:
    """While the day's partition exists, a missing block is a finding, also at the beginning."""
    await write_recording(database_url, at(*TEXTS))
    execute(database_url, "DELETE FROM rl_raw_blocks WHERE first_frame = 1")

    (report,) = await verify(database_url)

    assert any("frame 1 is missing" in finding for finding in report.findings)


async def test_rows_dropped_and_raw_frames_kept(database_url: str) -> None:
    """The days that rows are kept of are compared with the raw frames, the others are told."""
    await write_two_days(database_url)
    drop_before(database_url, "rl_delta_rows", "rl_snapshot_rows", "rl_trade_rows", day=DAY + 1)

    (report,) = await verify(database_url)
    assert (report.findings, report.proof) == ([], "raw")
    assert any("delta rows of some days were not compared" in note for note in report.notes)

    execute(database_url, f"DELETE FROM rl_delta_rows WHERE received_us > {START_US + DAY_US + SECOND_US}")
    (report,) = await verify(database_url)
    assert any("delta rows" in finding for finding in report.findings)


async def test_first_days_of_both_dropped(database_url: str) -> None:
    """What is left is checked from each market's first snapshot on."""
    await write_two_days(database_url)
    drop_before(database_url, "rl_raw_blocks", "rl_delta_rows", "rl_snapshot_rows", day=DAY + 1)

    (report,) = await verify(database_url)
    assert (report.findings, report.proof) == ([], "rows")

    execute(database_url, "UPDATE rl_delta_rows SET old_size_e2 = 7 WHERE sequence_number = 12")
    (report,) = await verify(database_url)
    assert any("old size 7" in finding for finding in report.findings)


async def test_a_ledger_row_that_is_missing(database_url: str) -> None:
    """A batch that was left out of the ledger is named."""
    await write_recording(database_url, at(*TEXTS))
    execute(database_url, "DELETE FROM rl_write_ledger WHERE batch_number = 2")

    (report,) = await verify(database_url)

    assert any("batch 2 is missing" in finding for finding in report.findings)


async def test_a_recorder_that_died_has_not_written_its_sums(database_url: str) -> None:
    """With thinned rows, what was still being summed is no fault while there was no orderly end."""
    await write_recording(database_url, at(*TEXTS), sample_rate=4, ended_us=None)

    (report,) = await verify(database_url)
    assert [finding.kind for finding in report.found.found] == ["recorder_gone"]

    execute(database_url, "UPDATE rl_orderbook_sessions SET status = 'closed', ended_us = started_us + 1")
    assert not (await verify(database_url))[0].is_good
