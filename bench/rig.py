"""
What the measurements share: a PostgreSQL of their own, the programs as processes, and the accounts of three
witnesses. The simulator's file tells what was sent, the database what is in it, the kernel what it cost.

The database has PostgreSQL's own settings but for one: `track_commit_timestamp`. The ledger has only the time
at which a batch was formed, so the time at which it was safe has to come from the server. It writes ten bytes
more for each transaction.
"""

import os
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import psycopg
import trio
from attrs import define, field, frozen

from collector.postgres._embedded import open_embedded

ROOT: Final = Path(__file__).resolve().parent.parent
START_S_MAX: Final = 60.0
STOP_S_MAX: Final = 40.0
POLL_S: Final = 0.25
LAST_WORDS_CHARACTERS: Final = 4000
QUIET_S: Final = 1.0
"""So long nothing may have been sent before everything counts as sent."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

tape_option = click.option(
    "--tape",
    "tapes",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Recorded tape (.ndjson.gz) instead of generated flow; repeatable.",
)


# ---------------------------------------------------------------- folders and processes


@contextmanager
def temporary_folder() -> Generator[Path]:
    """A folder that is gone afterwards. Its path is short: a Unix socket lies in it."""
    folder = Path(tempfile.mkdtemp(prefix="collector-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@frozen
class Database:
    """A running PostgreSQL that nobody else uses."""

    url: str
    folder: Path

    def query(self, text: str) -> list[tuple[Any, ...]]:
        """Rows of one statement. Blocks."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(text.encode()).fetchall()

    def execute(self, text: str) -> None:
        """Run one statement without rows. Blocks."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(text.encode())

    def cpu_s(self) -> float:
        """Processor time of the server and all of its backends, past ones included."""
        postmaster = int((self.folder / "postmaster.pid").read_text().split("\n", 1)[0])
        backends = [stat for stat in _all_stats() if stat.parent == postmaster]
        return sum(stat.cpu_s for stat in backends) + _read_stat(postmaster).cpu_with_children_s


@asynccontextmanager
async def open_database(folder: Path) -> AsyncGenerator[Database]:
    """Run an empty PostgreSQL in a folder for the time of the block."""
    async with open_embedded(folder) as url:
        await trio.to_thread.run_sync(
            Database(url, folder).execute, "ALTER SYSTEM SET track_commit_timestamp = on"
        )
    async with open_embedded(folder) as url:
        yield Database(url, folder)


@asynccontextmanager
async def run_program(
    arguments: Sequence[str], environ: Mapping[str, str], log_path: Path
) -> AsyncGenerator[trio.Process]:
    """Run a command of the collector for the time of the block; then SIGTERM, and its orderly end."""
    process = await start_program(arguments, environ, log_path)
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            await stop_program(process)


async def start_program(arguments: Sequence[str], environ: Mapping[str, str], log_path: Path) -> trio.Process:
    """Start a command of the collector; whoever calls has to end it."""
    with _open_log(log_path) as log:
        process: trio.Process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "collector", *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**_bare_environ(), **environ},
            cwd=ROOT,
        )
    return process


async def stop_program(process: trio.Process) -> None:
    """SIGTERM, and time for an orderly end; SIGKILL when that takes too long."""
    if process.returncode is None:
        process.terminate()
    with trio.move_on_after(STOP_S_MAX):
        await process.wait()
        return
    process.kill()
    await process.wait()


def _open_log(path: Path) -> Any:  # noqa: ANN401 - what subprocess takes as a file
    return path.open("wb")


def _bare_environ() -> dict[str, str]:
    """This process's environment without anything that configures the collector."""
    names = ("KALSHI_", "RL_", "ORDERBOOK_", "DATABASE_", "HOST", "PORT")
    return {name: value for name, value in os.environ.items() if not name.startswith(names)}


def end_on_sigterm() -> None:
    """Let SIGTERM do what Ctrl-C does: everything that was started is ended, and folders are removed."""
    # Trio knows where a SIGINT may strike, and of no other signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def wait_until(what: str, is_so: Callable[[], bool], process: trio.Process, seconds_max: float) -> None:
    """Poll a condition in a thread. An error when the process is gone before, or the time is over."""
    with trio.move_on_after(seconds_max):
        while True:
            if await trio.to_thread.run_sync(is_so):
                return
            if process.returncode is not None:
                raise click.ClickException(f"{what}: the program has ended with {process.returncode}")
            await trio.sleep(POLL_S)
    raise click.ClickException(f"{what}: not within {seconds_max:g} s")


