"""
The writer of one session: batches into PostgreSQL, in order, each once.

One task, on a connection of its own. It outlives the connection to the exchange: it ends when everything that
was received is in the database and the session's row says how it ended. While PostgreSQL is away the batch
stays in the backlog, and it comes again. When it is cancelled it has a last, shielded while to write what is
left.
"""

import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import trio
from attrs import define, field

from collector.clock import WallClock
from collector.errors import StoreUnavailable
from collector.observe.logs import get_logger
from collector.observe.state import RecorderState, SessionStats, StorePhase
from collector.session.backlog import Backlog
from collector.store.batch import (
    Batch,
    SessionOpening,
    close_session,
    ensure_partitions,
    fetch_market_ids,
    open_session,
    write_batch,
)
from collector.store.connection import TrioConnection
from collector.store.lexicon import LexiconBuilder
from collector.supervise import backoff_delays

WRITE_S_MAX: Final = 60.0
"""A batch that takes longer is not slow: the server is stuck, and a new connection is tried."""
LAST_FLUSH_S_MAX: Final = 10.0
"""What a cancelled writer gets to write what is left; inside the drain time of the deployment."""
RETRY_FIRST_S: Final = 0.2
RETRY_S_MAX: Final = 5.0

_log = get_logger("writer")


@define(eq=False)
class SessionWriter:
    """What the writer knows between two batches, and between two connections."""

    opening: SessionOpening
    backlog: Backlog
    stats: SessionStats
    state: RecorderState
    connect: Callable[[], AbstractAsyncContextManager[TrioConnection]]
    clock: WallClock
    rng: random.Random
    _market_ids: dict[str, int] = field(factory=dict[str, int], init=False)
    _known_days: set[int] = field(factory=set[int], init=False)
    _lexicons: LexiconBuilder = field(factory=LexiconBuilder, init=False)
    _stored_lexicon: int = field(default=0, init=False)

    async def run(self) -> None:
        """
        Write until the backlog is closed and empty, and the session's row is complete.

        Cancelled, it waits for the feed to close the backlog, which it does in the same breath, and still
        writes what is left, as long as that takes no longer than LAST_FLUSH_S_MAX.
        """
        try:
            await self._write_all()
        except trio.Cancelled:
            with trio.move_on_after(LAST_FLUSH_S_MAX, shield=True):
                await self._write_all()
            if not self.stats.is_safe:
                frames = self.backlog.waiting_frames
                _log.error("frames lost at the end", session=self.stats.session_id, frames=frames)
            raise

    async def _write_all(self) -> None:
        delays = backoff_delays(self.rng, first_s=RETRY_FIRST_S, s_max=RETRY_S_MAX)
        while not self.stats.is_safe:
            batches = self.stats.batches
            failure: BaseException | None = None
            try:
                async with self.connect() as connection:
                    await self._write_on(connection)
            except* (StoreUnavailable, trio.TooSlowError) as group:
                failure = group.exceptions[0]
            if failure is None:
                return
            self._note_failure(failure)
            if self.stats.batches > batches:
                delays = backoff_delays(self.rng, first_s=RETRY_FIRST_S, s_max=RETRY_S_MAX)
            await trio.sleep(next(delays))

    async def _write_on(self, connection: TrioConnection) -> None:
        """Write on one connection, for as long as it holds."""
        if self.stats.session_id is None:
            with trio.fail_after(WRITE_S_MAX):
                self.stats.session_id = await open_session(connection, self.opening)
        while (batch := await self.backlog.take()) is not None:
            await self._write(connection, batch)
            self.backlog.confirm()
            self.stats.queued_frames = self.backlog.waiting_frames
        ending = self.backlog.ending
        assert ending is not None
        with trio.fail_after(WRITE_S_MAX):
            await close_session(connection, self.stats.session_id, ending)
        self.stats.is_safe = True

    async def _write(self, connection: TrioConnection, batch: Batch) -> None:
        assert self.stats.session_id is not None
        began_s = trio.current_time()
        with trio.fail_after(WRITE_S_MAX):
            await self._prepare(connection, batch)
            lexicon = self._lexicons.learn(batch.frames)
            await write_batch(
                connection,
                self.stats.session_id,
                batch,
                self._market_ids,
                lexicon,
                is_lexicon_stored=lexicon.number == self._stored_lexicon,
            )
        self._stored_lexicon = lexicon.number
        self._note_written(batch, (trio.current_time() - began_s) * 1000)

    async def _prepare(self, connection: TrioConnection, batch: Batch) -> None:
        """Numbers for new markets, and partitions for days that nobody foresaw (a clock that jumped)."""
        unknown = batch.market_tickers - self._market_ids.keys()
        if unknown:
            self._market_ids.update(await fetch_market_ids(connection, sorted(unknown)))
        for day in batch.days - self._known_days:
            await ensure_partitions(connection, day, day)
            self._known_days.add(day)

    def _note_written(self, batch: Batch, write_ms: float) -> None:
        rows = len(batch.facts)
        self.stats.batches += 1
        self.stats.written = self.stats.written + batch.counts
        self.stats.rows_written += rows
        self.stats.write_ms_last = write_ms
        self.stats.write_ms_max = max(write_ms, self.stats.write_ms_max or 0.0)
        self.state.rows_written += rows
        self.state.store.turn(StorePhase.AVAILABLE, self.clock())

    def _note_failure(self, failure: BaseException) -> None:
        reason = str(failure) or f"no answer within {WRITE_S_MAX:g} s"
        self.state.store.write_failures += 1
        self.state.store.turn(StorePhase.AWAY, self.clock(), reason)
        _log.warning("write failed, will be tried again", session=self.stats.session_id, reason=reason)
