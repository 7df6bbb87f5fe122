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

from collector.database._schema import SchemaVersion, fetch_schema_version, known_version
from collector.errors import StoreRejected, StoreUnavailable, StoreUnsuitable
from collector.postgres import TrioConnection, translate_errors
from collector.storage import KINDS, RAW_BLOCK

ANSWER_S_MAX: Final = 2.0
"""Seconds for an answer of milliseconds. A pooler without a free server connection does not answer at all."""
LOCK_ROUNDS: Final = 3
"""A pooler that uses its server connections in turn may give us the same one twice, but not in each round."""

OLD_SCHEMA: Final = "rl_predecessor"
"""Where tables of an earlier program with names of ours are moved to."""
VERSIONS: Final = "rl_schema_versions"

RIGHTS: Final = ("SELECT", "INSERT", "UPDATE")
_MARKS: Final[Mapping[str, frozenset[str]]] = {
    "rl_schema_versions": frozenset({"oldest_program"}),
    "rl_database": frozenset({"database_key"}),
    "rl_markets": frozenset({"market_id", "market_ticker"}),
    "rl_orderbook_sessions": frozenset({"session_key", "recorder_key"}),
    "rl_write_ledger": frozenset({"batch_number", "first_frame"}),
    "rl_raw_lexicons": frozenset({"lexicon_number"}),
    **{kind.table: frozenset({"session_id"}) for kind in (*KINDS, RAW_BLOCK)},
    "rl_chain": frozenset({"entry_number"}),
    "rl_models": frozenset({"model_id"}),
    "rl_trading_episodes": frozenset({"from_us"}),
    "rl_trading_actions": frozenset({"price_e4"}),
}
"""Our tables, with columns that those of another program do not have."""
_VIEW_MARKS: Final[Mapping[str, frozenset[str]]] = {
    "rl_partition_drops": frozenset({"kept_days"}),
    "rl_day_summaries": frozenset({"summarised_at"}),
    "rl_proofs": frozenset({"decoder_version"}),
    "rl_orderbook_deltas": frozenset({"received_us"}),
    "rl_orderbook_snapshots": frozenset({"received_us"}),
    "rl_orderbook_trades": frozenset({"received_us"}),
    "rl_ledger_holes": frozenset({"after_frame"}),
    "rl_proven_empty": frozenset({"until_us"}),
    "rl_book_spans": frozenset({"is_exact"}),
    "rl_market_coverage": frozenset({"is_exact"}),
}
"""Our views, with columns in the same way."""
_WRITTEN: Final = (
    *("rl_database", "rl_chain", "rl_markets", "rl_orderbook_sessions", "rl_write_ledger", "rl_raw_lexicons"),
    *(kind.table for kind in (*KINDS, RAW_BLOCK)),
)
"""Tables that a batch is written into."""
_UPDATED: Final = ("rl_database", "rl_markets", "rl_orderbook_sessions")

