"""What is an obstacle to recording into a database, and what is only a risk."""

import re
from typing import Any

import attrs
import pytest

from collector.database import apply_schema
from collector.database._preflight import (
    RIGHTS,
    DatabaseFacts,
    Relation,
    Risk,
    fetch_database_facts,
    find_obstacle,
    find_risks,
)
from collector.database._schema import SchemaVersion
from collector.errors import StoreRejected, StoreUnsuitable
from collector.postgres import open_connection

GOOD = DatabaseFacts(
    schema="public",
    role="recorder",
    encoding="UTF8",
    has_fsync=True,
    is_standby=False,
    replication_role="origin",
    may_use_schema=True,
    may_create=True,
    version=SchemaVersion(1, 1),
)
SESSIONS = Relation(
    "rl_orderbook_sessions",
    is_view=False,
    is_owned=True,
    rights=frozenset(RIGHTS),
    columns=frozenset({"session_id", "session_key", "recorder_key"}),
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"is_standby": True}, "standby"),
        (
            {"may_use_schema": None, "may_create": None, "may_create_schema": False},
            'CREATE SCHEMA public AUTHORIZATION "recorder"',
        ),
        ({"may_create": False}, 'GRANT USAGE, CREATE ON SCHEMA public TO "recorder"'),
        ({"may_use_schema": False}, 'GRANT USAGE, CREATE ON SCHEMA public TO "recorder"'),
        ({"role": 'a"b', "may_create": False}, 'TO "a""b"'),
        ({"relations": (attrs.evolve(SESSIONS, is_owned=False),)}, "OWNER TO"),
        (
            {"relations": (attrs.evolve(SESSIONS, rights=frozenset({"SELECT", "INSERT"})),)},
            "GRANT SELECT, INSERT, UPDATE ON public.rl_orderbook_sessions",
        ),
    ],
)
def test_an_administrator_can_mend_it(change: dict[str, Any], words: str) -> None:
    """The obstacle names the command that helps, and is none that needs other settings."""
    obstacle = find_obstacle(attrs.evolve(GOOD, **change))
    assert type(obstacle) is StoreRejected
    assert words in str(obstacle)


@pytest.mark.parametrize(
    "relation",
    [
        attrs.evolve(SESSIONS, columns=frozenset({"id", "started_at"})),
        attrs.evolve(SESSIONS, is_view=True),
        attrs.evolve(SESSIONS, name="rl_orderbook_deltas"),
    ],
    ids=["columns", "view for table", "table for view"],
)
def test_tables_of_another_program_need_other_settings(relation: Relation) -> None:
    """They are named, before anything that an administrator could mend."""
    obstacle = find_obstacle(attrs.evolve(GOOD, relations=(relation,), may_create=False))
    assert type(obstacle) is StoreUnsuitable
    assert relation.name in str(obstacle)


def test_rights_that_are_not_used_are_not_required() -> None:
    """Batches are only inserted: an owner may forbid itself to update them."""
    ledger = Relation(
        "rl_write_ledger",
        is_view=False,
        is_owned=True,
        rights=frozenset({"SELECT", "INSERT"}),
        columns=frozenset({"batch_number", "first_frame"}),
    )
    assert find_obstacle(attrs.evolve(GOOD, relations=(ledger, SESSIONS))) is None


def test_risks() -> None:
    """What should be known, and does not keep anything from being recorded."""
    assert find_risks(GOOD) == frozenset()
    assert find_risks(attrs.evolve(GOOD, encoding="SQL_ASCII")) == frozenset()
    assert find_risks(attrs.evolve(GOOD, has_fsync=False)) == {Risk.FSYNC_OFF}
    assert find_risks(attrs.evolve(GOOD, encoding="LATIN1")) == {Risk.LIMITED_ENCODING}
    assert find_risks(attrs.evolve(GOOD, replication_role="replica")) == {Risk.TRIGGERS_OFF}
    assert find_risks(attrs.evolve(GOOD, others_may_create=True)) == {Risk.OTHERS_MAY_CREATE}
    assert find_risks(attrs.evolve(GOOD, has_triggers=True)) == {Risk.FOREIGN_TRIGGERS}
    assert find_obstacle(attrs.evolve(GOOD, has_fsync=False, encoding="LATIN1")) is None


async def test_own_tables_are_no_obstacle(postgres_15_url: str) -> None:
    """A new database and one with our schema are accepted; the server reports that it runs without fsync."""
    async with open_connection(postgres_15_url) as connection:
        for has_schema in (False, True):
            facts = await fetch_database_facts(connection)
            assert find_obstacle(facts) is None
            assert bool(facts.relations) == has_schema
            assert find_risks(facts) == {Risk.FSYNC_OFF}
            await apply_schema(connection)


async def test_renamed_schema(database_url: str) -> None:
    """Its functions would work in a new schema of the old name: refused, with the command that helps."""
    async with open_connection(database_url, schema="old") as connection:
        await apply_schema(connection)
        await connection.execute("ALTER SCHEMA old RENAME TO new")
    async with open_connection(database_url, schema="new") as connection:
        for _ in range(20):
            obstacle = find_obstacle(await fetch_database_facts(connection))
            if obstacle is None:
                break
            found = re.search(r"run (ALTER FUNCTION .*), and so for all", str(obstacle))
            assert found is not None, obstacle
            await connection.execute(found[1].encode())
        assert find_obstacle(await fetch_database_facts(connection)) is None
        assert await apply_schema(connection) == 1


async def test_what_others_put_into_the_schema(database_url: str, new_role: tuple[str, str]) -> None:
    """A function with one of our names stops nothing; triggers, and a right to create, are risks."""
    other, _ = new_role
    async with open_connection(database_url) as connection:
        await apply_schema(connection)
        assert find_risks(await fetch_database_facts(connection)) <= {Risk.FSYNC_OFF}
        await connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        await connection.execute(f"SET ROLE {other}")
        await connection.execute("CREATE FUNCTION rl_spans(text) RETURNS int LANGUAGE sql AS 'SELECT 1'")
        await connection.execute("RESET ROLE")
        await connection.execute(
            "CREATE FUNCTION copy_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
        )
        await connection.execute(
            "CREATE TRIGGER spy AFTER INSERT ON rl_markets FOR EACH ROW EXECUTE FUNCTION copy_row()"
        )
        facts = await fetch_database_facts(connection)
        assert find_obstacle(facts) is None
        assert find_risks(facts) >= {Risk.OTHERS_MAY_CREATE, Risk.FOREIGN_TRIGGERS}
