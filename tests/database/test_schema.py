"""schema.sql and the migrations lead to the same schema, and a database says which version it has."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psycopg
import pytest

from collector.database import apply_schema
from collector.database._schema import FIRST_VERSION, find_migrations, known_version, read_schema
from collector.postgres import open_connection
from tests.clusters import programs_18
from tests.recording.recordings import invoke

SCHEMA_1: Final = Path(__file__).with_name("schema_1.sql")
"""The schema as it was in its first version. Never changed."""
VERSIONS: Final = b"SELECT version FROM rl_schema_versions ORDER BY 1"


def described(url: str) -> str:
    """Everything in the database but its rows, as PostgreSQL writes it out."""
    command = [str(programs_18() / "pg_dump"), "--schema-only", f"--dbname={url}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # Lines that differ from run to run.
    return "\n".join(
        line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))
    )


def test_migrations_are_numbered_without_a_hole() -> None:
    """Each enters the version that its name has, and schema.sql enters all of them."""
    migrations = find_migrations()
    assert list(migrations) == list(range(FIRST_VERSION + 1, known_version() + 1))
    for version, path in migrations.items():
        assert (
            f"INSERT INTO rl_schema_versions (version, oldest_program) VALUES ({version}," in path.read_text()
        )


async def test_migrations_lead_to_the_schema(make_database: Callable[[], str]) -> None:
    """The first version with all migrations is what an empty database gets."""
    migrated_url, new_url = make_database(), make_database()
    with psycopg.connect(migrated_url) as connection:
        connection.execute(SCHEMA_1.read_bytes())
    for url in (migrated_url, new_url):
        async with open_connection(url) as connection:
            assert await apply_schema(connection) == known_version()
    assert described(migrated_url) == described(new_url)
    for url in (migrated_url, new_url):
        with psycopg.connect(url) as connection:
            versions = [version for (version,) in connection.execute(VERSIONS)]
        assert versions == list(range(FIRST_VERSION, known_version() + 1))


def test_schema_by_hand(make_database: Callable[[], str]) -> None:
    """Applied with psql it is the same schema, which the program takes as its own."""
    by_hand_url, url = make_database(), make_database()
    command = [str(programs_18() / "psql"), "-q", "-v", "ON_ERROR_STOP=1", by_hand_url]
    subprocess.run(command, input=read_schema(), check=True, capture_output=True, text=True)
    for each in (by_hand_url, url):
        assert invoke(each, "schema").exit_code == 0
    assert described(by_hand_url) == described(url)


def test_nothing_is_changed_by_a_second_time(database_url: str) -> None:
    """`collector schema` may be repeated."""
    first = invoke(database_url, "schema")
    before = described(database_url)
    second = invoke(database_url, "schema")
    assert (
        first.output == second.output == "The tables are at schema version 1, in PostgreSQL schema public.\n"
    )
    assert described(database_url) == before


@pytest.mark.parametrize("oldest_program", [1, 900])
def test_database_of_a_newer_program(database_url: str, oldest_program: int) -> None:
    """It says itself whether an older program may use it."""
    assert invoke(database_url, "schema").exit_code == 0
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO rl_schema_versions (version, oldest_program) VALUES (900, %s)", (oldest_program,)
        )
    result = invoke(database_url, "schema")
    if oldest_program == 1:
        assert result.output == "The tables are at schema version 900, in PostgreSQL schema public.\n"
    else:
        assert result.exit_code == 2
        assert "has version 900 of the schema, for programs that know version 900" in result.output


def test_tables_of_a_version_without_numbers(database_url: str) -> None:
    """They can't be converted, and are moved like those of another program."""
    assert invoke(database_url, "schema").exit_code == 0
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP TABLE rl_schema_versions")
    result = invoke(database_url, "schema")
    assert result.exit_code == 2
    assert "collector schema --move-old-tables" in result.output


@pytest.mark.parametrize("command", [("verify",), ("rederive",), ("book", "A", "--at", "now")])
def test_reading_what_is_for_newer_programs_only(database_url: str, command: tuple[str, ...]) -> None:
    """A reading command can't know what the tables mean by now, and says so."""
    assert invoke(database_url, "schema").exit_code == 0
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO rl_schema_versions (version, oldest_program) VALUES (900, 900)")
    result = invoke(database_url, *command)
    assert result.exit_code == 1
    assert "run the newer program again" in result.output


def test_role_that_may_not_make_the_schema(
    new_role: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schema that is missing is made, or the one line names the command for an administrator."""
    role, url = new_role
    monkeypatch.setenv("RL_DATABASE_SCHEMA", "kalshi")
    result = invoke(url, "schema")
    assert result.exit_code == 1
    assert f'run CREATE SCHEMA kalshi AUTHORIZATION "{role}"' in result.output