_DATABASE: Final = (
    "SELECT current_user, current_setting('server_encoding'), current_setting('fsync'), pg_is_in_recovery(),"
    " current_setting('session_replication_role'),"
    " has_schema_privilege(n.oid, 'USAGE'), has_schema_privilege(n.oid, 'CREATE'),"
    " has_database_privilege(current_database(), 'CREATE')"
    " FROM (SELECT to_regnamespace(quote_ident(%s)) AS oid) AS n"
)
_RELATIONS: Final = (
    "SELECT relname, relkind = 'v', pg_has_role(relowner, 'USAGE'),"
    " ARRAY(SELECT r FROM unnest(%s::text[]) AS r WHERE has_table_privilege(c.oid, r)),"
    " ARRAY(SELECT attname::text FROM pg_attribute"
    "  WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)"
    " FROM pg_class c WHERE relnamespace = to_regnamespace(quote_ident(%s)) AND relname = ANY(%s)"
    " AND relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY relname"
)
_FUNCTIONS: Final = (
    "WITH named AS (SELECT f.oid::regprocedure::text AS signature, f.proname,"
    "  pg_has_role(f.proowner, 'USAGE') AS is_owned, f.proowner = (SELECT c.relowner FROM pg_class c"
    "   WHERE c.relnamespace = n.oid AND c.relname = 'rl_database') AS is_ours,"
    "  'search_path=' || quote_ident(n.nspname) || ', pg_temp' = ANY (f.proconfig) AS is_here"
    "  FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace WHERE n.nspname = %s"
    "  AND f.proname = ANY (ARRAY['rl_append', 'rl_spans', 'rl_proofs_between', 'rl_own_relations',"
    "   'rl_protect_relation', 'rl_protect', 'rl_ensure_partitions', 'rl_newest_exchange_ms',"
    "   'rl_may_be_later', 'rl_drop_partition', 'rl_summarise_day']))"
    # Overloads that another role owns are ignored if we own a function of that name.
    " SELECT ARRAY(SELECT min(signature) FROM named GROUP BY proname HAVING NOT bool_or(is_owned)),"
    " ARRAY(SELECT signature FROM named WHERE is_ours AND is_here IS NOT TRUE ORDER BY 1)"
)
_DANGERS: Final = (
    "SELECT EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = %s"
    "  AND a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner"
    "  AND a.grantee <> (SELECT oid FROM pg_roles WHERE rolname = current_user)),"
    " EXISTS (SELECT FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid"
    "  JOIN pg_namespace n ON n.oid = c.relnamespace"
    "  WHERE n.nspname = %s AND c.relname = ANY (%s) AND NOT g.tgisinternal)"
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
    """
    What the server says of itself and of our role there. Rights are None where the schema is missing.

    `version` is None where our tables are missing.
    """

    schema: str
    role: str
    encoding: str
    has_fsync: bool
    is_standby: bool
    replication_role: str
    may_use_schema: bool | None
    may_create: bool | None
    may_create_schema: bool = True
    relations: tuple[Relation, ...] = ()
    functions_of_others: tuple[str, ...] = ()
    functions_elsewhere: tuple[str, ...] = ()
    """Functions whose search path is not the schema that they are in."""
    others_may_create: bool = False
    has_triggers: bool = False
    version: SchemaVersion | None = None


class Risk(Enum):
    """What is no obstacle, but should be known. The value names it in the log."""

    FSYNC_OFF = "fsync_off"
    LIMITED_ENCODING = "limited_encoding"
    TRIGGERS_OFF = "triggers_off"
    OTHERS_MAY_CREATE = "others_may_create"
    FOREIGN_TRIGGERS = "foreign_triggers"


ADVICE: Final[Mapping[Risk, str]] = {
    Risk.FSYNC_OFF: "a crash of the server can lose committed batches: set fsync = on",
    Risk.LIMITED_ENCODING: "text with characters that the encoding lacks is refused: use a database"
    " with encoding UTF8",
    Risk.TRIGGERS_OFF: "foreign keys are not checked: set session_replication_role = origin for the role",
    Risk.OTHERS_MAY_CREATE: "other roles may create functions in the schema, which could run with the"
    " recorder's rights: revoke CREATE on it from them, or name another schema in RL_DATABASE_SCHEMA",
    Risk.FOREIGN_TRIGGERS: "the tables have triggers, which run with the recorder's rights: drop them",
}
"""What each risk means, and what to do."""


async def fetch_database_facts(connection: TrioConnection) -> DatabaseFacts:
    """Ask the server for everything that is judged. Raises StoreUnavailable and StoreRejected."""
    names = [*_MARKS, *_VIEW_MARKS]
    with translate_errors():
        cursor = await connection.execute(_DATABASE.encode(), (connection.schema,))
        row = await cursor.fetchone()
        assert row is not None
        cursor = await connection.execute(_RELATIONS.encode(), (list(RIGHTS), connection.schema, names))
        relations = [
            Relation(name, is_view, is_owned=is_owned, rights=frozenset(rights), columns=frozenset(columns))
            for name, is_view, is_owned, rights, columns in await cursor.fetchall()
        ]
        cursor = await connection.execute(_FUNCTIONS.encode(), (connection.schema,))
        functions_of_others, functions_elsewhere = await cursor.fetchone() or ([], [])
        cursor = await connection.execute(
            _DANGERS.encode(), (connection.schema, connection.schema, list(_MARKS))
        )
        others_may_create, has_triggers = await cursor.fetchone() or (False, False)
    role, encoding, fsync, is_standby, replication_role, may_use_schema, may_create, may_create_schema = row
    is_versioned = any(relation.name == VERSIONS and not _is_foreign(relation) for relation in relations)
    may_read = any(relation.name == VERSIONS and "SELECT" in relation.rights for relation in relations)
    return DatabaseFacts(
        schema=connection.schema,
        role=role,
        encoding=encoding,
        has_fsync=fsync == "on",
        is_standby=is_standby,
        replication_role=replication_role,
        may_use_schema=may_use_schema,
        may_create=may_create,
        may_create_schema=may_create_schema,
        relations=tuple(relations),
        functions_of_others=tuple(functions_of_others),
        functions_elsewhere=tuple(functions_elsewhere),
        others_may_create=others_may_create,
        has_triggers=has_triggers,
        version=await fetch_schema_version(connection) if is_versioned and may_read else None,
    )


def find_obstacle(facts: DatabaseFacts) -> StoreRejected | None:
    """
    Why nothing can be recorded there, with what to do; None when it can.

    It is a StoreUnsuitable where this program can't use the database as it is: a transaction pooler, tables
    of another program, or a schema for newer programs.
    """
    unsuitable = _find_unsuitable(facts)
    if unsuitable is not None:
        return unsuitable
    if facts.is_standby:
        return StoreRejected("the server is a read-only standby: promote it, or name the primary server")
    role, schema = _quoted(facts.role), facts.schema
    if facts.may_create is None:
        if facts.may_create_schema:
            return None
        return StoreRejected(
            f"there is no schema {schema}, and role {role} may not create it:"
            f" run CREATE SCHEMA {schema} AUTHORIZATION {role}"
        )
    if not (facts.may_use_schema and facts.may_create):
        return StoreRejected(
            f"role {role} may not create tables in schema {schema}:"
            f" run GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}"
        )
    return _find_owner_obstacle(facts, role) or _find_right_obstacle(facts.relations, role, schema)


def _find_unsuitable(facts: DatabaseFacts) -> StoreUnsuitable | None:
    """Why the database is not one for this program, whatever rights are granted."""
    foreign = find_foreign(facts)
    if foreign:
        return StoreUnsuitable(
            f"schema {facts.schema} of the database has tables of another program, or of a version"
            f" of this one without numbered schemas: {', '.join(foreign)}. Move"
            f" them to schema {OLD_SCHEMA} with `collector schema --move-old-tables`, or name another schema"
            " in RL_DATABASE_SCHEMA"
        )
    return None if facts.version is None else facts.version.obstacle(known_version())


def find_foreign(facts: DatabaseFacts) -> list[str]:
    """
    Tables and views with names of ours that another program has made, or a version of this one that did not
    number its schema yet.
    """
    is_numbered = facts.version is not None or any(
        relation.name == VERSIONS and not _is_foreign(relation) for relation in facts.relations
    )
    return [relation.name for relation in facts.relations if not is_numbered or _is_foreign(relation)]


def _find_owner_obstacle(facts: DatabaseFacts, role: str) -> StoreRejected | None:
    # Only the owner of a table can make partitions of it, or COPY into it under row-level
    # security. Nobody else may call the functions.
    for relation in facts.relations:
        if not relation.is_owned:
            kind, name = "view" if relation.is_view else "table", f"{facts.schema}.{relation.name}"
            return StoreRejected(
                f"role {role} does not own {kind} {name}: run ALTER {kind.upper()} {name} OWNER TO {role},"
                " and so for all tables, views and functions rl_*"
            )
    for function in facts.functions_of_others:
        return StoreRejected(
            f"role {role} does not own function {function}: run ALTER FUNCTION {function} OWNER TO {role},"
            " and so for all functions rl_*"
        )
    for function in facts.functions_elsewhere:
        return StoreRejected(
            f"function {function} has a search path that names another schema, because schema {facts.schema}"
            " was renamed: run"
            f" ALTER FUNCTION {function} SET search_path = {_quoted(facts.schema)}, pg_temp, and so for all"
            " functions rl_*"
        )
    return None


def _find_right_obstacle(relations: Sequence[Relation], role: str, schema: str) -> StoreRejected | None:
    for relation in (relation for relation in relations if relation.name in _WRITTEN):
        needed = RIGHTS if relation.name in _UPDATED else RIGHTS[:2]
        if not relation.rights.issuperset(needed):
            return StoreRejected(
                f"role {role} may not write into table {schema}.{relation.name}:"
                f" run GRANT {', '.join(needed)} ON {schema}.{relation.name} TO {role}"
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
        Risk.OTHERS_MAY_CREATE: facts.others_may_create,
        Risk.FOREIGN_TRIGGERS: facts.has_triggers,
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
