"""
The writer of one session: batches into PostgreSQL, in order, each once; by way of the spool when it is away.

Theory of operation. While PostgreSQL takes what comes, one task takes batches from the backlog and writes
them. When a write fails, or takes long, or too much waits, a journal on disk comes in between, and two tasks:
one moves what is due from the backlog into the journal, the other one brings the journal's records into
PostgreSQL, as soon as it is there. When the journal is empty, writing is direct again. A batch leaves the
backlog only when it is in the database or on the disk.

What the database has confirmed is not safe yet: a server that takes over, or a backup, may lack the last
seconds. So the journal keeps it for the rewrite window. Each connection begins with a comparison: where the
database holds less of the session than it has confirmed, the journal brings the rest in again. What is not in
the journal any more is lost, which becomes an event of the session's stream and makes its books unknown.

The writer outlives the connection to the exchange: it ends when the session's row says how it ended and the
rewrite window has passed since, or, when the service stops, when everything is safely on the disk, for the
next start to bring it in. Cancelled, it has a last, shielded while for the same.
"""

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, cast

import trio
from attrs import define, field

from collector.clock import WallClock
from collector.errors import StoreError, StoreRejected, leaves_of
from collector.facts import ConnectionEvent
from collector.observe import RecorderState, SessionStats, StorePhase, get_logger
from collector.retry import Backoff, retry
from collector.session._backlog import Backlog
from collector.spool import Journal, SpoolFailed, SpoolFull, set_aside_if_alone
from collector.storage import Batch, Held, SessionEnding, SessionLink, SessionStore

DIRECT_S_MAX: Final = 2.0
"""A connection or a batch that takes longer: what comes meanwhile is safer on the disk than in memory."""
DIRECT_FRAMES_MAX: Final = 20_000
"""More waiting than this, and the database is slower than the exchange: half a tenth of what may wait."""
WRITE_S_MAX: Final = 60.0
"""A batch that takes longer is not slow: the server is stuck, and a new connection is tried."""
LAST_FLUSH_S_MAX: Final = 10.0
"""What a cancelled writer gets to make safe what is left; inside the drain time of the deployment."""
LAST_CHANCE_S: Final = 5.0
"""For a database to come back after a stop: as long as between two tries."""
RETRY_FIRST_S: Final = 0.2
RETRY_S_MAX: Final = 5.0
SPOOL_RETRY_S: Final = 1.0
SPOOLED_ROWS: Final = 2_000
"""Rows that make a batch due for the disk: each costs an fsync now and a transaction later."""

_log = get_logger("writer")


