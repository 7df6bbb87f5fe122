"""Transactions: one that writes, one that reads one state of the database; and results in pages."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeVar

from attrs import define
from psycopg.rows import TupleRow
from typing_extensions import override

from collector.postgres import TrioConnection, translate_errors

PAGE_ROWS: Final = 5000
"""Rows of one page: some hundred kilobytes, and a round trip to the server."""

Item = TypeVar("Item")


@asynccontextmanager
async def in_transaction(connection: TrioConnection) -> AsyncGenerator[None]:
    """
    A transaction. Behind a pooler, no statement may run outside of one.

    Raises StoreUnavailable and StoreRejected for what PostgreSQL or the network answers inside the block.
    """
    with translate_errors():
        async with connection.transaction():
            yield


@asynccontextmanager
async def read_only(connection: TrioConnection) -> AsyncGenerator[None]:
    """
    A transaction that sees one state of the database and changes nothing.

    Raises StoreUnavailable and StoreRejected for what PostgreSQL or the network answers inside the block.
    """
    with translate_errors():
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield


@define
class Pages(AsyncIterator[Sequence[Item]], Generic[Item]):
    """Pages until an empty one. `fetch` gets the last page, None at first, and returns the next one."""

    fetch: Callable[[Sequence[Item] | None], Awaitable[Sequence[Item]]]
    _last: Sequence[Item] | None = None

    @override
    async def __anext__(self) -> Sequence[Item]:
        self._last = await self.fetch(self._last)
        if not self._last:
            raise StopAsyncIteration
        return self._last


@asynccontextmanager
async def open_pages(
    connection: TrioConnection, query: str, arguments: Mapping[str, Any], rows: int = PAGE_ROWS
) -> AsyncGenerator[Pages[TupleRow]]:
    """
    The rows of a query in pages of at most `rows`, by a cursor on the server: memory holds one page.

    Inside a transaction only, as such a cursor lives in one.
    """
    async with connection.cursor("collector_pages") as cursor:
        await cursor.execute(query.encode(), arguments)

        async def fetch(_last: Sequence[TupleRow] | None) -> list[TupleRow]:
            return await cursor.fetchmany(rows)

        yield Pages(fetch)
