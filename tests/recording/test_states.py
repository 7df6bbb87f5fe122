"""A session's stored states: where reading begins, and what is checked of them."""

import pytest
import trio

from collector.facts import ReceivedFrame
from tests.frames import delta_text, snapshot_text, subscribed_text
from tests.recording.recordings import (
    DAY,
    SECOND_US,
    START_US,
    at,
    drop_before,
    execute,
    invoke,
    invoke_json,
    verify,
    write_recording,
)
from tests.service.harness import query

STEP_US = 1200 * SECOND_US


def hours_of_frames() -> list[ReceivedFrame]:
    """A snapshot, and then a delta every twenty minutes for four hours."""
    texts = [subscribed_text("orderbook_delta", 1), snapshot_text("A", 1, yes={"0.4500": "10.00"})]
    texts += [delta_text("A", seq, "0.4500", "1.00") for seq in range(2, 13)]
    return at(*texts, step_us=STEP_US)


@pytest.fixture
def url(database_url: str) -> str:
    """A recording of four hours whose rows retention has dropped."""

    async def write() -> None:
        await write_recording(
            database_url, hours_of_frames(), tickers=("A",), ended_us=START_US + 14 * STEP_US
        )

    trio.run(write)
    assert trio.run(verify, database_url)[0].findings == []
    drop_before(database_url, "rl_delta_rows", "rl_snapshot_rows", day=DAY + 1)
    return database_url


def size_at(url: str, number: int) -> int:
    at_us = START_US + number * STEP_US
    found = invoke_json(url, "book", "A", "--at", str(at_us))
    assert (found["source"], found["as_of_us"], found["is_exact"]) == ("raw", at_us, True)
    return int(found["yes_bids"]["4500"])


def test_reading_begins_with_the_newest_state(url: str) -> None:
    """A book of the third hour needs no raw block from before that hour's state."""
    states = query(url, "SELECT frame_number FROM rl_tracker_states ORDER BY 1")
    assert len(states) == 4
    assert [size_at(url, number) for number in (2, 8, 13)] == [1000, 1600, 2100]
    assert execute(url, f"DELETE FROM rl_raw_blocks WHERE last_frame < {states[2][0]}") > 0

    assert [size_at(url, number) for number in (9, 13)] == [1700, 2100]


def test_a_state_is_compared_with_the_frames(url: str) -> None:
    """Another state, or none, is a finding; `rederive` puts the right one there."""
    change = "UPDATE rl_tracker_states SET state = overlay(state PLACING '\\x63' FROM 2 FOR 1)"
    for statement in (change, "DELETE FROM rl_tracker_states"):
        execute(url, statement)
        (report,) = trio.run(verify, url)
        assert any("tracker_state rows" in finding for finding in report.findings), report.findings
        if statement is change:
            refused = invoke(url, "book", "A", "--at", str(START_US + 13 * STEP_US))
            assert (refused.exit_code, "collector rederive" in refused.stderr) == (1, True)
        assert invoke(url, "rederive").exit_code == 0
        assert trio.run(verify, url)[0].findings == []
