"""Rows and raw frames of a recording with many faults tell the same, each without the other."""

import attrs
import pytest

from collector.postgres import open_connection
from collector.recording import rebuild_book
from collector.recording._rebuild import RebuiltBook
from collector.storage import DAY_US
from tests.recording.recordings import drop_before, verify
from tests.service.harness import flow, query, record

RECORDING = flow(
    markets=4,
    rate_per_s=1000,
    speed=1.0,
    messages_max=1500,
    faults=("drop@200x1", "garble@400x1", "drop@700x1", "duplicate@300x1"),
)


async def books_at(url: str, instants: list[int], tickers: list[str]) -> list[RebuiltBook]:
    async with open_connection(url) as connection:
        return [await rebuild_book(connection, ticker, at_us) for at_us in instants for ticker in tickers]


async def test_books_from_rows_and_from_raw_frames(database_url: str) -> None:
    """At every gap, and at places between, both give the same levels, numbers and causes."""
    simulator = await record(RECORDING, database_url)
    instants = [time for (time,) in query(database_url, "SELECT detected_us FROM rl_orderbook_gaps")]
    instants += [
        time
        for (time,) in query(
            database_url,
            "SELECT received_us FROM (SELECT received_us, row_number() OVER (ORDER BY received_us) AS n"
            " FROM rl_delta_rows) d WHERE n % 150 = 0",
        )
    ]

    from_rows = await books_at(database_url, instants, list(simulator.tickers))
    drop_before(database_url, "rl_delta_rows", "rl_snapshot_rows", day=instants[-1] // DAY_US + 1)
    from_raw = await books_at(database_url, instants, list(simulator.tickers))

    assert {book.source for book in from_raw} == {"raw"}
    assert [attrs.evolve(book, source="rows") for book in from_raw] == from_rows
    assert {book.is_exact for book in from_rows} == {True, False}


@pytest.mark.parametrize("sample_rate", [1, 7])
async def test_rows_prove_themselves(database_url: str, sample_rate: int) -> None:
    """When all raw frames are gone, good rows are found good, thinned ones too."""
    await record(RECORDING, database_url, sample_rate=sample_rate)
    ((last_us,),) = query(database_url, "SELECT max(last_message_us) FROM rl_orderbook_sessions")
    drop_before(database_url, "rl_raw_blocks", day=last_us // DAY_US + 1)

    (report,) = await verify(database_url)

    assert report.findings == []
    assert report.proof == "rows"
