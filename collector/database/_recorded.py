"""
What is read of a recorded session: its row, its batches with their raw blocks, and its rows of each kind.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from psycopg.rows import TupleRow, dict_row

from collector.database._transactions import Pages, open_pages
from collector.postgres import TrioConnection
from collector.storage import ColumnType, RowKind

PAGE_BATCHES: Final = 200

_BATCHES: Final = (
    "SELECT l.*, r.payload, r.checksum AS block_checksum, x.content"
    " FROM rl_write_ledger l"
    " LEFT JOIN rl_raw_blocks r ON r.session_id = l.session_id AND r.first_frame = l.first_frame"
    "  AND r.last_frame = l.last_frame"
    " LEFT JOIN rl_raw_lexicons x ON x.session_id = r.session_id AND x.lexicon_number = r.lexicon_number"
    " WHERE l.session_id = %s AND l.batch_number > %s ORDER BY l.batch_number LIMIT %s"
)


async def fetch_session_rows(
    connection: TrioConnection, session_id: int | None
) -> Sequence[Mapping[str, Any]]:
    """The row of one session, or of all, in order of their numbers."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT * FROM rl_orderbook_sessions WHERE %(id)s::integer IS NULL OR session_id = %(id)s"
            " ORDER BY session_id",
            {"id": session_id},
        )
        return await cursor.fetchall()


async def fetch_batch_rows(
    connection: TrioConnection, session_id: int, after: int
) -> Sequence[Mapping[str, Any]]:
    """The next PAGE_BATCHES ledger rows after a batch number, each with its raw block; empty at the end."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_BATCHES, (session_id, after, PAGE_BATCHES))
        return await cursor.fetchall()


def open_row_pages(
    connection: TrioConnection, kind: RowKind, session_id: int
) -> AbstractAsyncContextManager[Pages[TupleRow]]:
    """All rows of one kind of a session, in no order: columns as in the kind, markets as tickers."""
    names = [
        "m.market_ticker" if column.type is ColumnType.MARKET else f"t.{column.name}"
        for column in kind.columns
    ]
    join = "" if kind.market_index is None else " JOIN rl_markets m USING (market_id)"
    query = f"SELECT {', '.join(names)} FROM {kind.table} t{join} WHERE t.session_id = %(id)s"
    return open_pages(connection, query, {"id": session_id})
