"""
The chain of a database: appended to by this program and by functions of the schema, read in pages.

Entries are appended one at a time: between an append and the end of its transaction others wait.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from psycopg.rows import class_row

from collector.database._transactions import Pages, in_transaction
from collector.postgres import TrioConnection
from collector.storage import ChainEntry, EntryKind

PAGE_ENTRIES: Final = 1000

_COLUMNS: Final = "entry_number, kind, session_key, ledger_hash, content, entered_us, hash"


async def append_entry(
    connection: TrioConnection, kind: EntryKind, session_key: UUID, ledger_hash: bytes, content: str
) -> bytes:
    """Append an entry about a session, in the caller's transaction. Returns its hash."""
    cursor = await connection.execute(
        "SELECT rl_append(%s, %s, %s, %s)", (kind.value, session_key, ledger_hash or None, content)
    )
    row = await cursor.fetchone()
    assert row is not None
    return bytes(row[0])


async def fetch_newest_entry(connection: TrioConnection, session_key: UUID) -> ChainEntry | None:
    """The newest entry about a session that changes its ledger or its end; None without any."""
    async with connection.cursor(row_factory=class_row(ChainEntry)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM rl_chain WHERE session_key = %s AND kind NOT IN ('late', 'proof')"
            " ORDER BY entry_number DESC LIMIT 1".encode(),
            (session_key,),
        )
        return await cursor.fetchone()


async def fetch_late_hashes(connection: TrioConnection, session_key: UUID) -> frozenset[bytes]:
    """The hashes of the rows that filled holes in a session's ledger."""
    cursor = await connection.execute(
        "SELECT ledger_hash FROM rl_chain WHERE session_key = %s AND kind = 'late'", (session_key,)
    )
    return frozenset(bytes(ledger_hash) for (ledger_hash,) in await cursor.fetchall())


def chain_pages(connection: TrioConnection, after_entry: int) -> Pages[ChainEntry]:
    """The entries after one with this number, in order, a page at a time. Raises psycopg's errors."""

    async def fetch(last: Sequence[ChainEntry] | None) -> list[ChainEntry]:
        after = last[-1].entry_number if last else after_entry
        async with connection.cursor(row_factory=class_row(ChainEntry)) as cursor:
            await cursor.execute(
                f"SELECT {_COLUMNS} FROM rl_chain WHERE entry_number > %s ORDER BY entry_number"
                f" LIMIT {PAGE_ENTRIES}".encode(),
                (after,),
            )
            return await cursor.fetchall()

    return Pages(fetch)


async def fetch_entry(connection: TrioConnection, entry_number: int) -> ChainEntry | None:
    """One entry; None where it is not there."""
    async with connection.cursor(row_factory=class_row(ChainEntry)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM rl_chain WHERE entry_number = %s".encode(), (entry_number,)
        )
        return await cursor.fetchone()


async def fetch_database_row(connection: TrioConnection) -> tuple[str, int]:
    """The database's key, and the number of the newest entry by its own count; empty and 0 without a row."""
    cursor = await connection.execute("SELECT database_key::text, newest_entry FROM rl_database")
    row = await cursor.fetchone()
    return ("", 0) if row is None else (row[0], row[1])


async def fetch_chain_head(connection: TrioConnection) -> str:
    """
    The hash of the newest entry in hexadecimal; empty without any.

    Raises StoreUnavailable and StoreRejected.
    """
    async with in_transaction(connection):
        cursor = await connection.execute("SELECT hash FROM rl_chain ORDER BY entry_number DESC LIMIT 1")
        row = await cursor.fetchone()
    return "" if row is None else bytes(row[0]).hex()