# ---------------------------------------------------------------- what the kernel tells


@frozen
class ProcessStat:
    """Processor time of one process, and of its children that have ended."""

    parent: int
    cpu_s: float
    cpu_with_children_s: float


def _read_stat(process: int) -> ProcessStat:
    # The name in parentheses may hold anything: what counts comes behind the last of them.
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    user, system, user_children, system_children = (int(text) / _TICKS_PER_S for text in fields[11:15])
    return ProcessStat(int(fields[1]), user + system, user + system + user_children + system_children)


def _all_stats() -> list[ProcessStat]:
    stats = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                stats.append(_read_stat(int(path.name)))
            except (FileNotFoundError, ProcessLookupError):
                continue  # gone since it was listed
    return stats


def cpu_s_of(process: int) -> float:
    """User and system time of a process so far."""
    return _read_stat(process).cpu_s


def peak_mb_of(process: int) -> float:
    """The most memory that a process has held."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ValueError("no VmHWM")


# ---------------------------------------------------------------- what the simulator and the database tell


@define
class SentFrames:
    """Counts the lines of the simulator's account as they are added."""

    path: Path
    count: int = 0
    _offset_bytes: int = field(default=0, init=False)

    def read(self) -> int:
        """How many frames were sent so far. Blocks."""
        with self.path.open("rb") as file:
            file.seek(self._offset_bytes)
            while piece := file.read(2**20):
                self._offset_bytes += len(piece)
                self.count += piece.count(b"\n")
        return self.count


@frozen
class Tally:
    """What the database holds: by the ledger, and counted."""

    batches: int
    frames: int
    rows: int
    gaps: int
    rejects: int
    sessions: int
    raw_frames: int
    counted_rows: int


TALLY: Final = """
    SELECT count(*), coalesce(sum(last_frame - first_frame + 1), 0)::bigint,
           coalesce(sum(delta_rows + snapshot_rows + trade_rows), 0)::bigint,
           coalesce(sum(gap_rows), 0)::bigint, coalesce(sum(reject_rows), 0)::bigint,
           count(DISTINCT session_id),
           (SELECT coalesce(sum(last_frame - first_frame + 1), 0)::bigint FROM rl_raw_blocks),
           (SELECT count(*) FROM rl_delta_rows) + (SELECT count(*) FROM rl_snapshot_rows)
           + (SELECT count(*) FROM rl_trade_rows)
      FROM rl_write_ledger"""

LEDGER_FRAMES: Final = "SELECT coalesce(sum(last_frame - first_frame + 1), 0)::bigint FROM rl_write_ledger"


def read_tally(database: Database) -> Tally:
    """Count everything. Blocks, and takes as long as reading all rows does."""
    return Tally(*database.query(TALLY)[0])


def read_ledger_frames(database: Database) -> int:
    """Frames by the ledger; none before the collector, which listens already, has made the tables. Blocks."""
    try:
        return int(database.query(LEDGER_FRAMES)[0][0])
    except psycopg.errors.UndefinedTable:
        return 0


def read_losses(sent_frames: int, tally: Tally) -> list[str]:
    """What is not as it must be when everything that was sent is in the database, once."""
    pairs = {
        "frames by the ledger": (tally.frames, sent_frames),
        "frames in raw blocks": (tally.raw_frames, sent_frames),
        "rows in the tables": (tally.counted_rows, tally.rows),
    }
    losses = [f"{what}: {found:,} of {due:,}" for what, (found, due) in pairs.items() if found != due]
    if tally.rejects:
        losses.append(f"rejected frames: {tally.rejects:,}")
    return losses


def read_sent(path: Path) -> dict[int, list[int]]:
    """A hash of every frame that each connection was sent, in order, by the simulator's account. Blocks."""
    sent: dict[int, list[int]] = {}
    with path.open("rb") as lines:
        for line in lines:
            entry = _sent_decoder.decode(line)
            sent.setdefault(entry.connection, []).append(hash(entry.frame))
    return sent


class _Sent(msgspec.Struct):
    connection: int
    frame: str


_sent_decoder = msgspec.json.Decoder(_Sent)


# ---------------------------------------------------------------- a recording


