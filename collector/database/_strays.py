"""Rows that belong to nothing: their session or their market is not in the database."""

from typing import Final

from attrs import frozen

from collector.database._transactions import read_only
from collector.postgres import TrioConnection
from collector.storage import KINDS, RAW_BLOCK

_TABLES: Final = {
    **{kind.table: kind.market_index is not None for kind in (*KINDS, RAW_BLOCK)},
    "rl_write_ledger": False,
    "rl_raw_lexicons": False,
}
"""Tables with rows of sessions, and whether their rows name a market by number."""


@frozen
class Strays:
    """How many rows of one table name a session, or a market, that is not there."""

    table: str
    without_session: int
    without_market: int


async def fetch_strays(connection: TrioConnection) -> list[Strays]:
    """
    Count them in each table that has any. Each table is read in a transaction of its own.

    Raises StoreUnavailable and StoreRejected.
    """
    found: list[Strays] = []
    for table, names_markets in _TABLES.items():
        market = ("rl_markets m USING (market_id)", "m.market_id") if names_markets else None
        join = f" LEFT JOIN {market[0]}" if market else ""
        without_market = f"count(*) FILTER (WHERE {market[1]} IS NULL)" if market else "0"
        async with read_only(connection):
            cursor = await connection.execute(
                f"SELECT count(*) FILTER (WHERE s.session_id IS NULL), {without_market} FROM {table} t"
                f" LEFT JOIN rl_orderbook_sessions s USING (session_id){join}".encode()
            )
            row = await cursor.fetchone()
        assert row is not None
        if any(row):
            found.append(Strays(table, *row))
    return found
