"""Who may do what with the tables: the owner everything, rl_reader reads, nobody else anything."""

from typing import Any, Final

import psycopg
import pytest
import trio
from psycopg import sql

from collector.database import protect
from collector.postgres import open_connection
from tests.clusters import Cluster
from tests.recording.recordings import TEXTS, at, invoke, write_recording
from tests.tcp_proxy import change_url

OTHERS: Final = ("anon", "authenticated", "service_role")
CHANGES: Final = ("INSERT INTO {} DEFAULT VALUES", "DELETE FROM {}", "TRUNCATE {} CASCADE")


@pytest.fixture
def owner_url(cluster: Cluster) -> str:
    """
    A database as a hosting service makes it: the recorder's role is no superuser, and whatever it makes is
    given to other roles by default, in its schema and everywhere.
    """
    with psycopg.connect(cluster.url, autocommit=True) as admin:
        admin.execute("CREATE ROLE recorder LOGIN")
        for role in OTHERS:
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        admin.execute("CREATE DATABASE recording OWNER recorder")
    with psycopg.connect(change_url(cluster.url, dbname="recording"), autocommit=True) as admin:
        admin.execute("GRANT ALL ON SCHEMA public TO recorder")
        admin.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
        for role in OTHERS:
            for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
                change = "ALTER DEFAULT PRIVILEGES FOR ROLE recorder IN SCHEMA public GRANT ALL ON"
                admin.execute(f"{change} {kind} TO {role}".encode())
        admin.execute("ALTER DEFAULT PRIVILEGES FOR ROLE recorder GRANT ALL ON TABLES TO anon")
        admin.execute("ALTER DEFAULT PRIVILEGES FOR ROLE recorder GRANT SELECT ON TABLES TO PUBLIC")
    return change_url(cluster.url, dbname="recording", user="recorder")


def fetch(url: str, query: str, arguments: Any = None) -> list[tuple[Any, ...]]:  # noqa: ANN401
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode(), arguments).fetchall()


def relations(url: str, kinds: str = "rpvS") -> list[str]:
    """Tables, partitioned tables, views and sequences in schema public."""
    found = fetch(
        url,
        "SELECT relname FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND position(relkind IN %s) > 0",
        (kinds,),
    )
    return [name for (name,) in found]


def functions(url: str) -> list[str]:
    """A call of each function in schema public."""
    found = fetch(
        url,
        "SELECT proname, ARRAY(SELECT t::regtype::text FROM unnest(proargtypes) AS t) FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace",
    )
    return [f"SELECT {name}({', '.join(f'NULL::{kind}' for kind in kinds)})" for name, kinds in found]


def statements(url: str) -> list[str]:
    """What one may try: reading everything, changing each table, calling each function."""
    return [
        *(f"SELECT count(*) FROM {name}" for name in relations(url)),
        *(text.format(name) for name in relations(url, "rp") for text in CHANGES),
        *functions(url),
    ]


def allowed(url: str, role: str) -> list[str]:
    """Those of the statements that a role may run."""
    found: list[str] = []
    with psycopg.connect(change_url(url, user=role), autocommit=True) as connection:
        for statement in statements(url):
            try:
                connection.execute(statement.encode())
            except psycopg.errors.InsufficientPrivilege:
                continue
            except psycopg.Error:
                # A right is there; what else is wrong with the statement is no matter.
                pass
            found.append(statement)
    return found


def rights(url: str, role: str) -> list[tuple[str, str]]:
    """The rights that a role has on relations, their columns and functions."""
    return fetch(
        url,
        "SELECT c.relname, p FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE',"
        " 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p WHERE c.relnamespace = 'public'::regnamespace"
        " AND c.relkind IN ('r', 'p', 'v') AND has_table_privilege(%(role)s, c.oid, p)"
        " UNION ALL SELECT c.relname, p || ' column' FROM pg_class c,"
        " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS p"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')"
        " AND has_any_column_privilege(%(role)s, c.oid, p) AND NOT has_table_privilege(%(role)s, c.oid, p)"
        " UNION ALL SELECT c.relname, p FROM pg_class c, unnest(ARRAY['SELECT', 'UPDATE', 'USAGE']) AS p"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'S'"
        " AND has_sequence_privilege(%(role)s, c.oid, p)"
        " UNION ALL SELECT f.proname, 'EXECUTE' FROM pg_proc f"
        " WHERE f.pronamespace = 'public'::regnamespace"
        " AND has_function_privilege(%(role)s, f.oid, 'EXECUTE')",
        {"role": role},
    )


async def write(url: str) -> None:
    await write_recording(url, at(*TEXTS))


async def test_other_roles_may_do_nothing(owner_url: str) -> None:
    """Not with tables, views, sequences, functions, or a partition that is made a day later."""
    await write(owner_url)
    with psycopg.connect(owner_url) as owner:
        owner.execute("SELECT rl_ensure_partitions(current_date + 4, current_date + 4)")
    assert len(relations(owner_url)) > 40
    assert len(functions(owner_url)) == 11
    for role in OTHERS:
        assert allowed(owner_url, role) == [], role
        assert rights(owner_url, role) == [], role
    assert (await _verify(owner_url)).startswith("session 1")


