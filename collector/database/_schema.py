"""The schema: `schema.sql`, and which version of it a database has."""

import hashlib
from pathlib import Path
from typing import Final

import collector
from collector.errors import StartError
from collector.postgres import TrioConnection, translate_errors

LOCK_MS_MAX: Final = 2000
MARK: Final = "rl_orderbook_deltas"
"""The view whose comment names the schema that the database has."""


def read_schema() -> str:
    """
    The text of schema.sql, from the top level of a checkout or from the installed package. Raises StartError.
    """
    package = Path(collector.__file__).parent
    for folder in (package, package.parent):
        path = folder / "schema.sql"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise StartError("schema.sql is missing: install the package again")


async def apply_schema(connection: TrioConnection) -> None:
    """
    Apply schema.sql as one transaction; other processes that do the same wait their turn.

    It waits for long transactions of others, and writers wait for it: so it gives up after LOCK_MS_MAX.
    Raises StoreUnavailable then, as for a database that can't be reached.
    """
    text = read_schema()
    with translate_errors():
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS_MAX}".encode())
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('rl_schema'))")
            await connection.execute(text.encode())
            await connection.execute(f"COMMENT ON VIEW {MARK} IS '{_mark_of(text)}'".encode())


async def is_schema_applied(connection: TrioConnection) -> bool:
    """Whether the database has exactly this schema."""
    with translate_errors():
        cursor = await connection.execute("SELECT obj_description(to_regclass(%s))", (MARK,))
        row = await cursor.fetchone()
    return row is not None and row[0] == _mark_of(read_schema())


def _mark_of(schema: str) -> str:
    return f"schema.sql {hashlib.sha256(schema.encode()).hexdigest()[:16]}"
