"""COPY: rows of one kind into a table."""

from collections.abc import Sequence
from typing import Any

from collector.postgres import TrioConnection
from collector.storage import MarketIds, RowKind, copy_columns, encode_rows


async def copy_rows(
    connection: TrioConnection,
    kind: RowKind,
    facts: Sequence[Any],
    *,
    session_id: int,
    market_ids: MarketIds,
    table: str | None = None,
) -> None:
    """Put the rows of facts into the table of their kind, or into another one with the same columns."""
    if not facts:
        return
    columns = ", ".join(copy_columns(kind))
    statement = f"COPY {table or kind.table} ({columns}) FROM STDIN (FORMAT BINARY)"
    async with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        await copy.write(encode_rows(kind, facts, session_id, market_ids))
