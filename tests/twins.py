"""Twins of the disk and of the database, in memory: what they hold can be read, and they fail on request."""

import errno
import os
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar
from uuid import UUID

import trio
from attrs import define, field, frozen
from typing_extensions import override

from collector.errors import LedgerConflict, StoreChanged, StoreRejected, StoreUnavailable
from collector.facts import Fact, ReceivedFrame
from collector.rawblocks import BlockContent
from collector.spool._disk import Disk
from collector.storage import Batch, Held, SessionEnding, SessionLink, SessionOpening, SessionStore
from tests.frames import RECEIVED_US

T = TypeVar("T")

OPENING = SessionOpening(
    key=UUID(int=7),
    recorder_key=5,
    market_tickers=("A", "B"),
    ws_url="ws://127.0.0.1/",
    environment="demo",
    code_version="1",
    decoder_version=1,
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
    async def write(self, name: str, offset: int, data: bytes, *, is_durable: bool = True) -> None:
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
    `is_refusing` answers every write with a refusal, as for a missing right or table. `refuses` names batches
    that are refused alone.
    """

    rng: random.Random
    sessions: dict[UUID, TwinSession] = field(factory=dict[UUID, TwinSession])
    key: UUID = field(factory=lambda: UUID(int=1))
    is_away: bool = False
    is_refusing: bool = False
    refuses: Callable[[Batch], bool] = lambda batch: False
    cut_share: float = 0.0
    call_s: float = 0.002
    _commits: list[tuple[float, Callable[[], object]]] = field(
        factory=list[tuple[float, Callable[[], object]]]
    )
    """When what was committed, and how to take it back."""

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

    def lose_commits_since(self, since_s: float) -> int:
        """Become an older state of itself: take back what was committed since then. Returns how much."""
        lost = 0
        while self._commits and self._commits[-1][0] >= since_s:
            self._commits.pop()[1]()
            lost += 1
        return lost

    def become_empty(self) -> None:
        """Be replaced by a new database."""
        self.sessions.clear()
        self._commits.clear()
        self.key = UUID(int=self.key.int + 1)

    def begin(self, opening: SessionOpening) -> Held:
        """Make a session, or find it."""
        session = self.sessions.get(opening.key)
        if session is None:
            session = self.sessions[opening.key] = TwinSession(len(self.sessions) + 1, opening)
            self._commit(lambda: self.sessions.pop(opening.key, None))
        return Held(session.session_id, max(session.batches, default=0), str(self.key))

    def write(self, key: UUID, expected: "TwinPlace", batch: Batch) -> None:
        """Store a batch after the one that is expected to be the newest. The same batch again is no error."""
        session = self.sessions.get(key)
        if session is not None and batch.number in session.batches:
            if list(session.batches[batch.number].frames) != list(batch.frames):
                raise LedgerConflict(f"batch {batch.number} is stored with another content")
            return
        if session is None or expected != TwinPlace(self.key, max(session.batches, default=0)):
            raise StoreChanged("the newest batch is another one")
        if self.refuses(batch):
            raise StoreRejected(f"batch {batch.number} is refused")
        session.batches[batch.number] = batch
        self._commit(lambda: session.batches.pop(batch.number, None))

    def end(self, key: UUID, ending: SessionEnding) -> None:
        """Store how a session ended."""
        session = self.sessions.get(key)
        if session is None:
            raise StoreChanged("the session is not there")
        before, session.ending = session.ending, ending
        self._commit(lambda: setattr(session, "ending", before))

    def _commit(self, undo: Callable[[], object]) -> None:
        self._commits.append((trio.current_time(), undo))


@frozen
class TwinPlace:
    """Which database a session is in, and its newest batch there."""

    key: UUID
    last_batch: int


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
    place: TwinPlace | None = None

    @override
    async def begin(self) -> Held:
        database = self.store.database
        held = await self._call(lambda: database.begin(self.store.opening))
        self.place = TwinPlace(database.key, held.last_batch)
        return held

    @override
    async def write(self, batch: Batch) -> None:
        assert self.place is not None
        place = self.place
        await self._call(lambda: self.store.database.write(self.store.opening.key, place, batch))
        self.place = TwinPlace(place.key, max(place.last_batch, batch.number))

    @override
    async def try_out(self, batch: Batch) -> None:
        await self._call(lambda: None)
        if self.store.database.refuses(batch):
            raise StoreRejected(f"batch {batch.number} is refused")

    @override
    async def end(self, ending: SessionEnding) -> str:
        await self._call(lambda: self.store.database.end(self.store.opening.key, ending))
        return "00"

    async def _call(self, work: Callable[[], T]) -> T:
        """One statement: it takes its time, and may be cut off before or after it has worked."""
        database = self.store.database
        await trio.sleep(database.call_s * database.rng.uniform(0.5, 2))
        is_cut = database.rng.random() < database.cut_share
        if database.is_away or (is_cut and database.rng.random() < 0.5):
            raise StoreUnavailable("the connection was cut")
        if not self.store.is_alive():
            raise StoreUnavailable("a dead process has no connection")
        if database.is_refusing:
            raise StoreRejected("permission denied")
        result = work()
        if is_cut:
            raise StoreUnavailable("the connection was cut, and nobody knows when")
        return result
