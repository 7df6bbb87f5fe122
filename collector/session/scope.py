"""
The scope of one session: connect, receive, fold, write, end.

    session
    ├── writer          outlives the connection; ends when the last row is safe
    └── feed            ends with the connection
        ├── reader      transport to book
        ├── book        frames to facts, facts to backlog and live stream
        ├── conversation  commands that are due
        ├── liveness    30 s without a sign of life end the connection
        └── stopping    on the service's wish: unsubscribe, wait for the last frame, end

Frames that were received are folded and put into the backlog however the feed ends: what is in the channel
between reader and book, in the reader's hand, and in the transport behind it, is folded without waiting once
those tasks are gone. A frame gets its number where it is folded, so that numbers have no hole.
"""

import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final

import trio
from attrs import define, field, frozen

from collector.clock import WallClock, wait_for_tick
from collector.errors import FeedError, FeedLost, leaves_of, worst_of
from collector.exchange.transport import StampedText, Transport
from collector.observe.hub import LiveHub
from collector.observe.logs import get_logger
from collector.observe.state import FeedStatus, RecorderState, SessionStats
from collector.protocol.audits import Pace
from collector.protocol.commands import USE_YES_PRICE
from collector.protocol.conversation import Conversation
from collector.protocol.facts import AuditFact, DeltaFact, FrameBatch, GapFact, ReceivedFrame, TradeFact
from collector.protocol.thinning import Thinner
from collector.protocol.tracker import FeedTracker
from collector.session.backlog import FRAMES_MAX, Backlog, BacklogFull
from collector.session.writer import SessionWriter
from collector.store.batch import SessionEnding, SessionOpening
from collector.store.sessions import OpenStore
from collector.store.spool import Spool

SILENCE_S_MAX: Final = 30.0
"""The exchange pings every 10 s: three in a row are missing."""
FIRST_SNAPSHOTS_S_MAX: Final = 10.0
"""Markets without a snapshot so long after the acknowledgement are asked for."""
UNSUBSCRIBE_S_MAX: Final = 10.0
"""What the orderly end of a connection may take out of the drain time."""
STEP_CHARACTERS_MAX: Final = 300_000
"""About a thousand deltas (7 ms), or a dozen snapshots of 700 levels."""
EXAMPLE_TEXT_MAX: Final = 500
CHANNEL_BATCHES: Final = 16
"""Batches between reader and book. Each holds up to a thousand frames; more wait in the transport."""

_log = get_logger("session")

StampedTexts = Sequence[StampedText]


@frozen
class SessionContext:
    """What every session needs from outside itself."""

    open_transport: Callable[[], AbstractAsyncContextManager[Transport]]
    open_store: OpenStore
    spool: Spool
    state: RecorderState
    hub: LiveHub
    clock: WallClock
    rng: random.Random
    recorder_key: int
    ws_url: str
    batch_rows: int
    flush_interval_s: float
    stopping: trio.Event
    audit_interval_s: float = 0.0
    silence_probe_s: float = 0.0
    is_following: bool = False
    """Whether markets come and go within a session."""
    store_ready: trio.Event = field(factory=trio.Event)
    backlogs: set[Backlog] = field(factory=set[Backlog])

    @property
    def waiting_frames(self) -> int:
        """Frames of all sessions that are in memory alone."""
        return sum(backlog.waiting_frames for backlog in self.backlogs)

    @property
    def store_trouble(self) -> str:
        """Why frames wait in memory, in words."""
        spool = self.state.spool
        trouble = "the spool is full" if spool.is_full else spool.failure
        return "; ".join(part for part in (self.state.store.reason, trouble) if part)


@define(eq=False)
class FeedEnd:
    """Tells the supervisor that a connection is over, while the session may still be writing."""

    error: FeedError | None = None
    _is_over: trio.Event = field(factory=trio.Event, init=False)

    def tell(self, error: FeedError | None) -> None:
        """Say why; None when the service asked for it."""
        self.error = error
        self._is_over.set()

    async def wait(self) -> FeedError | None:
        """Wait for the end and give its reason."""
        await self._is_over.wait()
        return self.error


