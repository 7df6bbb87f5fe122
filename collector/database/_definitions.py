"""
Whether tables, views and functions are those that this program ships.

The shipped schema is made once more, in a schema of its own, in a transaction that is rolled back. Both are
then described by the same server, so that what a version of PostgreSQL makes of a definition does not matter.
"""

import secrets
from typing import Final, TypeAlias

from collector.database._schema import read_schema
from collector.postgres import TrioConnection, translate_errors

# Names of relations are written without their schema where that is the first one on the search path.
_DESCRIBED: Final = (
    "WITH place AS (SELECT oid, nspname FROM pg_namespace WHERE nspname = current_schema()),"
    " relations AS (SELECT c.* FROM pg_class c JOIN place p ON p.oid = c.relnamespace"
    "  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition)"
    " SELECT c.relname::text, concat_ws(' ', 'table', c.relname), concat_ws(' ', c.relkind, c.relrowsecurity,"
    "  c.reloptions::text, pg_get_partkeydef(c.oid)) FROM relations c WHERE c.relkind <> 'v'"
    " UNION ALL SELECT c.relname, concat_ws(' ', 'view', c.relname),"
    "  concat_ws(' ', c.reloptions::text, pg_get_viewdef(c.oid)) FROM relations c WHERE c.relkind = 'v'"
    " UNION ALL SELECT c.relname, concat_ws(' ', 'column', c.relname || '.' || a.attname),"
    "  concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,"
    "   pg_get_expr(d.adbin, d.adrelid))"
    "  FROM relations c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    "  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum"
    " UNION ALL SELECT c.relname, concat_ws(' ', 'constraint', k.conname, 'of', c.relname),"
    "  pg_get_constraintdef(k.oid) FROM relations c JOIN pg_constraint k ON k.conrelid = c.oid"
    "  WHERE k.contype IN ('c', 'f', 'p', 'u', 'x')"
    " UNION ALL SELECT c.relname, concat_ws(' ', 'index', i.indexrelid::regclass::text, 'of', c.relname),"
    "  replace(pg_get_indexdef(i.indexrelid), quote_ident(p.nspname) || '.', '')"
    "  FROM relations c JOIN pg_index i ON i.indrelid = c.oid, place p"
    " UNION ALL SELECT c.relname, concat_ws(' ', 'trigger', t.tgname, 'of', c.relname),"
    "  concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled)"
    "  FROM relations c JOIN pg_trigger t ON t.tgrelid = c.oid WHERE NOT t.tgisinternal"
    " UNION ALL SELECT c.relname, concat_ws(' ', 'rule', r.rulename, 'of', c.relname), pg_get_ruledef(r.oid)"
    "  FROM relations c JOIN pg_rewrite r ON r.ev_class = c.oid WHERE r.rulename <> '_RETURN'"
    " UNION ALL SELECT f.proname, 'function ' || f.proname || '(' || pg_get_function_arguments(f.oid) || ')',"
    "  concat_ws(' ', pg_get_function_result(f.oid), l.lanname, f.provolatile, f.prosecdef,"
    "   replace(f.proconfig::text, quote_ident(p.nspname), ''), f.prosrc)"
    "  FROM pg_proc f JOIN place p ON p.oid = f.pronamespace JOIN pg_language l ON l.oid = f.prolang"
    " UNION ALL SELECT 'rl_schema_versions', 'version ' || version, oldest_program::text"
    "  FROM rl_schema_versions"
)

_Definitions: TypeAlias = dict[str, tuple[str, str]]
"""By the name of what is defined: the relation or function that it belongs to, and its definition."""


async def find_altered_definitions(connection: TrioConnection) -> list[str] | None:
    """
    What is not as in the shipped schema, in words; None where this role may not make a schema to compare.

    Raises StoreUnavailable and StoreRejected.
    """
    with translate_errors():
        cursor = await connection.execute(
            "SELECT has_database_privilege(current_database(), 'CREATE') AND NOT pg_is_in_recovery()"
        )
        if await cursor.fetchone() != (True,):
            return None
        async with connection.transaction(force_rollback=True):
            found = await _describe(connection)
            await _make_shipped(connection)
            shipped = await _describe(connection)
            await _restore_views(connection)
            restored = await _describe(connection)
    # Others may have tables and functions of their own beside ours.
    own = {relation for relation, _ in shipped.values()}
    findings: list[str] = []
    for name in sorted(shipped.keys() | found.keys()):
        if name not in found:
            findings.append(f"{name} is missing")
        elif name not in shipped:
            if found[name][0] in own:
                findings.append(f"{name} is not part of the schema")
        elif found[name] not in (shipped[name], restored.get(name)):
            findings.append(f"{name} is altered")
    return findings


async def _make_shipped(connection: TrioConnection) -> None:
    copy = f"rl_verify_{secrets.token_hex(8)}"
    await connection.execute(f'CREATE SCHEMA "{copy}"'.encode())
    await connection.execute(f'SET LOCAL search_path TO "{copy}", pg_temp'.encode())
    await connection.execute(read_schema().encode())


async def _restore_views(connection: TrioConnection) -> None:
    """Make the views again from their own descriptions, as a restored dump does: that may change these."""
    cursor = await connection.execute(
        "SELECT format('CREATE OR REPLACE VIEW %I WITH (%s) AS %s', c.relname,"
        " array_to_string(c.reloptions, ', '), pg_get_viewdef(c.oid)) FROM pg_class c"
        " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'v'"
    )
    for (statement,) in await cursor.fetchall():
        await connection.execute(statement.encode())


async def _describe(connection: TrioConnection) -> _Definitions:
    cursor = await connection.execute(_DESCRIBED.encode())
    return {name: (relation, definition) for relation, name, definition in await cursor.fetchall()}
