"""Markets: their numbers, and their REST records."""

from collections.abc import Iterable, Sequence

from collector.database._transactions import in_transaction
from collector.facts import StreamNote
from collector.postgres import TrioConnection
from collector.storage import newest_records


async def fetch_market_ids(connection: TrioConnection, tickers: Sequence[str]) -> dict[str, int]:
    """The numbers of markets; new ones get one."""
    async with in_transaction(connection):
        await connection.execute(
            "INSERT INTO rl_markets (market_ticker) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
            (tickers,),
        )
        cursor = await connection.execute(
            "SELECT market_ticker, market_id FROM rl_markets WHERE market_ticker = ANY(%s)", (tickers,)
        )
        return dict(await cursor.fetchall())


async def fetch_records(connection: TrioConnection) -> list[tuple[str, str | None, int | None]]:
    """Ticker and record of all markets, and when the record was noted. Of those that have either."""
    cursor = await connection.execute(
        "SELECT market_ticker, record::text, noted_us FROM rl_markets"
        " WHERE record IS NOT NULL OR noted_us IS NOT NULL ORDER BY market_ticker"
    )
    return await cursor.fetchall()


async def store_noted_records(connection: TrioConnection, notes: Iterable[StreamNote]) -> None:
    """Put the records of markets among the notes of a batch beside their markets, if they are the newest."""
    newest = newest_records(notes)
    if not newest:
        return
    # In one order, so that two recorders that store records of the same markets wait for each other in turn.
    records = [newest[ticker] for ticker in sorted(newest)]
    await connection.execute(
        "INSERT INTO rl_markets AS m (market_ticker, record, noted_us)"
        " SELECT n.ticker, n.record::json, n.noted_us"
        " FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS n (ticker, record, noted_us)"
        " ON CONFLICT (market_ticker) DO UPDATE SET record = EXCLUDED.record, noted_us = EXCLUDED.noted_us"
        " WHERE m.noted_us IS NULL OR m.noted_us <= EXCLUDED.noted_us",
        (
            [record.ticker for record in records],
            [record.record for record in records],
            [record.noted_us for record in records],
        ),
    )