@define(eq=False)
class Recording:
    """A simulator and a collector at work, from the moment at which the collector listens."""

    database: Database
    collector: trio.Process
    log_path: Path
    sent: SentFrames
    _cpu_s_before: float
    _database_cpu_s_before: float

    async def wait_committed(self, frames_due: int, seconds_max: float) -> None:
        """Wait until so many frames, and everything else that was sent, are in the ledger."""
        quiet_since_s = time.monotonic()
        seen = (0, 0)

        def is_committed() -> bool:
            nonlocal seen, quiet_since_s
            now = (self.sent.read(), read_ledger_frames(self.database))
            if now != seen:
                seen, quiet_since_s = now, time.monotonic()
            is_quiet = time.monotonic() - quiet_since_s >= QUIET_S
            return is_quiet and now[0] >= frames_due and now[0] == now[1]

        await wait_until("everything committed", is_committed, self.collector, seconds_max)

    def collector_cpu_s(self) -> float:
        """Processor time of the collector since it listens."""
        return cpu_s_of(self.collector.pid) - self._cpu_s_before

    def database_cpu_s(self) -> float:
        """Processor time of PostgreSQL since the collector listens."""
        return self.database.cpu_s() - self._database_cpu_s_before

    def peak_mb(self) -> float:
        """The most memory that the collector has held."""
        return peak_mb_of(self.collector.pid)

    def complaints(self) -> list[str]:
        """Lines of the collector's log that are warnings or worse."""
        lines = self.log_path.read_text(errors="replace").splitlines()
        return [line for line in lines if '"level": "warning"' in line or '"level": "error"' in line]


@asynccontextmanager
async def open_recording(
    database: Database, folder: Path, simulate: Sequence[str]
) -> AsyncGenerator[Recording]:
    """
    Run simulator and collector for the time of the block. The collector is stopped first, in order.

    `simulate` are the simulator's options. The collector has its default settings.
    """
    env_path, account_path = folder / "simulator.env", folder / "account.ndjson"
    log_path = folder / "collector.log"
    arguments = ["simulate", *simulate, "--write-env", str(env_path), "--account", str(account_path)]
    async with run_program(arguments, {}, folder / "simulator.log") as simulator:
        await wait_until("simulator", env_path.exists, simulator, START_S_MAX)
        environ = {
            **await trio.to_thread.run_sync(read_env_file, env_path),
            "DATABASE_URL": database.url,
            "HOST": "127.0.0.1",
            "PORT": str(free_port()),
            "RL_LOG_FORMAT": "json",
            "RL_SPOOL_DIR": str(folder / "spool"),
        }
        try:
            async with run_program(["run"], environ, log_path) as collector:
                listens = partial(has_line, log_path, "Listening on")
                await wait_until("collector", listens, collector, START_S_MAX)
                yield Recording(
                    database,
                    collector,
                    log_path,
                    SentFrames(account_path),
                    cpu_s_of(collector.pid),
                    database.cpu_s(),
                )
        finally:
            # The folder is about to go, and with it the only account of what went wrong.
            if collector.returncode != 0:
                click.echo(f"the collector has ended with {collector.returncode}; its last words:", err=True)
                click.echo(log_path.read_text(errors="replace")[-LAST_WORDS_CHARACTERS:], err=True)


def has_line(path: Path, beginning: str) -> bool:
    """Whether a line of a file begins so."""
    return any(line.startswith(beginning) for line in path.read_text(errors="replace").splitlines())


def read_env_file(path: Path) -> dict[str, str]:
    """What the simulator's file of variables says."""
    pairs = (shlex.split(line)[0].partition("=") for line in path.read_text().splitlines())
    return {name: value for name, _, value in pairs}


# ---------------------------------------------------------------- words and numbers


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: Sequence[float], form: str) -> str:
    """Smallest, middle and largest value; the value alone when there is one."""
    if len(values) == 1:
        return format(values[0], form)
    numbers = (min(values), statistics.median(values), max(values))
    return " / ".join(format(number, form) for number in numbers)


def print_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values under a title."""
    width = max(len(name) for name, _ in rows)
    click.echo(title)
    for name, value in rows:
        click.echo(f"  {name:<{width}}  {value}")


def finish(losses: Sequence[str]) -> None:
    """End the program: exit status 1 when something was lost."""
    for loss in losses:
        click.echo(f"LOST  {loss}")
    sys.exit(1 if losses else 0)
