"""
Whether a database is one that this program can record into.

`fetch_database_facts` asks the server. `find_obstacle` and `find_risks` judge what it answered, and are pure.
`holds_session_locks` recognises a transaction pooler.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

import psycopg
import trio
from attrs import frozen
from psycopg.rows import TupleRow

from collector.errors import StoreRejected, StoreUnavailable, StoreUnsuitable
from collector.postgres import SCHEMA, TrioConnection, translate_errors
from collector.storage import KINDS, RAW_BLOCK

ANSWER_S_MAX: Final = 2.0
"""Seconds for an answer of milliseconds. A pooler without a free server connection does not answer at all."""
LOCK_ROUNDS: Final = 3
"""A pooler that uses its server connections in turn may give us the same one twice, but not in each round."""

RIGHTS: Final = ("SELECT", "INSERT", "UPDATE")
_MARKS: Final[Mapping[str, frozenset[str]]] = {
    "rl_database": frozenset({"database_key"}),
    "rl_markets": frozenset({"market_id", "market_ticker"}),
    "rl_orderbook_sessions": frozenset({"session_key", "recorder_key"}),
    "rl_write_ledger": frozenset({"batch_number", "first_frame"}),
    "rl_raw_lexicons": frozenset({"lexicon_number"}),
    **{kind.table: frozenset({"session_id"}) for kind in (*KINDS, RAW_BLOCK)},
    "rl_models": frozenset({"model_id"}),
    "rl_trading_episodes": frozenset({"from_us"}),
    "rl_trading_actions": frozenset({"price_e4"}),
}
"""Our tables, with columns that those of another program do not have."""
_VIEW_MARKS: Final[Mapping[str, frozenset[str]]] = {
    "rl_orderbook_deltas": frozenset({"received_us"}),
    "rl_orderbook_snapshots": frozenset({"received_us"}),
    "rl_orderbook_trades": frozenset({"received_us"}),
}
"""Our views, with columns in the same way."""
_WRITTEN: Final = (
    *("rl_database", "rl_markets", "rl_orderbook_sessions", "rl_write_ledger", "rl_raw_lexicons"),
    *(kind.table for kind in (*KINDS, RAW_BLOCK)),
)
"""Tables that a batch is written into."""
_UPDATED: Final = ("rl_markets", "rl_orderbook_sessions")

_DATABASE: Final = (
    "SELECT current_user, current_setting('server_encoding'), current_setting('fsync'), pg_is_in_recovery(),"
    " current_setting('session_replication_role'),"
    " has_schema_privilege(n.oid, 'USAGE'), has_schema_privilege(n.oid, 'CREATE')"
    " FROM (SELECT to_regnamespace(%s) AS oid) AS n"
)
_RELATIONS: Final = (
    "SELECT relname, relkind = 'v', pg_has_role(relowner, 'USAGE'),"
    " ARRAY(SELECT r FROM unnest(%s::text[]) AS r WHERE has_table_privilege(c.oid, r)),"
    " ARRAY(SELECT attname::text FROM pg_attribute"
    "  WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)"
    " FROM pg_class c WHERE relnamespace = to_regnamespace(%s) AND relname = ANY(%s) ORDER BY relname"
)
_BACKEND: Final = "SELECT pg_backend_pid()"


@frozen
class Relation:
    """A table or view with the name of one of ours. `rights` are those of RIGHTS that our role has on it."""

    name: str
    is_view: bool
    is_owned: bool
    rights: frozenset[str]
    columns: frozenset[str]


@frozen
class DatabaseFacts:
    """What the server says of itself and of our role there. Rights are None where the schema is missing."""

    role: str
    encoding: str
    has_fsync: bool
    is_standby: bool
    replication_role: str
    may_use_schema: bool | None
    may_create: bool | None
    relations: tuple[Relation, ...] = ()


class Risk(Enum):
    """What is no obstacle, but should be known. The value names it in the log."""

    FSYNC_OFF = "fsync_off"
    LIMITED_ENCODING = "limited_encoding"
    TRIGGERS_OFF = "triggers_off"


ADVICE: Final[Mapping[Risk, str]] = {
    Risk.FSYNC_OFF: "a crash of the server can lose committed batches: set fsync = on",
    Risk.LIMITED_ENCODING: "text that the encoding lacks is refused: use a database with encoding UTF8",
    Risk.TRIGGERS_OFF: "foreign keys are not checked: set session_replication_role = origin for the role",
}
"""What each risk means, and what to do."""


async def fetch_database_facts(connection: TrioConnection) -> DatabaseFacts:
    """Ask the server for everything that is judged. Raises StoreUnavailable and StoreRejected."""
    names = [*_MARKS, *_VIEW_MARKS]
    with translate_errors():
        cursor = await connection.execute(_DATABASE.encode(), (SCHEMA,))
        row = await cursor.fetchone()
        assert row is not None
        cursor = await connection.execute(_RELATIONS.encode(), (list(RIGHTS), SCHEMA, names))
        relations = [
            Relation(name, is_view, is_owned=is_owned, rights=frozenset(rights), columns=frozenset(columns))
            for name, is_view, is_owned, rights, columns in await cursor.fetchall()
        ]
    role, encoding, fsync, is_standby, replication_role, may_use_schema, may_create = row
    return DatabaseFacts(
        role=role,
        encoding=encoding,
        has_fsync=fsync == "on",
        is_standby=is_standby,
        replication_role=replication_role,
        may_use_schema=may_use_schema,
        may_create=may_create,
        relations=tuple(relations),
    )


def find_obstacle(facts: DatabaseFacts) -> StoreRejected | None:
    """
    Why nothing can be recorded there, with what to do; None when it can.

    It is a StoreUnsuitable where only other settings help.
    """
    foreign = [relation.name for relation in facts.relations if _is_foreign(relation)]
    if foreign:
        return StoreUnsuitable(
            f"DATABASE_URL names a database with tables of another program: {', '.join(foreign)} in schema"
            f" {SCHEMA}; name a database of its own, or move these tables to another schema"
        )
    if facts.is_standby:
        return StoreRejected("the server is a read-only standby: promote it, or name the primary server")
    if facts.may_create is None:
        return StoreRejected(f"there is no schema {SCHEMA}: run CREATE SCHEMA {SCHEMA}")
    role = _quoted(facts.role)
    if not (facts.may_use_schema and facts.may_create):
        return StoreRejected(
            f"role {role} may not create tables in schema {SCHEMA}:"
            f" run GRANT USAGE, CREATE ON SCHEMA {SCHEMA} TO {role}"
        )
    return _find_table_obstacle(facts.relations, role)


def _find_table_obstacle(relations: Sequence[Relation], role: str) -> StoreRejected | None:
    written = [relation for relation in relations if relation.name in _WRITTEN]
    for relation in written:
        if not relation.is_owned:
            # Only the owner of a table can make partitions of it, or COPY into it under row-level security.
            return StoreRejected(
                f"role {role} does not own table {SCHEMA}.{relation.name}:"
                f" run ALTER TABLE {SCHEMA}.{relation.name} OWNER TO {role}, and so for all tables rl_*"
            )
    for relation in written:
        needed = RIGHTS if relation.name in _UPDATED else RIGHTS[:2]
        if not relation.rights.issuperset(needed):
            return StoreRejected(
                f"role {role} may not write into table {SCHEMA}.{relation.name}:"
                f" run GRANT {', '.join(needed)} ON {SCHEMA}.{relation.name} TO {role}"
            )
    return None


def _is_foreign(relation: Relation) -> bool:
    marks = _VIEW_MARKS if relation.is_view else _MARKS
    return not marks.get(relation.name, frozenset({""})) <= relation.columns


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def find_risks(facts: DatabaseFacts) -> frozenset[Risk]:
    """What a user should know of the database, though it can be recorded into."""
    found = {
        Risk.FSYNC_OFF: not facts.has_fsync,
        Risk.LIMITED_ENCODING: facts.encoding not in ("UTF8", "SQL_ASCII"),
        Risk.TRIGGERS_OFF: facts.replication_role != "origin",
    }
    return frozenset(risk for risk, is_there in found.items() if is_there)


async def holds_session_locks(first: TrioConnection, second: TrioConnection, key: int) -> bool:
    """
    Whether an advisory lock of a session stays with its connection: false behind a transaction pooler.

    The lock `key` is taken on the first connection. While the second one has a transaction open, a pooler
    gives the first one another server connection, or none: so an answer that does not arrive counts as a
    pooler. Both connections are opened as for a pooler, so that no setting of theirs stays on its server
    connections.

    Raises StoreUnavailable when the server answers neither of them, and StoreRejected.
    """
    with translate_errors():
        try:
            taken = await _ask(first, "SELECT pg_backend_pid(), pg_try_advisory_lock(%s)", key)
            for _ in range(LOCK_ROUNDS):
                await _ask(second, _BACKEND)
                if not await _keeps_backend(first, second, taken[0]):
                    return False
            return await _ask(first, "SELECT pg_backend_pid(), pg_advisory_unlock(%s)", key) == taken
        except psycopg.errors.ProtocolViolation:
            # How a pooler refuses transactions, if it lends its server connections for single statements.
            return False


async def _keeps_backend(first: TrioConnection, second: TrioConnection, backend: int) -> bool:
    async with second.transaction():
        await second.execute(_BACKEND)
        with trio.move_on_after(ANSWER_S_MAX):
            return await _ask(first, _BACKEND) == (backend,)
        with trio.move_on_after(ANSWER_S_MAX):
            await second.execute(_BACKEND)
            return False
    raise StoreUnavailable("the server stopped answering")


async def _ask(connection: TrioConnection, query: str, *arguments: int) -> TupleRow:
    async with connection.transaction():
        cursor = await connection.execute(query.encode(), arguments)
        row = await cursor.fetchone()
    assert row is not None
    return row
