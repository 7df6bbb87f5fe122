"""
The scope of one session: connect, receive, fold, write, end.

    session
    ├── writer            outlives the connection; ends when the last row is safe
    └── feed              ends with the connection
        ├── reader        the transport's own task: socket to bounded channel
        ├── book          channel to facts, facts to backlog and live stream
        ├── conversation  commands that are due
        ├── liveness      ends the connection after 30 s without any sign of life
        └── stopping      when the service stops: unsubscribe, wait for the last frame, end

Every frame that was received is folded and put into the backlog, whatever ends the feed. The book task keeps
what it has taken from the channel until it is folded; once the tasks are gone, that and the rest of the
channel are folded without waiting. A frame gets its number where it is folded, so that numbers have no hole.
"""

import random
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, cast

import trio
from attrs import define, field, frozen

from collector.clock import WallClock, wait_for_tick
from collector.errors import FeedError, FeedLost, leaves_of, worst_of
from collector.exchange import StampedText, Transport
from collector.facts import (
    DECODER_VERSION,
    PROVABLE_US_MAX,
    AuditFact,
    Cause,
    ConnectionEvent,
    DeltaFact,
    FeedTracker,
    FrameBatch,
    GapFact,
    LastExact,
    ReceivedFrame,
    StreamFold,
    StreamNote,
    TradeFact,
    command_note,
    event_note,
    last_exact_of,
    record_note,
)
from collector.live import LiveHub
from collector.observe import FeedStatus, RecorderState, SessionStats, get_logger
from collector.protocol import USE_YES_PRICE
from collector.session._backlog import FRAMES_MAX, Backlog, BacklogFull
from collector.session._records import HeldBooks, UsedRecords
from collector.session._writer import SessionWriter
from collector.spool import Spool
from collector.storage import (
    OpenStore,
    SessionEnding,
    SessionOpening,
    ending_note,
    fold_of,
    opening_note,
)
from collector.subscriptions import Conversation, Pace
from collector.wakeup import Wakeup

