"""Rows that belong to nothing: no session, no market, no batch, no block."""

from typing import Final

from attrs import frozen

from collector.database._transactions import read_only
from collector.postgres import TrioConnection
from collector.storage import KINDS, RAW_BLOCK

_WITHOUT_SESSION: Final = "NOT EXISTS (SELECT FROM rl_orderbook_sessions s WHERE s.session_id = t.session_id)"
_WITHOUT_MARKET: Final = "NOT EXISTS (SELECT FROM rl_markets m WHERE m.market_id = t.market_id)"
_QUESTIONS: Final = (
    *(
        (table, "rows of sessions that do not exist", _WITHOUT_SESSION)
        for table in (*(kind.table for kind in (*KINDS, RAW_BLOCK)), "rl_write_ledger", "rl_raw_lexicons")
    ),
    *(
        (kind.table, "rows of markets that do not exist", _WITHOUT_MARKET)
        for kind in KINDS
        if kind.market_index is not None
    ),
    (
        RAW_BLOCK.table,
        "blocks that no row of the ledger names",
        "NOT EXISTS (SELECT FROM rl_write_ledger l WHERE l.session_id = t.session_id"
        " AND l.batch_number = t.batch_number AND l.first_batch IS NULL AND l.block_hash <> '')",
    ),
    (
        RAW_BLOCK.table,
        "blocks beside another one of their batch",
        "EXISTS (SELECT FROM rl_raw_blocks o WHERE o.session_id = t.session_id"
        " AND o.batch_number = t.batch_number AND (o.tableoid, o.ctid) <> (t.tableoid, t.ctid))",
    ),
    (
        "rl_raw_lexicons",
        "dictionaries that no block is compressed with",
        "EXISTS (SELECT FROM rl_raw_blocks b WHERE b.session_id = t.session_id)"
        " AND NOT EXISTS (SELECT FROM rl_raw_blocks b WHERE b.session_id = t.session_id"
        " AND b.lexicon_number >= t.lexicon_number)",
    ),
)
"""Table, what is wrong with some of its rows, and the condition for that."""


@frozen
class Strays:
    """How many rows of one table belong to nothing, and in what way."""

    table: str
    count: int
    what: str


async def fetch_strays(connection: TrioConnection) -> list[Strays]:
    """
    Count them in each table that has any. Each question is asked in a transaction of its own.

    Raises StoreUnavailable and StoreRejected.
    """
    found: list[Strays] = []
    for table, what, condition in _QUESTIONS:
        async with read_only(connection):
            cursor = await connection.execute(f"SELECT count(*) FROM {table} t WHERE {condition}".encode())
            row = await cursor.fetchone()
        assert row is not None
        if row[0]:
            found.append(Strays(table, row[0], what))
    return found
