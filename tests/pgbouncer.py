"""A real PgBouncer before a PostgreSQL server, for the time of a block."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.service.processes import free_port
from tests.tcp_proxy import change_url

PoolMode: TypeAlias = Literal["session", "transaction", "statement"]

START_S_MAX = 10.0


@contextmanager
def open_pgbouncer(database_url: str, pool_mode: PoolMode, *, settings: str = "") -> Generator[str]:
    """
    A pooler for the database; yields its URL. `settings` are further lines of its configuration.

    Skips the test where PgBouncer is not installed.
    """
    program = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed")
    params = conninfo_to_dict(database_url)
    if params.get("password"):
        pytest.skip("the pooler of these tests can't log in with a password")
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="collector-pgbouncer-"))
    server = f"host={params['host']}" + (f" port={params['port']}" if params.get("port") else "")
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n{params['dbname']} = {server} dbname={params['dbname']} user={params['user']}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"pool_mode = {pool_mode}\nauth_type = any\n{settings}\n"
    )
    # PgBouncer refuses to run as root, and has to reach the server's socket.
    user = None
    if os.geteuid() == 0:
        user = Path(str(params["host"])).owner() if str(params["host"]).startswith("/") else "nobody"
        shutil.chown(folder, user)
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [program, str(folder / "pgbouncer.ini")], cwd=folder, user=user, stdout=log, stderr=log
        )
    try:
        url = change_url(database_url, host="127.0.0.1", port=port)
        _wait_until_it_answers(url, process, folder / "log")
        yield url
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _wait_until_it_answers(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    while True:
        try:
            psycopg.connect(url, autocommit=True, connect_timeout=2).close()
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        else:
            return