SILENCE_S_MAX: Final = 30.0
"""Seconds of silence after which the connection is closed. Kalshi pings every 10 s: three missed."""
FIRST_SNAPSHOTS_S_MAX: Final = 10.0
"""Seconds after the acknowledgement after which missing first snapshots are requested."""
UNSUBSCRIBE_S_MAX: Final = 10.0
"""Maximum seconds for unsubscribing at a stop. Part of the drain time, DRAIN_S_MAX."""
STEP_CHARACTERS_MAX: Final = 300_000
"""Maximum characters folded without a checkpoint: about 1,000 deltas (7 ms) or 12 snapshots of 700 levels."""
DIGESTS_PER_STEP: Final = 50
"""Books whose digests are computed without a checkpoint: up to 100 µs each."""
EXAMPLE_TEXT_MAX: Final = 500
"""Maximum characters of a frame in a log line."""

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
    records: UsedRecords = field(factory=UsedRecords)

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

    `on_connected` gets the session's statistics and a function that changes the markets to record. `end` gets
    the FeedError that ended the connection; other exceptions propagate.
    """
    error: FeedError | None = None
    async with trio.open_nursery() as nursery:
        try:
            async with trio.open_nursery() as connecting:
                connected = trio.Event()
                connecting.start_soon(_stop_connecting, context.stopping, connected, connecting.cancel_scope)
                async with context.open_transport() as transport:
                    connected.set()
                    last_exact = await _last_exact_books(context.records.held_books, feed.market_tickers)
                    session = _Session.begin(context, feed, transport, last_exact)
                    nursery.start_soon(session.write, name=f"writer:{feed.name}")
                    on_connected(session.stats, session.follow)
                    await session.receive()
                connecting.cancel_scope.cancel(reason="the connection is over")
        except* FeedError as group:
            error = _reason_of(group)
        end.tell(error)


async def _last_exact_books(held: HeldBooks, tickers: Sequence[str]) -> tuple[LastExact, ...]:
    """The markets' last exact books, with their digests. A checkpoint each few books."""
    books: list[LastExact] = []
    for count, ticker in enumerate(tickers, 1):
        book = last_exact_of(held.get(ticker))
        if book is not None:
            held[ticker] = book
            books.append(book)
        if count % DIGESTS_PER_STEP == 0:
            await trio.lowlevel.checkpoint()
    return tuple(books)


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
    fold: StreamFold
    conversation: Conversation
    backlog: Backlog
    writer: SessionWriter
    _frames_folded: int = field(default=0, init=False)
    _unknown_names: int = field(default=0, init=False)
    _in_hand: StampedTexts = field(default=(), init=False)
    _replied: Wakeup = field(factory=Wakeup, init=False)
    _commands_due: Wakeup = field(factory=Wakeup, init=False)
    _is_cut_short: bool = field(default=False, init=False)

    @classmethod
    def begin(
        cls,
        context: SessionContext,
        feed: FeedStatus,
        transport: Transport,
        last_exact: tuple[LastExact, ...],
    ) -> "_Session":
        """A session as of the moment that its connection stands."""
        state = context.state
        key, started_us = uuid.UUID(int=context.rng.getrandbits(128)), transport.now_us()
        opening = SessionOpening(
            key=key,
            recorder_key=context.recorder_key,
            market_tickers=feed.market_tickers,
            ws_url=context.ws_url,
            environment=state.environment,
            code_version=state.code_version,
            decoder_version=DECODER_VERSION,
            sample_rate=state.sample_rate,
            use_yes_price=USE_YES_PRICE,
            started_us=started_us,
            last_exact=last_exact,
        )
        fold = fold_of(opening)
        stats = SessionStats(key, feed.name, fold.tracker, started_us)
        state.is_simulated = state.is_simulated or transport.is_simulated
        state.forget_books(feed.name)
        state.add_session(stats)
        backlog = Backlog(context.batch_rows, context.flush_interval_s, context.clock)
        context.backlogs.add(backlog)
        writer = SessionWriter(
            store=context.open_store(opening),
            journal=context.spool.journal(opening),
            backlog=backlog,
            stats=stats,
            state=state,
            clock=context.clock,
            rng=context.rng,
            store_ready=context.store_ready,
            stopping=context.stopping,
        )
        pace = Pace(audit_interval_s=context.audit_interval_s, silence_probe_s=context.silence_probe_s)
        conversation = Conversation(feed.market_tickers, pace, context.is_following)
        session = cls(
            context=context,
            transport=transport,
            stats=stats,
            fold=fold,
            conversation=conversation,
            backlog=backlog,
            writer=writer,
        )
        writer.note_event = session.note_store
        session._note(opening_note(opening))
        context.records.add_user(session)
        return session

    @property
    def tracker(self) -> FeedTracker:
        """The books and the counters of the connection."""
        return self.fold.tracker

    async def write(self) -> None:
        """Write until the session is safe; what waits counts against the bound of all sessions until then."""
        try:
            await self.writer.run()
        finally:
            self.context.backlogs.discard(self.backlog)

    def follow(self, tickers: tuple[str, ...]) -> None:
        """Record other markets from now on. No checkpoint; without effect when the connection is over."""
        self.conversation.follow(tickers)
        self._commands_due.notify()

    def follows(self, ticker: str) -> bool:
        """Whether a market is in the subscription, or is to be."""
        return ticker in self.tracker.markets

    def note_record(self, path: str, record: bytes) -> None:
        """Add a REST record to the stream: JSON in UTF-8. No checkpoint."""
        self._note(record_note(path, record, self._frames_folded, self.transport.now_us()))

    def note_store(self, event_type: ConnectionEvent, detail: str) -> None:
        """Add to the stream what happened to the database; not after the session's end."""
        if self.backlog.ending is None:
            now_us = self.transport.now_us()
            self._note(event_note(event_type, self._frames_folded, now_us, detail=detail))
            self._commands_due.notify()

    async def receive(self) -> None:
        """Receive until the connection ends, and close the session. Raises the FeedError that ended it."""
        error: FeedError | None = None
        is_orderly = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_books, name="book")
                nursery.start_soon(self._converse, name="conversation")
                nursery.start_soon(self._watch_liveness, name="liveness")
                nursery.start_soon(self._stop_when_asked, nursery.cancel_scope, name="stopping")
            is_orderly = True
        except* FeedError as group:
            error = _reason_of(group)
        finally:
            try:
                self._fold_rest()
            finally:
                self._close(error, is_orderly=is_orderly)
        if error is not None:
            raise error

    async def _keep_books(self) -> None:
        """
        Fold what arrives until the connection is lost. Raises FeedError, with nothing taken that is not kept.
        """
        while True:
            self._in_hand = await self.transport.receive()
            while self._in_hand:
                self._fold_live(self._take_step())
                await trio.lowlevel.checkpoint()

    def _take_step(self) -> StampedTexts:
        """The next frames in hand, as many as can be folded in under 10 ms; at least one."""
        texts = self._in_hand
        size = 0
        for index, (_, text) in enumerate(texts):
            size += len(text)
            if size > STEP_CHARACTERS_MAX and index:
                self._in_hand = texts[index:]
                return texts[:index]
        self._in_hand = ()
        return texts

    def _fold_live(self, texts: StampedTexts) -> None:
        """Fold frames and note the exchange's replies. Raises BacklogFull when too many frames wait."""
        batch = self._keep(texts)
        self._publish(batch)
        self.conversation.note(batch.facts, trio.current_time(), self.tracker.subscriptions.chains)
        if any(not isinstance(fact, DeltaFact | TradeFact) for fact in batch.facts):
            self._commands_due.notify()
            self._replied.notify()
        if self.context.waiting_frames > FRAMES_MAX:
            trouble = self.context.store_trouble
            raise BacklogFull(f"more than {FRAMES_MAX} frames wait for the database: {trouble}")

    def _keep(self, texts: StampedTexts) -> FrameBatch:
        """Number frames, fold them, and put the result into the backlog before anything else uses it."""
        self._note_clock_steps()
        first = self._frames_folded + 1
        self._frames_folded += len(texts)
        batch, rows = self.fold.process(
            ReceivedFrame(number, us, text) for number, (us, text) in enumerate(texts, first)
        )
        self.backlog.put(batch, rows)
        return batch

    def _note(self, note: StreamNote) -> None:
        """Put a note into the stream, after the frames that are folded."""
        self.backlog.put(*self.fold.process((), (note,)))

    def _note_event(self, event_type: ConnectionEvent) -> None:
        self._note(event_note(event_type, self._frames_folded, self.transport.now_us()))

    def _note_clock_steps(self) -> None:
        for step in self.transport.take_clock_steps():
            _log.warning("clock_step", session=self.stats.session_id, step_us=step.size_us)
            clock_step = ConnectionEvent.CLOCK_STEP
            self._note(event_note(clock_step, self._frames_folded, step.at_us, step_us=step.size_us))

    def _publish(self, batch: FrameBatch) -> None:
        """Statistics, live messages and logs. A mistake here loses no frame."""
        self.context.state.note_batch(self.stats, batch)
        self.context.hub.publish(self.stats, batch)
        self.stats.queued_frames = self.writer.waiting_frames
        self._log_oddities(batch)

    def _log_oddities(self, batch: FrameBatch) -> None:
        session = self.stats.session_id
        for fact in batch.facts:
            if isinstance(fact, GapFact):
                _log.warning(
                    "gap", session=session, sid=fact.sid, expected=fact.expected, received=fact.received,
                    cause=fact.cause, market=fact.market_ticker,
                )  # fmt: skip
            elif isinstance(fact, AuditFact) and not fact.is_match:
                difference = fact.first_difference
                _log.error("audit_mismatch", session=session, market=fact.market_ticker, where=difference)
        unknown_names = len(self.tracker.unknown_types) + len(self.tracker.unknown_fields)
        if unknown_names > self._unknown_names:
            self._unknown_names = unknown_names
            types, fields = dict(self.tracker.unknown_types), dict(self.tracker.unknown_fields)
            example = batch.frames[0].text[:EXAMPLE_TEXT_MAX]
            _log.warning("unknown_message", session=session, types=types, fields=fields, near=example)

    def _fold_rest(self) -> None:
        """
        Fold what was received and not folded when the feed ended, for whatever reason. All of it is kept
        before any of it is published: what has failed may fail again.
        """
        batches: list[FrameBatch] = []
        while texts := self._in_hand or self.transport.take_nowait():
            self._in_hand = ()
            batches.append(self._keep(texts))
        for batch in batches:
            self._publish(batch)

    async def _converse(self) -> None:
        first_snapshots_due_s = float("inf")
        while True:
            # Taken before looking: a reply that arrives while a command is being sent must not be missed.
            commands_due = self._commands_due.next
            now_s = trio.current_time()
            if not self.conversation.is_subscribed:
                first_snapshots_due_s = now_s + FIRST_SNAPSHOTS_S_MAX
            elif now_s >= first_snapshots_due_s:
                self.tracker.lose_missing()
                first_snapshots_due_s = float("inf")
            lost = self.tracker.lost_markets()
            for command in self.conversation.due(now_s, lost, self.tracker.is_exact):
                # Before it is sent: the answer may be folded before `send` returns.
                self._note(command_note(command, self._frames_folded, self.transport.now_us()))
                await self.transport.send(command)
            self.stats.unanswered_audits = self.conversation.unanswered_audits
            with trio.move_on_at(min(self.conversation.next_due_s(lost), first_snapshots_due_s)):
                await commands_due.wait()

    async def _watch_liveness(self) -> None:
        began_s = trio.current_time()
        while True:
            await wait_for_tick(began_s, 1.0)
            if trio.current_time() - max(began_s, self.transport.last_activity_s) > SILENCE_S_MAX:
                self._note_event(ConnectionEvent.SILENCE)
                raise FeedLost(f"no frame of any kind for {SILENCE_S_MAX:g} s")

    async def _stop_when_asked(self, feed_scope: trio.CancelScope) -> None:
        """
        Unsubscribe, then end the feed. The exchange sends the replies after the last data, so none is missed.
        """
        await self.context.stopping.wait()
        self._note_event(ConnectionEvent.STOP)
        with trio.move_on_after(UNSUBSCRIBE_S_MAX) as goodbye:
            self.conversation.leave()
            self._commands_due.notify()
            while not self.conversation.has_left:
                await self._replied.wait()
        self._is_cut_short = goodbye.cancelled_caught
        feed_scope.cancel(reason="the service stops")

    def _close(self, error: FeedError | None, *, is_orderly: bool) -> None:
        self.context.records.remove_user(self)
        self._note_clock_steps()
        ended_us = self.transport.now_us()
        if is_orderly and error is None:
            reason = (
                "recorder stopped, with frames still to come" if self._is_cut_short else "recorder stopped"
            )
            ending = SessionEnding(ended_us, "closed", reason, None, self._frames_folded)
        elif error is None:
            ending = SessionEnding(ended_us, "error", "recorder failed", None, self._frames_folded)
        else:
            close_code = error.close_code if isinstance(error, FeedLost) else None
            ending = SessionEnding(ended_us, "error", str(error), close_code, self._frames_folded)
        self._hold_books(ended_us)
        self._note(ending_note(ending, self._frames_folded))
        self.backlog.close(ending, self.fold.finish())
        self.stats.status = ending.status
        self.stats.ended_us = ending.ended_us
        self.stats.end_reason = ending.reason
        self.stats.close_code = ending.close_code
        for market in self.tracker.markets.values():
            market.unknown_cause = market.unknown_cause or Cause.SESSION_ENDED
        _log.info("session_ended", session=self.stats.session_id, status=ending.status, reason=ending.reason)

    def _hold_books(self, ended_us: int) -> None:
        """Keep the last exact books for the next session of their markets; not those that are too old."""
        held = self.context.records.held_books
        for ticker, book in self.tracker.held_books(self._frames_folded, ended_us).items():
            held.pop(ticker, None)
            if book is not None:
                held[ticker] = book
        for ticker in [each for each, book in held.items() if book.from_us < ended_us - PROVABLE_US_MAX]:
            del held[ticker]


def _reason_of(group: BaseExceptionGroup[FeedError]) -> FeedError:
    return worst_of(cast("list[FeedError]", leaves_of(group)))