Follow = Callable[[tuple[str, ...]], None]
OnConnected = Callable[[SessionStats, Follow], None]


async def run_session(
    context: SessionContext, feed: FeedStatus, end: FeedEnd, on_connected: OnConnected
) -> None:
    """
    Run one connection and its session, from the handshake until its last row is in the database.

    `on_connected` gets its numbers, and what to call with other markets to follow from now on. What ends the
    connection is told to `end`; anything that is not a FeedError propagates.
    """
    error: FeedError | None = None
    async with trio.open_nursery() as nursery:
        try:
            async with trio.open_nursery() as connecting:
                connected = trio.Event()
                connecting.start_soon(_stop_connecting, context.stopping, connected, connecting.cancel_scope)
                async with context.open_transport() as transport:
                    connected.set()
                    session = _Session.begin(context, feed, transport)
                    nursery.start_soon(session.write, name=f"writer:{feed.name}")
                    on_connected(session.stats, session.follow)
                    await session.receive()
                connecting.cancel_scope.cancel(reason="the connection is over")
        except* FeedError as group:
            error = _worst(group)
        end.tell(error)


async def _stop_connecting(stopping: trio.Event, connected: trio.Event, scope: trio.CancelScope) -> None:
    """A service that stops does not wait for a handshake; a session that has begun ends in order."""
    await stopping.wait()
    if not connected.is_set():
        scope.cancel(reason="the service stops")


