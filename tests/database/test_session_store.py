"""A session whose batches come from more than one process."""

from functools import partial

from collector.database import PostgresSession, apply_schema
from collector.facts import FrameCounts, ReceivedFrame
from collector.postgres import open_connection
from collector.storage import Batch
from tests.frames import RECEIVED_US, delta_text
from tests.service.harness import raw_frames
from tests.twins import OPENING


def batch(number: int, *tickers: str) -> Batch:
    """Two hundred frames about some markets."""
    first = 1 + (number - 1) * 200
    frames = [
        # Without spaces, as the exchange writes it.
        ReceivedFrame(n, RECEIVED_US + n, delta_text(ticker, n, "0.5000", "1.00").replace(" ", ""))
        for n in range(first, first + 200)
        for ticker in [tickers[n % len(tickers)]]
    ]
    return Batch(number, frames, (), FrameCounts(deltas=200), first + 200, formed_us=0)


async def test_frames_stay_verbatim_across_processes(database_url: str) -> None:
    """What a dead process wrote and what the next one brings in after it are both read back as they were."""
    async with open_connection(database_url) as connection:
        await apply_schema(connection)
    written = [
        batch(1, "KXFIRSTMARKET-26DEC31-T1", "KXSECONDMARKET-26DEC31-T2"),
        batch(2, "KXTHIRDMARKET-26DEC31-T3"),
        batch(3, "KXTHIRDMARKET-26DEC31-T3"),
    ]
    open_store = partial(PostgresSession, OPENING, partial(open_connection, database_url))
    async with open_store().connect() as first:
        await first.begin()
        await first.write(written[0])
    # One that finds only what follows, and one that finds a batch again whose commit nobody heard of.
    for found in (written[1:2], written[1:]):
        async with open_store().connect() as link:
            await link.begin()
            for again in found:
                await link.write(again)
    assert list(raw_frames(database_url).values()) == [
        [frame.text for one in written for frame in one.frames]
    ]
