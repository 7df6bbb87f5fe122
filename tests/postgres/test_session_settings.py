"""The settings of a session are those that this program sets, not the defaults of the role."""

from collections.abc import Generator
from typing import Any, Final

import psycopg
import pytest

from collector.errors import StoreRejected
from collector.postgres import TrioConnection, open_connection, translate_errors
from tests.databases import hostile_role
from tests.pgbouncer import open_pgbouncer

EXPECTED: Final = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "client_encoding": "UTF8",
    "search_path": "public, pg_temp",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "row_security": "on",
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
}


@pytest.fixture
def hostile_url(database_url: str) -> Generator[str]:
    """The database as a role with hostile defaults sees it."""
    with hostile_role(database_url) as url:
        yield url


async def settings_of(connection: TrioConnection) -> dict[str, Any]:
    names = list(EXPECTED)
    cursor = await connection.execute("SELECT n, current_setting(n) FROM unnest(%s::text[]) AS n", (names,))
    return dict(await cursor.fetchall())


async def test_defaults_of_a_role_have_no_effect(hostile_url: str) -> None:
    """A direct connection has our settings, in a transaction and outside of one."""
    async with open_connection(hostile_url) as connection:
        assert await settings_of(connection) == EXPECTED
        async with connection.transaction():
            assert await settings_of(connection) == EXPECTED
        assert await settings_of(connection) == EXPECTED


async def test_every_transaction_through_a_pooler_has_the_settings(hostile_url: str) -> None:
    """Other clients of the pooler change the settings of the server connection; our transactions set them."""
    with open_pgbouncer(hostile_url, "transaction", settings="default_pool_size = 1") as url:
        async with open_connection(url, is_pooled=True) as connection:
            for _ in range(2):
                async with connection.transaction():
                    assert await settings_of(connection) == EXPECTED
                    async with connection.transaction():
                        assert await settings_of(connection) == EXPECTED
                with psycopg.connect(url, autocommit=True, prepare_threshold=None) as other:
                    other.execute("SET search_path = 'nowhere'")
                    other.execute("SET bytea_output = 'escape'")


async def test_pooled_statement_outside_of_a_transaction_is_refused(database_url: str) -> None:
    """It would run with anybody's settings."""
    async with open_connection(database_url, is_pooled=True) as connection:
        with pytest.raises(StoreRejected, match="in a transaction"), translate_errors():
            await connection.execute("SELECT 1")
        async with connection.transaction():
            await connection.execute("SELECT 1")