@define(eq=False)
class SessionWriter:
    """What the writer knows between two batches, and between two connections."""

    store: SessionStore
    journal: Journal
    backlog: Backlog
    stats: SessionStats
    state: RecorderState
    clock: WallClock
    rng: random.Random
    store_ready: trio.Event
    stopping: trio.Event
    note_event: Callable[[ConnectionEvent, str], None] = lambda event, detail: None
    """Called with what happens to the database, for the session's stream."""
    _database: str = field(default="", init=False)
    _newest_written: int = field(default=0, init=False)
    _is_last: bool = field(default=False, init=False)
    _has_link: bool = field(default=False, init=False)
    _tried: trio.Event = field(factory=trio.Event, init=False)

    @property
    def waiting_frames(self) -> int:
        """Frames that are not in the database yet, in memory and on the disk."""
        return self.backlog.waiting_frames + self.journal.waiting_frames

    async def run(self) -> None:
        """
        Write until the backlog is closed and empty, and the session's row is complete. Then stay for the
        rewrite window, or until the service stops.

        Cancelled, it waits for the feed to close the backlog, which it does in the same breath, and still
        makes safe what is left, as long as that takes no longer than LAST_FLUSH_S_MAX.
        """
        try:
            await self._write_all()
            if self.stats.is_safe:
                await self._stay()
        finally:
            # Not `except trio.Cancelled`: a nursery may raise several of them as a group.
            if not self.stats.is_kept:
                self._is_last = True
                with trio.move_on_after(LAST_FLUSH_S_MAX, shield=True):
                    await self._write_all()
            if not self.stats.is_kept:
                frames = self.backlog.waiting_frames
                _log.error("frames lost at the end", session=self.stats.session_id, frames=frames)

    async def _write_all(self) -> None:
        while not self.stats.is_safe:
            if self.journal.is_empty and not self._begins_without_store() and await self._write_directly():
                continue
            await self._write_through_spool()
            if not self.stats.is_safe and self._may_leave_spooled():
                frames = self.journal.waiting_frames
                _log.warning(
                    "left in the spool for the next start", session=str(self.stats.key), frames=frames
                )
                return

    def _begins_without_store(self) -> bool:
        """Whether the session is new and the database known to be away: then the disk is the safest place."""
        return self.stats.session_id is None and self.state.store.phase is StorePhase.AWAY

    # Directly.

    async def _write_directly(self) -> bool:
        """Write from the backlog into the database. False when that does not go well any more."""
        failure: Exception | None = None
        try:
            async with self._connect(DIRECT_S_MAX) as link:
                while self.journal.is_empty and (batch := await self.backlog.take()) is not None:
                    await self.journal.keep(batch)
                    await self._write(link, batch, DIRECT_S_MAX)
                    self.backlog.confirm()
                    await self.journal.confirm(batch)
                    self.journal.spool.forget_failure()
                    self._note_queue()
                    if self.backlog.waiting_frames > DIRECT_FRAMES_MAX:
                        return False
                if not self.journal.is_empty:
                    return False
                await self.journal.keep(self._ending())
                await self._end(link, self._ending())
        except* (StoreError, trio.TooSlowError) as group:
            failure = cast("Exception", leaves_of(group)[0])
        if failure is not None:
            self._note_failure(failure)
        return failure is None

    @asynccontextmanager
    async def _connect(self, s_max: float) -> AsyncGenerator[SessionLink]:
        """A connection on which the session has a row, and what the database has lost of it waits again."""
        with trio.fail_after(s_max) as connecting:
            await self.store_ready.wait()
            async with self.store.connect() as link:
                await self._compare(await link.begin())
                connecting.deadline = float("inf")
                yield link

    async def _compare(self, held: Held) -> None:
        """Compare what the database holds of the session with what it has confirmed."""
        self.stats.session_id = held.session_id
        if held.database != self._database:
            if self._database:
                _log.warning("database_changed", session=held.session_id, database=held.database)
                self.note_event(ConnectionEvent.STORE_CHANGED, held.database)
            self._database = self.state.store.database = held.database
        lost_batches = await self.journal.resume_after(held.last_batch)
        if lost_batches:
            last = held.last_batch + lost_batches
            self._note_lost(f"batches {held.last_batch + 1} to {last} were confirmed, and are gone")

    def _note_lost(self, detail: str) -> None:
        self.state.store.losses += 1
        _log.error("batches_lost", session=self.stats.session_id, detail=detail)
        self.note_event(ConnectionEvent.STORE_LOST, detail)

    async def _write(self, link: SessionLink, batch: Batch, s_max: float) -> None:
        began_s = trio.current_time()
        with trio.fail_after(s_max):
            await link.write(batch)
        self._note_written(batch, (trio.current_time() - began_s) * 1000)

    async def _end(self, link: SessionLink, ending: SessionEnding) -> None:
        with trio.fail_after(WRITE_S_MAX):
            self.state.store.chain_head = await link.end(ending)
        self.stats.is_safe = True

    def _ending(self) -> SessionEnding:
        assert self.backlog.ending is not None
        return self.backlog.ending

    # Through the spool.

    async def _write_through_spool(self) -> None:
        """Keep the backlog on the disk, and the journal going into the database until it is empty."""
        self._tried = trio.Event()
        direct_rows = self.backlog.batch_rows
        self.backlog.batch_rows = max(direct_rows, SPOOLED_ROWS)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._drain, nursery.cancel_scope.cancel, name="drain")
                # From the stop on, beside what still has to reach the disk: both have their time together.
                nursery.start_soon(self._end_last_chance, nursery.cancel_scope.cancel, name="last chance")
                if not self.stats.is_spooled:
                    await self._move_to_spool()
                if self._is_last:
                    nursery.cancel_scope.cancel(reason="all is on the disk, for the next start")
        finally:
            self.backlog.batch_rows = direct_rows

    async def _move_to_spool(self) -> None:
        while (batch := await self.backlog.take()) is not None:
            await self._append(batch)
            self.backlog.confirm()
            self._note_queue()
        await self._append(self._ending())
        self.stats.is_spooled = True

    async def _append(self, record: Batch | SessionEnding) -> None:
        """Append, however long there is no room; meanwhile the backlog fills, and then receiving stops."""
        told = ""
        while True:
            room = self.journal.spool.room.next
            try:
                await self.journal.append(record)
            except (SpoolFull, SpoolFailed) as error:
                if str(error) != told:
                    told = str(error)
                    _log.error("the spool takes nothing", session=self.stats.session_id, reason=told)
            else:
                return
            finally:
                self._tried.set()
            with trio.move_on_after(SPOOL_RETRY_S):
                await room.wait()

    async def _drain(self, finish: Callable[[], None]) -> None:
        """Bring the journal into the database, trying again and again; then `finish`."""
        # The batch that did not go in is to be on the disk before it is tried again: only then there is time.
        with trio.move_on_after(SPOOL_RETRY_S):
            await self._tried.wait()
        backoff = Backoff(self.rng, RETRY_FIRST_S, RETRY_S_MAX)
        batches = self.stats.batches

        async def pause(failure: Exception) -> None:
            nonlocal batches
            self._note_failure(failure)
            if self.stats.batches > batches:
                backoff.reset()
            batches = self.stats.batches
            await self._pause(backoff.next_delay_s())

        await retry(self._drain_once, (StoreError, SpoolFailed, trio.TooSlowError), pause)
        finish()

    async def _drain_once(self) -> None:
        """Write the journal over one connection, until it is empty."""
        try:
            async with self._connect(WRITE_S_MAX) as link:
                self._has_link = True
                await self._drain_on(link)
        finally:
            self._has_link = False

    async def _pause(self, delay_s: float) -> None:
        """Wait between two tries; for a service that stops every moment counts."""
        with trio.move_on_after(delay_s):
            await self.stopping.wait()
            await trio.sleep(min(delay_s, RETRY_FIRST_S))

    async def _drain_on(self, link: SessionLink) -> None:
        while (record := await self.journal.first()) is not None:
            if isinstance(record, Batch):
                await self._drain_batch(link, record)
            else:
                await self._end(link, record)
                await self.journal.advance()
            self._note_queue()

    async def _drain_batch(self, link: SessionLink, batch: Batch) -> None:
        """Write the first batch of the journal; set it aside where it alone is refused."""
        refusal: StoreRejected | None = None
        try:
            await self._write(link, batch, WRITE_S_MAX)
        except StoreRejected as error:
            refusal = error
        if refusal is None:
            await self.journal.advance()
            return
        with trio.fail_after(WRITE_S_MAX):
            if await set_aside_if_alone(link, self.journal, batch, refusal):
                self._note_lost(f"batch {batch.number} is refused: {refusal}")
        # The next batch is written over a new connection.
        raise refusal

    async def _end_last_chance(self, finish: Callable[[], None]) -> None:
        """Once the service stops: leave what is on the disk there when the database does not come back."""
        await self.stopping.wait()
        await trio.sleep(LAST_CHANCE_S)
        is_over = False
        while not is_over:
            await trio.sleep(RETRY_FIRST_S)
            is_over = self.stats.is_spooled and not self._has_link
        finish()

    # After the end.

    async def _stay(self) -> None:
        """Until the rewrite window has passed, be ready to write again what the database has lost."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._leave_at_stop, nursery.cancel_scope)
            backoff = Backoff(self.rng, RETRY_FIRST_S, RETRY_S_MAX)

            async def pause(failure: Exception) -> None:
                self._note_failure(failure)
                await trio.sleep(backoff.next_delay_s())

            while (until_s := self.journal.last_kept_until_s) is not None:
                await trio.sleep_until(until_s)
                await retry(self._write_missing, (StoreError, SpoolFailed, trio.TooSlowError), pause)
                await self.journal.remove_expired()
            nursery.cancel_scope.cancel(reason="the database has kept it")

    async def _leave_at_stop(self, scope: trio.CancelScope) -> None:
        await self.stopping.wait()
        scope.cancel(reason="the next start finds the journal")

    async def _write_missing(self) -> None:
        """Write what the database does not hold of the session any more."""
        async with self._connect(WRITE_S_MAX) as link:
            await self._drain_on(link)
            await self._end(link, self._ending())

    def _may_leave_spooled(self) -> bool:
        return self.stats.is_spooled and (self._is_last or self.stopping.is_set())

    # What others see of it.

    def _note_queue(self) -> None:
        self.stats.queued_frames = self.waiting_frames
        self.stats.spooled_frames = self.journal.waiting_frames

    def _note_written(self, batch: Batch, write_ms: float) -> None:
        if self.state.store.turn(StorePhase.AVAILABLE, self.clock()):
            _log.info("database_available")
        if batch.number <= self._newest_written:
            self.state.store.repeated_batches += 1
            return
        self._newest_written = batch.number
        rows = len(batch.facts)
        self.stats.batches += 1
        self.stats.written = self.stats.written + batch.counts
        self.stats.rows_written += rows
        self.stats.write_ms_last = write_ms
        self.stats.write_ms_max = max(write_ms, self.stats.write_ms_max or 0.0)
        self.state.rows_written += rows
        self.stats.ages.note_committed(batch.frames, self.clock())

    def _note_failure(self, failure: Exception) -> None:
        store = self.state.store
        store.write_failures += 1
        if store.note_failure(self.clock(), failure):
            session, refused = self.stats.session_id, store.is_refusing
            _log.warning("write_failed", retrying=True, session=session, refused=refused, reason=store.reason)
