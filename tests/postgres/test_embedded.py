"""
The embedded PostgreSQL: starts, stops whatever happens, and says plainly when it can't.

The folders lie directly under the system's temporary folder: pytest's own paths are too long for a Unix
socket.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import trio

from collector.errors import StartError
from collector.postgres import open_connection
from collector.postgres._embedded import open_embedded

# Opens the server, says where, and goes on until it is killed. SIGINT interrupts it like any program in the
# foreground; without that line it would inherit from a background run of the tests that SIGINT is ignored.
PROGRAM = """
import signal, sys, trio
from collector.postgres._embedded import open_embedded

signal.signal(signal.SIGINT, signal.default_int_handler)

async def main():
    async with open_embedded(sys.argv[1]) as url:
        print(url, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.fixture
def folder() -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="collector-embedded-") as name:
        yield Path(name) / "deep" / "data"


def is_running(folder: Path) -> bool:
    lock = folder / "postmaster.pid"
    if not lock.exists():
        return False
    return Path("/proc", lock.read_text().split("\n", 1)[0]).exists()


def start_program(folder: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("postgresql://")
    return process


def end_program(process: "subprocess.Popen[str]", number: int) -> None:
    process.send_signal(number)
    try:
        process.wait(timeout=20)
    finally:
        # One that does not end must not be left to the tests that follow.
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def test_keeps_its_data_from_one_run_to_the_next(folder: Path) -> None:
    """The server makes its folder at first use, stops at the end, and has its data when started again."""
    for turn in range(2):
        async with open_embedded(folder) as url, open_connection(url) as connection:
            await connection.execute("CREATE TABLE IF NOT EXISTS turns (turn int)")
            await connection.execute("INSERT INTO turns VALUES (%s)", (turn,))
            cursor = await connection.execute("SELECT array_agg(turn ORDER BY turn) FROM turns")
            assert await cursor.fetchone() == (list(range(turn + 1)),)

        assert not is_running(folder)


async def test_stops_after_an_error_and_after_a_cancellation(folder: Path) -> None:
    """The server is stopped when the block ends by an error, and when it is cancelled."""
    with pytest.raises(ValueError, match="ours"):
        async with open_embedded(folder):
            raise ValueError("ours")
    assert not is_running(folder)

    with trio.CancelScope() as scope:
        async with open_embedded(folder):
            assert is_running(folder)
            scope.cancel(reason="the test wants it so")
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert not is_running(folder)


async def test_two_blocks_share_one_server(folder: Path) -> None:
    """A second block in the same process uses the same server, and does not stop it under the first."""
    async with open_embedded(folder) as url:
        async with open_embedded(folder) as same_url:
            assert url == same_url
        async with open_connection(url) as connection:
            await connection.execute("SELECT 1")

    assert not is_running(folder)


async def test_server_of_a_killed_process_is_taken_over(folder: Path) -> None:
    """A server that a killed process left running is used, and stopped at the end."""
    process = await trio.to_thread.run_sync(start_program, folder)
    await trio.to_thread.run_sync(end_program, process, signal.SIGKILL)
    assert is_running(folder)

    async with open_embedded(folder) as url, open_connection(url) as connection:
        await connection.execute("SELECT 1")

    assert not is_running(folder)


async def test_ctrl_c_stops_the_server(folder: Path) -> None:
    """Ctrl-C in a program stops its server before the program ends."""
    process = await trio.to_thread.run_sync(start_program, folder)
    await trio.to_thread.run_sync(end_program, process, signal.SIGINT)

    assert not is_running(folder)


async def test_number_of_another_process_is_not_the_server(folder: Path) -> None:
    """A lock file naming a living process that is no PostgreSQL does not keep the server from starting."""
    async with open_embedded(folder):
        lock = (folder / "postmaster.pid").read_text()
    (folder / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lock.split("\n")[1:]]))

    async with open_embedded(folder) as url, open_connection(url) as connection:
        await connection.execute("SELECT 1")


def make_file(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("a file")


def make_other_files(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("not a database")


def make_old_version(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text("14\n")


def make_broken_cluster(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text("18\n")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make_file, "File exists"),
        (make_other_files, "holds other files"),
        (make_old_version, "holds data of PostgreSQL 14"),
        (make_broken_cluster, "can't run a PostgreSQL"),
    ],
    ids=["file", "other files", "old version", "broken cluster"],
)
async def test_unusable_folder_is_a_start_error(
    folder: Path, make: Callable[[Path], None], message: str
) -> None:
    """A folder that can't be used ends the start with one line that names it and says why."""
    make(folder)
    with pytest.raises(StartError, match=message) as caught:
        async with open_embedded(folder):
            pytest.fail("this must not start")

    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_path_with_a_space_is_a_start_error(tmp_path: Path) -> None:
    """A path that the wheel would break on is refused in words."""
    with pytest.raises(StartError, match="spaces"):
        async with open_embedded(tmp_path / "a b"):
            pytest.fail("this must not start")


@pytest.fixture
def locked_folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o500)
    return tmp_path


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_folder_that_is_not_writable_is_a_start_error(locked_folder: Path) -> None:
    """A folder without write permission is refused in words."""
    with pytest.raises(StartError, match="not writable"):
        async with open_embedded(locked_folder):
            pytest.fail("this must not start")
