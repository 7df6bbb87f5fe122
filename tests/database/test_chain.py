"""The chain is read where the database may be gone at any moment."""

import psycopg
import pytest

from collector.database import apply_schema
from collector.database._chain import fetch_chain_head
from collector.errors import StoreUnavailable
from collector.postgres import open_connection


async def test_newest_hash_over_a_connection_that_was_cut(database_url: str) -> None:
    """The maintenance task reads it in each round, and waits for the database as for any other answer."""
    async with open_connection(database_url) as connection:
        await apply_schema(connection)
        assert await fetch_chain_head(connection) == ""
        with psycopg.connect(database_url) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
        with pytest.raises(StoreUnavailable):
            await fetch_chain_head(connection)
