"""
Tables of an earlier program that have names of ours: who uses them, and how they are moved out of the way.

They are moved to another schema, with their indexes, constraints, sequences, triggers and policies. Nothing
of them is changed or dropped.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen
from psycopg.rows import class_row

from collector.database._preflight import OLD_SCHEMA
from collector.database._transactions import in_transaction, read_only
from collector.errors import StoreRejected
from collector.postgres import TrioConnection

LOCK_MS_MAX: Final = 2000

_VIEWS: Final = (
    "WITH RECURSIVE used AS (SELECT (quote_ident(%(schema)s) || '.' || quote_ident(t))::regclass::oid AS oid"
    "  FROM unnest(%(tables)s::text[]) AS t"
    " UNION SELECT r.ev_class FROM used u JOIN pg_depend d ON d.refobjid = u.oid"
    "  AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_rewrite'::regclass"
    "  JOIN pg_rewrite r ON r.oid = d.objid)"
    " SELECT format('%%I.%%I', n.nspname, c.relname) FROM used u JOIN pg_class c ON c.oid = u.oid"
    " JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('v', 'm') AND NOT (n.nspname = %(schema)s AND c.relname = ANY (%(tables)s))"
    " ORDER BY 1"
)
_FUNCTIONS: Final = (
    "SELECT format('%%I.%%I(%%s)', n.nspname, f.proname, pg_get_function_identity_arguments(f.oid))"
    " FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace"
    " WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')"
    # A function with a string body names its tables only in the text; one with a SQL-standard body has them
    # in pg_depend.
    " AND (EXISTS (SELECT FROM unnest(%(tables)s::text[]) AS t WHERE f.prosrc ~ ('\\m' || t || '\\M'))"
    "  OR EXISTS (SELECT FROM pg_depend d JOIN pg_class c ON c.oid = d.refobjid"
    "   JOIN pg_namespace s ON s.oid = c.relnamespace"
    "   WHERE d.classid = 'pg_proc'::regclass AND d.objid = f.oid"
    "   AND s.nspname = %(schema)s AND c.relname = ANY (%(tables)s))"
    "  OR EXISTS (SELECT FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid"
    "   JOIN pg_namespace s ON s.oid = c.relnamespace WHERE g.tgfoid = f.oid AND NOT g.tgisinternal"
    "   AND s.nspname = %(schema)s AND c.relname = ANY (%(tables)s))) ORDER BY 1"
)
_CONNECTIONS: Final = (
    "SELECT a.pid, COALESCE(a.usename, '') AS role, COALESCE(a.application_name, '') AS application,"
    " COALESCE(host(a.client_addr), 'local') AS address,"
    # Stronger than what reading takes.
    " EXISTS (SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
    "  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE l.pid = a.pid AND l.granted"
    "  AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')"
    "  AND n.nspname = %(schema)s AND c.relname = ANY (%(tables)s)) AS is_writing"
    " FROM pg_stat_activity a WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()"
    # Without pg_read_all_stats, backend type and statement of other roles are hidden; locks are visible.
    " AND COALESCE(a.backend_type, 'client backend') = 'client backend'"
    " AND (EXISTS (SELECT FROM unnest(%(tables)s::text[]) AS t WHERE position(t IN a.query) > 0)"
    " OR EXISTS (SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
    "  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE l.pid = a.pid"
    "  AND n.nspname = %(schema)s AND c.relname = ANY (%(tables)s))) ORDER BY a.pid"
)
_WRITTEN: Final = (
    "SELECT COALESCE(sum(pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid)"
    " + pg_stat_get_tuples_deleted(c.oid)), 0)::bigint"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = %(schema)s AND c.relname = ANY (%(tables)s)"
)
_TAKEN: Final = (
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = %s AND c.relname = ANY (%s) ORDER BY 1"
)


@frozen
class OpenConnection:
    """Another connection that uses the tables, or whose newest statement names one."""

    pid: int
    role: str
    application: str
    address: str
    is_writing: bool


@frozen
class OldTables:
    """
    The tables, and what uses them. `written_rows` counts the rows that were ever written: it rises while
    somebody writes. Views go on working after a move; functions that name a table may not.
    """

    tables: tuple[str, ...]
    views: tuple[str, ...]
    functions: tuple[str, ...]
    connections: tuple[OpenConnection, ...]
    written_rows: int


async def inspect_old_tables(connection: TrioConnection, tables: Sequence[str]) -> OldTables:
    """Find out what uses these tables, which are in the connection's schema."""
    places = {"schema": connection.schema, "tables": list(tables)}
    async with read_only(connection):
        views = [name for (name,) in await _fetch(connection, _VIEWS, places)]
        functions = [name for (name,) in await _fetch(connection, _FUNCTIONS, places)]
        async with connection.cursor(row_factory=class_row(OpenConnection)) as cursor:
            await cursor.execute(_CONNECTIONS.encode(), places)
            connections = await cursor.fetchall()
        ((written_rows,),) = await _fetch(connection, _WRITTEN, places)
    return OldTables(tuple(tables), tuple(views), tuple(functions), tuple(connections), written_rows)


async def _fetch(
    connection: TrioConnection, query: str, arguments: Mapping[str, object]
) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(query.encode(), arguments)
    return await cursor.fetchall()


async def move_old_tables(connection: TrioConnection, tables: Sequence[str]) -> None:
    """
    Move tables from the connection's schema to OLD_SCHEMA, all or none.

    Raises StoreUnavailable while somebody holds one, and StoreRejected where one of the names is taken there
    or a right is missing.
    """
    async with in_transaction(connection):
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS_MAX}".encode())
        cursor = await connection.execute(_TAKEN.encode(), (OLD_SCHEMA, list(tables)))
        taken = [name for (name,) in await cursor.fetchall()]
        if taken:
            raise StoreRejected(
                f"schema {OLD_SCHEMA} has {', '.join(taken)} already: rename that schema first, with"
                f" ALTER SCHEMA {OLD_SCHEMA} RENAME TO another_name"
            )
        cursor = await connection.execute("SELECT to_regnamespace(%s) IS NULL", (OLD_SCHEMA,))
        if await cursor.fetchone() == (True,):
            await connection.execute(f"CREATE SCHEMA {OLD_SCHEMA}".encode())
        for command in _moves(tables, connection.schema, OLD_SCHEMA):
            await connection.execute(command.encode())


def undo_commands(tables: Sequence[str], schema: str) -> list[str]:
    """The statements that move the tables back to a schema, in which their names must be free."""
    return _moves(tables, OLD_SCHEMA, schema)


def _moves(tables: Sequence[str], from_schema: str, to_schema: str) -> list[str]:
    # ALTER TABLE also moves views and materialized views.
    return [f'ALTER TABLE "{from_schema}"."{table}" SET SCHEMA "{to_schema}"' for table in tables]
