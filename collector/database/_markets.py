"""Markets: their numbers, and their REST records."""

from collections.abc import Sequence

from collector.database._transactions import in_transaction
from collector.postgres import TrioConnection


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


async def store_market_record(connection: TrioConnection, ticker: str, record: str, fetched_us: int) -> None:
    """Replace the REST record of a market, JSON text. Raises StoreRejected where PostgreSQL can't hold it."""
    async with in_transaction(connection):
        await connection.execute(
            "INSERT INTO rl_markets (market_ticker, record, fetched_us) VALUES (%s, %s::jsonb, %s)"
            " ON CONFLICT (market_ticker) DO UPDATE"
            " SET record = EXCLUDED.record, fetched_us = EXCLUDED.fetched_us",
            (ticker, record, fetched_us),
        )