@define(eq=False)
class _Session:
    """The state that the tasks of one feed share; all of them live in one nursery."""

    context: SessionContext
    transport: Transport
    stats: SessionStats
    tracker: FeedTracker
    conversation: Conversation
    thinner: Thinner
    backlog: Backlog
    writer: SessionWriter
    _frames_folded: int = field(default=0, init=False)
    _in_hand: StampedTexts = field(default=(), init=False)
    _replied: trio.Event = field(factory=trio.Event, init=False)
    _wake: trio.Event = field(factory=trio.Event, init=False)
    _loss: FeedLost | None = field(default=None, init=False)
    _is_cut_short: bool = field(default=False, init=False)

    @classmethod
    def begin(cls, context: SessionContext, feed: FeedStatus, transport: Transport) -> "_Session":
        """A session as of the moment that its connection stands."""
        state = context.state
        tracker = FeedTracker.of_markets(feed.market_tickers)
        stats = SessionStats(uuid.UUID(int=context.rng.getrandbits(128)), feed.name, tracker, context.clock())
        state.is_simulated = state.is_simulated or transport.is_simulated
        state.forget_books(feed.name)
        state.add_session(stats)
        backlog = Backlog(context.batch_rows, context.flush_interval_s)
        context.backlogs.add(backlog)
        opening = SessionOpening(
            key=stats.key,
            recorder_key=context.recorder_key,
            market_tickers=feed.market_tickers,
            ws_url=context.ws_url,
            environment=state.environment,
            code_version=state.code_version,
            sample_rate=state.sample_rate,
            use_yes_price=USE_YES_PRICE,
            started_us=stats.started_us,
        )
        writer = SessionWriter(
            context.open_store(opening),
            context.spool.journal(opening),
            backlog,
            stats,
            state,
            context.clock,
            context.rng,
            context.store_ready,
            context.stopping,
        )
        pace = Pace(audit_interval_s=context.audit_interval_s, silence_probe_s=context.silence_probe_s)
        conversation = Conversation(feed.market_tickers, pace, context.is_following)
        return cls(
            context, transport, stats, tracker, conversation, Thinner(state.sample_rate), backlog, writer
        )

    async def write(self) -> None:
        """Write until the session is safe; what waits counts against the bound of all sessions until then."""
        try:
            await self.writer.run()
        finally:
            self.context.backlogs.discard(self.backlog)

    def follow(self, tickers: tuple[str, ...]) -> None:
        """Record other markets from now on. No checkpoint; without effect when the connection is over."""
        self.conversation.follow(tickers)
        self._wake.set()

    async def receive(self) -> None:
        """Receive until the connection ends, and close the session. Raises the FeedError that ended it."""
        error: FeedError | None = None
        is_orderly = False
        texts_out, texts_in = trio.open_memory_channel[StampedTexts](CHANNEL_BATCHES)
        with texts_in:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read, texts_out, name="reader")
                    nursery.start_soon(self._converse, name="conversation")
                    nursery.start_soon(self._watch_liveness, name="liveness")
                    nursery.start_soon(self._stop_when_asked, nursery.cancel_scope, name="stopping")
                    await self._keep_books(texts_in)
                    nursery.cancel_scope.cancel(reason="feed ended")
                is_orderly = self._loss is None
            except* FeedError as group:
                error = _worst(group)
            finally:
                self._fold_rest(texts_in)
                self._close(error or self._loss, is_orderly=is_orderly)
        if error or self._loss:
            raise error or self._loss  # type: ignore[misc]

    async def _read(self, texts_out: trio.MemorySendChannel[StampedTexts]) -> None:
        with texts_out:
            while True:
                try:
                    self._in_hand = await self.transport.receive()
                except FeedLost as loss:
                    # Not raised here: the book task first has to fold what was received before.
                    self._loss = loss
                    return
                await texts_out.send(self._in_hand)
                self._in_hand = ()

    async def _keep_books(self, texts_in: trio.MemoryReceiveChannel[StampedTexts]) -> None:
        async for texts in texts_in:
            for some in _steps(texts):
                self._fold_live(some)
                # Shielded, since what was taken from the channel has to be folded whole.
                await trio.lowlevel.cancel_shielded_checkpoint()

    def _fold_live(self, texts: StampedTexts) -> None:
        """Fold, see what the exchange has answered, and look at the bound of what may wait."""
        batch = self._fold(texts)
        self.conversation.note(batch.facts, trio.current_time(), self.tracker.chains)
        if any(not isinstance(fact, DeltaFact | TradeFact) for fact in batch.facts):
            self._wake.set()
            self._replied.set()
            self._replied = trio.Event()
        if self.context.waiting_frames > FRAMES_MAX:
            trouble = self.context.store_trouble
            raise BacklogFull(f"more than {FRAMES_MAX} frames wait for the database: {trouble}")

    def _fold(self, texts: StampedTexts) -> FrameBatch:
        """Number frames, and hand what they mean to everyone who needs it."""
        first = self._frames_folded + 1
        self._frames_folded += len(texts)
        unknown = len(self.tracker.unknown_types) + len(self.tracker.unknown_fields)
        batch = self.tracker.process(
            ReceivedFrame(number, us, text) for number, (us, text) in enumerate(texts, first)
        )
        self.context.state.note_batch(self.stats, batch)
        self.context.hub.publish(self.stats, batch)
        self.backlog.put(batch, self.thinner.thin(batch.facts))
        self.stats.queued_frames = self.writer.waiting_frames
        self._log_oddities(batch, unknown)
        return batch

    def _log_oddities(self, batch: FrameBatch, unknown_before: int) -> None:
        session = self.stats.session_id
        for fact in batch.facts:
            if isinstance(fact, GapFact):
                _log.warning(
                    "gap", session=session, sid=fact.sid, expected=fact.expected, received=fact.received,
                    cause=fact.cause, market=fact.market_ticker,
                )  # fmt: skip
            elif isinstance(fact, AuditFact) and not fact.is_match:
                difference = fact.first_difference
                _log.error("a book is wrong", session=session, market=fact.market_ticker, where=difference)
        if len(self.tracker.unknown_types) + len(self.tracker.unknown_fields) > unknown_before:
            types, fields = dict(self.tracker.unknown_types), dict(self.tracker.unknown_fields)
            example = batch.frames[0].text[:EXAMPLE_TEXT_MAX]
            _log.warning("unknown to this program", session=session, types=types, fields=fields, near=example)

    def _fold_rest(self, texts_in: trio.MemoryReceiveChannel[StampedTexts]) -> None:
        """What was received and not folded when the feed ended, for whatever reason."""
        with suppress(trio.WouldBlock, trio.EndOfChannel):
            while True:
                self._fold(texts_in.receive_nowait())
        if self._in_hand:
            self._fold(self._in_hand)
        while texts := self.transport.take_nowait():
            self._fold(texts)

    async def _converse(self) -> None:
        first_snapshots_due_s = float("inf")
        while True:
            # Made before looking, so that what comes in while a command is sent is not overlooked.
            wake = self._wake = trio.Event()
            now_s = trio.current_time()
            if not self.conversation.is_subscribed:
                first_snapshots_due_s = now_s + FIRST_SNAPSHOTS_S_MAX
            elif now_s >= first_snapshots_due_s:
                self.tracker.lose_missing()
                first_snapshots_due_s = float("inf")
            lost = self.tracker.lost_markets()
            for command in self.conversation.due(now_s, lost, self.tracker.is_exact):
                await self.transport.send(command)
            self.stats.unanswered_audits = self.conversation.unanswered_audits
            with trio.move_on_at(min(self.conversation.next_due_s(lost), first_snapshots_due_s)):
                await wake.wait()

    async def _watch_liveness(self) -> None:
        began_s = trio.current_time()
        while True:
            await wait_for_tick(began_s, 1.0)
            if trio.current_time() - max(began_s, self.transport.last_activity_s) > SILENCE_S_MAX:
                raise FeedLost(f"no frame of any kind for {SILENCE_S_MAX:g} s")

    async def _stop_when_asked(self, feed_scope: trio.CancelScope) -> None:
        """
        End in order: the answers to `unsubscribe` come behind the last data, so all of it is here then.
        """
        await self.context.stopping.wait()
        with trio.move_on_after(UNSUBSCRIBE_S_MAX) as goodbye:
            self.conversation.leave()
            self._wake.set()
            while not self.conversation.has_left:
                await self._replied.wait()
        self._is_cut_short = goodbye.cancelled_caught
        feed_scope.cancel(reason="the service stops")

    def _close(self, error: FeedError | None, *, is_orderly: bool) -> None:
        if is_orderly and error is None:
            reason = (
                "recorder stopped, with frames still to come" if self._is_cut_short else "recorder stopped"
            )
            ending = SessionEnding(self.context.clock(), "closed", reason, None)
        elif error is None:
            ending = SessionEnding(self.context.clock(), "error", "recorder failed", None)
        else:
            close_code = error.close_code if isinstance(error, FeedLost) else None
            ending = SessionEnding(self.context.clock(), "error", str(error), close_code)
        self.backlog.close(ending, self.thinner.finish())
        self.stats.status = ending.status
        self.stats.ended_us = ending.ended_us
        self.stats.end_reason = ending.reason
        self.stats.close_code = ending.close_code
        for market in self.tracker.markets.values():
            market.unknown_cause = market.unknown_cause or "session_ended"
        _log.info("session ended", session=self.stats.session_id, status=ending.status, reason=ending.reason)


def _steps(texts: StampedTexts) -> Iterator[StampedTexts]:
    """Cut a batch so that folding one piece takes under 10 ms, even where snapshots are large."""
    first, size = 0, 0
    for index, (_, text) in enumerate(texts):
        size += len(text)
        if size > STEP_CHARACTERS_MAX and index > first:
            yield texts[first:index]
            first, size = index, len(text)
    yield texts[first:]


def _worst(group: BaseExceptionGroup[FeedError]) -> FeedError:
    """The one reason to name, out of all that the group holds."""
    return worst_of(error for error in leaves_of(group) if isinstance(error, FeedError))
