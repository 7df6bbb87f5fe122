"""What is an obstacle to recording into a database, and what is only a risk."""

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