async def test_rights_that_were_given_later_are_taken_again(owner_url: str) -> None:
    """Also on single columns, and those that their holder gave on."""
    await write(owner_url)
    with psycopg.connect(owner_url, autocommit=True) as owner:
        owner.execute("GRANT ALL ON rl_orderbook_sessions TO anon WITH GRANT OPTION")
        owner.execute("GRANT SELECT (payload), UPDATE (payload) ON rl_raw_blocks TO authenticated")
        owner.execute("GRANT EXECUTE ON FUNCTION rl_spans TO PUBLIC")
        owner.execute("ALTER TABLE rl_markets DISABLE ROW LEVEL SECURITY")
    with psycopg.connect(change_url(owner_url, user="anon"), autocommit=True) as other:
        other.execute("GRANT SELECT ON rl_orderbook_sessions TO authenticated")
    assert rights(owner_url, "authenticated")

    async with open_connection(owner_url) as connection:
        await protect(connection)

    for role in OTHERS:
        assert rights(owner_url, role) == [], role
    with psycopg.connect(owner_url) as owner:
        assert owner.execute("SELECT rl_protect()").fetchone() == (0,)


async def test_rows_are_hidden_even_from_roles_with_rights(owner_url: str) -> None:
    """Row-level security is on for each table and partition; views read with the rights of who asks."""
    await write(owner_url)
    with psycopg.connect(owner_url) as owner:
        unprotected = owner.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND (relkind IN ('r', 'p') AND NOT relrowsecurity"
            "  OR relkind = 'v' AND NOT COALESCE('security_invoker=true' = ANY (reloptions), false))"
        ).fetchall()
        assert unprotected == []
        loose = owner.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " AND NOT EXISTS (SELECT FROM unnest(proconfig) AS c WHERE c LIKE 'search\\_path=%')"
        ).fetchall()
        assert loose == []
        owner.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO anon")
    with psycopg.connect(change_url(owner_url, user="anon")) as other:
        for name in (
            "rl_orderbook_sessions",
            "rl_raw_blocks",
            "rl_orderbook_deltas",
            "rl_orderbook_snapshots",
        ):
            assert other.execute(f"SELECT count(*) FROM {name}".encode()).fetchone() == (0,), name


@pytest.mark.parametrize("is_made_first", [True, False])
async def test_reader_reads_everything_and_changes_nothing(
    cluster: Cluster, owner_url: str, is_made_first: bool
) -> None:
    """A member of rl_reader sees what the owner sees, also when the role was made after the tables."""
    commands = ("CREATE ROLE rl_reader", "CREATE ROLE alice LOGIN IN ROLE rl_reader")
    with psycopg.connect(cluster.url, autocommit=True) as admin:
        if is_made_first:
            for command in commands:
                admin.execute(command)
            admin.execute("ALTER DEFAULT PRIVILEGES FOR ROLE recorder GRANT ALL ON TABLES TO rl_reader")
        await write(owner_url)
        if not is_made_first:
            for command in commands:
                admin.execute(command)
            assert (await trio.to_thread.run_sync(invoke, owner_url, "schema")).exit_code == 0
    with psycopg.connect(owner_url) as owner:
        owner.execute("SELECT rl_ensure_partitions(current_date + 4, current_date + 4)")

    reader_url = change_url(owner_url, user="alice")
    with psycopg.connect(owner_url) as owner, psycopg.connect(reader_url, autocommit=True) as reader:
        for name in relations(owner_url):
            count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))
            assert reader.execute(count).fetchone() == owner.execute(count).fetchone(), name
    reads = {(name, "SELECT") for name in relations(owner_url)}
    assert set(rights(owner_url, "alice")) == {
        *reads,
        ("rl_spans", "EXECUTE"),
        ("rl_proofs_between", "EXECUTE"),
    }
    assert {text for text in allowed(owner_url, "alice") if "count(*)" not in text} == {
        call for call in functions(owner_url) if "rl_spans" in call or "rl_proofs_between" in call
    }
    not_compared = "  tables, views and functions were not compared: this role may not make a schema\n"
    assert await _verify(reader_url) == await _verify(owner_url) + not_compared


async def test_defaults_stay_where_another_program_has_tables(owner_url: str) -> None:
    """Our own tables are protected there too; what the other program makes later is its matter."""
    with psycopg.connect(owner_url) as owner:
        owner.execute("CREATE TABLE orders (id integer)")
    await write(owner_url)
    with psycopg.connect(owner_url) as owner:
        owner.execute("CREATE TABLE more_orders (id integer)")
    assert {name for name, _ in rights(owner_url, "anon")} == {"orders", "more_orders"}


async def test_defaults_are_taken_in_a_schema_of_our_own(owner_url: str) -> None:
    """So that a table that somebody makes in it by hand is nobody's either."""
    with psycopg.connect(owner_url) as owner:
        owner.execute("ALTER DEFAULT PRIVILEGES FOR ROLE recorder REVOKE ALL ON TABLES FROM anon, PUBLIC")
    await write(owner_url)
    with psycopg.connect(owner_url) as owner:
        owner.execute("CREATE TABLE notes (id integer)")
    assert rights(owner_url, "authenticated") == []


async def _verify(url: str) -> str:
    result = await trio.to_thread.run_sync(invoke, url, "verify")
    assert result.exit_code == 0, result.output
    return result.output
