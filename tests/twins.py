"""Twins of the disk and of the database, in memory: what they hold can be read, and they fail on request."""

import errno
import os
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import trio
from attrs import define, field
from typing_extensions import override

from collector.errors import StoreUnavailable
from collector.facts import Fact, ReceivedFrame
from collector.rawblocks import BlockContent
from collector.spool._journal import Disk
from collector.storage import Batch, SessionEnding, SessionLink, SessionOpening, SessionStore
from tests.frames import RECEIVED_US

OPENING = SessionOpening(
    key=UUID(int=7),
    recorder_key=5,
    market_tickers=("A", "B"),
    ws_url="ws://127.0.0.1/",
    environment="demo",
    code_version="1",
    sample_rate=1,
    use_yes_price=False,
    started_us=RECEIVED_US,
)


@define(eq=False)
class MemoryDisk(Disk):
    """
    Files that live as long as the test. `files` is what is on the disk.

    `bytes_max` makes it full: a write that does not fit fails and leaves nothing. `is_off` lets whatever
    comes through it have no effect, as for a process that is dead already.
    """

    files: dict[str, bytes] = field(factory=dict[str, bytes])
    bytes_max: int | None = None
    is_off: bool = False
    write_s: float = 0.0
    """What a write takes; who is cancelled meanwhile has it done all the same, as with a thread."""
    torn_bytes: int = 0
    """So much of a write that comes through a dead process's hands still reaches the disk, once."""

    @override
    async def write(self, name: str, offset: int, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        with trio.CancelScope(shield=True):
            await trio.sleep(self.write_s)
        if self.is_off:
            data, self.torn_bytes = data[: self.torn_bytes], 0
            if not data:
                return
        held = sum(len(content) for content in self.files.values())
        if self.bytes_max is not None and held + len(data) > self.bytes_max:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.files[name] = self.files.get(name, b"")[:offset] + data

    @override
    async def read(self, name: str, offset: int, size: int) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.files[name][offset : offset + size]

    @override
    async def remove(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        if not self.is_off:
            del self.files[name]

    @override
    async def rename(self, name: str, new_name: str) -> None:
        await trio.lowlevel.checkpoint()
        if not self.is_off:
            self.files[new_name] = self.files.pop(name)

    @override
    async def sizes(self) -> dict[str, int]:
        await trio.lowlevel.checkpoint()
        return {name: len(content) for name, content in self.files.items()}


@define(eq=False)
class TwinSession:
    """What the database holds of one session."""

    session_id: int
    opening: SessionOpening
    batches: dict[int, Batch] = field(factory=dict[int, Batch])
    ending: SessionEnding | None = None

    @property
    def frames(self) -> list[ReceivedFrame]:
        """All recorded frames, in the order of batches."""
        return [frame for number in sorted(self.batches) for frame in self.batches[number].frames]

    @property
    def stream(self) -> BlockContent:
        """All recorded frames and notes."""
        notes = [note for number in sorted(self.batches) for note in self.batches[number].notes]
        return BlockContent(tuple(self.frames), tuple(notes))

    @property
    def facts(self) -> list[Fact]:
        """All that became rows, in the order of batches."""
        return [fact for number in sorted(self.batches) for fact in self.batches[number].facts]


@define(eq=False)
class TwinDatabase:
    """
    PostgreSQL as a recorder sees it: batches go in whole and once; it is away, slow, or cuts a call off.

    `cut_share` is the share of calls that lose their connection, half of them after their work was committed.
    """

    rng: random.Random
    sessions: dict[UUID, TwinSession] = field(factory=dict[UUID, TwinSession])
    is_away: bool = False
    cut_share: float = 0.0
    call_s: float = 0.002

    def open_store(self, opening: SessionOpening, is_alive: Callable[[], bool]) -> "TwinStore":
        """The store of one session, for a process that works only as long as it is alive."""
        return TwinStore(self, opening, is_alive)

    def close_orphans(self) -> None:
        """What the next start does with sessions whose process is gone and which nobody ended."""
        for session in self.sessions.values():
            if session.ending is None:
                frames = session.frames
                last_us = frames[-1].received_us if frames else session.opening.started_us
                session.ending = SessionEnding(last_us, "error", "recorder_died", None)


@define(eq=False)
class TwinStore(SessionStore):
    """One session's store in the twin."""

    database: TwinDatabase
    opening: SessionOpening
    is_alive: Callable[[], bool]

    @override
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[SessionLink]:
        await trio.sleep(self.database.call_s)
        if self.database.is_away:
            raise StoreUnavailable("connection refused")
        yield _TwinLink(self)


@define(eq=False)
class _TwinLink(SessionLink):
    store: TwinStore

    @override
    async def begin(self) -> int:
        await self._call(self._begin)
        return self.store.database.sessions[self.store.opening.key].session_id

    @override
    async def write(self, batch: Batch) -> None:
        await self._call(lambda: self._session().batches.setdefault(batch.number, batch))

    @override
    async def end(self, ending: SessionEnding) -> None:
        await self._call(lambda: setattr(self._session(), "ending", ending))

    def _begin(self) -> None:
        sessions = self.store.database.sessions
        opening = self.store.opening
        sessions.setdefault(opening.key, TwinSession(len(sessions) + 1, opening))

    def _session(self) -> TwinSession:
        return self.store.database.sessions[self.store.opening.key]

    async def _call(self, work: Callable[[], object]) -> None:
        """One statement: it takes its time, and may be cut off before or after it has worked."""
        database = self.store.database
        await trio.sleep(database.call_s * database.rng.uniform(0.5, 2))
        is_cut = database.rng.random() < database.cut_share
        if database.is_away or (is_cut and database.rng.random() < 0.5):
            raise StoreUnavailable("the connection was cut")
        if not self.store.is_alive():
            raise StoreUnavailable("a dead process has no connection")
        work()
        if is_cut:
            raise StoreUnavailable("the connection was cut, and nobody knows when")
