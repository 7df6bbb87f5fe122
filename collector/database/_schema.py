"""
The schema: `schema.sql` and the migrations, which version a database has, and which one this program knows.

An empty database gets `schema.sql`. Any other gets the migrations that it lacks, in order. A database of a
newer version is left as it is: it says itself which programs it is still for.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import psycopg
from attrs import frozen

import collector
from collector.errors import StartError, StoreUnavailable, StoreUnsuitable
from collector.postgres import TrioConnection, translate_errors

LOCK_MS_MAX: Final = 2000
FIRST_VERSION: Final = 1
"""The version that needs no migration."""

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_OLDEST_USER: Final = (
    b"SELECT a.pid, COALESCE(NULLIF(a.application_name, ''), 'an application without a name'),"
    b" to_char(a.xact_start AT TIME ZONE 'UTC', 'HH24:MI:SS UTC') FROM pg_stat_activity a"
    b" WHERE a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL AND EXISTS (SELECT FROM pg_locks l"
    b" JOIN pg_class c ON c.oid = l.relation WHERE l.pid = a.pid AND l.granted AND c.relname LIKE 'rl%')"
    b" ORDER BY a.xact_start LIMIT 1"
)
_VERSION: Final = b"SELECT max(version), max(oldest_program) FROM rl_schema_versions"


@frozen
class SchemaVersion:
    """The version that a database has, and the oldest version whose programs may use it."""

    version: int
    oldest_program: int

    def obstacle(self, program: int) -> StoreUnsuitable | None:
        """Why a program that knows this version may not use the database; None when it may."""
        if program >= self.oldest_program:
            return None
        return StoreUnsuitable(
            f"the database has version {self.version} of the schema, for programs that know version"
            f" {self.oldest_program} or a newer one. This one knows {program}: run the newer program again"
        )


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


def find_migrations(folder: Path = _MIGRATIONS) -> Mapping[int, Path]:
    """The files of the migrations by the version that each leads to, in order."""
    found = {int(path.name.split("_", 1)[0]): path for path in folder.glob("[0-9]*_*.sql")}
    return dict(sorted(found.items()))


def known_version() -> int:
    """The version of the schema that this program knows."""
    return max(find_migrations(), default=FIRST_VERSION)


async def fetch_schema_version(connection: TrioConnection) -> SchemaVersion | None:
    """Which version the database has; None without our tables. Raises StoreUnavailable and StoreRejected."""
    with translate_errors():
        async with connection.transaction():
            cursor = await connection.execute("SELECT to_regclass('rl_schema_versions') IS NOT NULL")
            row = await cursor.fetchone()
            if row is None or not row[0]:
                return None
            cursor = await connection.execute(_VERSION)
            row = await cursor.fetchone()
    return None if row is None or row[0] is None else SchemaVersion(*row)


async def require_known_version(connection: TrioConnection) -> None:
    """Raises StoreUnsuitable where the database is for newer programs only."""
    found = await fetch_schema_version(connection)
    obstacle = None if found is None else found.obstacle(known_version())
    if obstacle is not None:
        raise obstacle


async def apply_schema(connection: TrioConnection) -> int:
    """
    Bring the database to the version that this program knows.

    One transaction; other processes that do the same wait their turn. Where nothing is missing nothing is
    changed, so that it may be repeated. Returns the version that the database has then, which a newer program
    may have raised further. It waits for long transactions of others, and writers wait for it: so it gives up
    after LOCK_MS_MAX. Raises StoreUnavailable then, as for a database that can't be reached, and
    StoreUnsuitable where the database is for newer programs only.
    """
    schema, program = read_schema(), known_version()
    async with _changing(connection):
        return await _apply(connection, schema, program)


async def _apply(connection: TrioConnection, schema: str, program: int) -> int:
    await require_known_version(connection)
    found = await fetch_schema_version(connection)
    if found is not None and found.version >= program:
        return found.version
    if found is None:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('rl_schema'))")
        await _make_place(connection)
    else:
        await connection.execute("LOCK TABLE rl_schema_versions IN SHARE ROW EXCLUSIVE MODE")
    found = await fetch_schema_version(connection)
    if found is None:
        await connection.execute(schema.encode())
        return program
    for version, path in find_migrations().items():
        if version > found.version:
            await connection.execute(path.read_bytes())
    return max(found.version, program)


async def protect(connection: TrioConnection) -> int:
    """
    Take all rights on the tables from other roles, and give rl_reader its own. Returns the number of changes.

    Gives up after LOCK_MS_MAX where somebody uses a table that has to be changed: StoreUnavailable then.
    """
    async with _changing(connection):
        # Twice: if rl_reader has too many rights, the first call revokes all, and the second grants its own.
        cursor = await connection.execute("SELECT rl_protect() + rl_protect()")
        row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


@asynccontextmanager
async def _changing(connection: TrioConnection) -> AsyncGenerator[None]:
    """
    A transaction that changes tables, and waits at most LOCK_MS_MAX for each lock.

    Raises StoreUnavailable that names who holds it up, and what PostgreSQL or the network answers.
    """
    with translate_errors():
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS_MAX}".encode())
                yield
        except psycopg.errors.LockNotAvailable as error:
            raise StoreUnavailable(await _who_holds_it_up(connection)) from error


async def _who_holds_it_up(connection: TrioConnection) -> str:
    cursor = await connection.execute(_OLDEST_USER)
    row = await cursor.fetchone()
    who = "another connection" if row is None else "process {}, {}, with a transaction since {}".format(*row)
    return f"cannot update the schema: {who} holds a lock on one of its tables; end that transaction or wait"


async def _make_place(connection: TrioConnection) -> None:
    cursor = await connection.execute("SELECT to_regnamespace(quote_ident(%s)) IS NULL", (connection.schema,))
    row = await cursor.fetchone()
    if row is not None and row[0]:
        await connection.execute(f'CREATE SCHEMA "{connection.schema}"'.encode())
