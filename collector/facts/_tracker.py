"""
Frames to facts, for one connection.

Theory of operation. A connection has subscriptions, each with a `sid` and a counter. One of them carries the
books. Each frame first passes its counter: a hole there belongs to an unknown market, so all books become
unknown until a new snapshot of each; the frame of a number seen before is dropped. Only then the content is
read and folded into the market's book.

A book is exact from its snapshot on, and only while every frame of its subscription has been understood
completely: of a known type, with all required fields, every value of a known field valid, on the subscription
that it belongs to. Whatever else arrives there makes books unknown, all of them where it can't be read which
one. Additional fields are counted and change nothing. docs/architecture.md has the table.

An exact book that a snapshot was requested for is audited: the two must be equal, since both stand at the
same place in the sequence. Facts come out in the order of the frames, and the same frames always give the
same facts: that is what lets a recording be derived again. So markets that join or leave a session do so by
what the exchange says, never by what was requested of it.
"""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from attrs import Factory, define, field

from collector.errors import MalformedFrame
from collector.facts._causes import ENDING_CAUSE_BY_ERROR, Cause
from collector.facts._facts import (
    AuditFact,
    BookStateFact,
    DeltaFact,
    Fact,
    FrameBatch,
    FrameCounts,
    Origin,
    ReceivedFrame,
    RejectFact,
    ReplyFact,
)
from collector.facts._interruptions import HeldBook, LastExact, last_exact_of, prove_empty
from collector.facts._maintenance import Maintenance
from collector.facts._market_state import HOUR_US, MarketState
from collector.facts._message_facts import connection_event_fact, event_fact, trade_fact
from collector.facts._name_counts import NameCounts
from collector.facts._sequence import Order
from collector.facts._stream import ConnectionEvent, NoteKind, StreamNote
from collector.facts._subscriptions import BOOK_TYPES, Subscriptions
from collector.protocol import (
    BOOK_CHANNEL,
    HARMLESS_ERRORS,
    DeltaMessage,
    Envelope,
    ErrorReply,
    LifecycleMessage,
    OkReply,
    OtherMessage,
    SnapshotMessage,
    SubscribedReply,
    TradeMessage,
    UnsubscribedReply,
    decode_envelope,
    decode_message,
    guess_market_ticker,
    guess_sid,
)

NO_KEY: Final = UUID(int=0)


@define(eq=False)
class FeedTracker:
    """
    The state of one connection: its markets and its subscriptions.

    `unknown_types` and `unknown_fields` count what this program does not know of the protocol.
    """

    markets: dict[str, MarketState]
    session_key: UUID = NO_KEY
    subscriptions: Subscriptions = field(factory=Subscriptions)
    unknown_types: NameCounts = field(factory=NameCounts)
    unknown_fields: NameCounts = field(factory=NameCounts)
    negative_levels: int = 0
    recorded: set[str] = field(default=Factory(lambda self: set(self.markets), takes_self=True))
    """The markets that were given or have had a book since: the lifecycle channel reports all others too."""
    maintenance: Maintenance = field(factory=Maintenance)
    left: dict[str, LastExact | None] = field(factory=dict[str, "LastExact | None"])
    """Markets that were taken out of the subscription: late deltas of them say nothing about others."""
    _frame: ReceivedFrame = field(init=False)
    _facts: list[Fact] = field(init=False)
    """The frame that is being processed, and where its facts go."""
    _turned: dict[str, MarketState] = field(factory=dict[str, MarketState], init=False)
    """The markets whose state may have changed with that frame, by ticker."""
    _is_store_lost: bool = field(default=False, init=False)
    """Whether the database lacks batches: the books are unknown from the next frame on."""

    @classmethod
    def of_markets(
        cls, tickers: Iterable[str], session_key: UUID = NO_KEY, last_exact: Iterable[LastExact] = ()
    ) -> "FeedTracker":
        """
        A tracker for a session that is about to subscribe to these markets, with the last exact books of
        earlier sessions. That books are unknown until their first snapshot does not become a fact.
        """
        markets = {ticker: MarketState(ticker) for ticker in tickers}
        for last in last_exact:
            if last.market_ticker in markets:
                markets[last.market_ticker].before = last
        for market in markets.values():
            market.turn()
        return cls(markets, session_key)

    def process(self, frames: Iterable[ReceivedFrame], notes: Iterable[StreamNote] = ()) -> FrameBatch:
        """Fold a run of the stream: frames in order, each note after its frame. Returns what it means."""
        frames, notes = tuple(frames), tuple(notes)
        facts: list[Fact] = []
        self._facts = facts
        kinds: list[str] = []
        for note in notes:
            until = len(kinds)
            while until < len(frames) and frames[until].number <= note.after_frame:
                until += 1
            kinds += [self._process_frame(frame) for frame in frames[len(kinds) : until]]
            self._process_note(note)
        kinds += [self._process_frame(frame) for frame in frames[len(kinds) :]]
        return FrameBatch(frames, tuple(facts), FrameCounts.of_kinds(kinds), notes)

    def held_books(self, last_frame: int, ended_us: int) -> dict[str, HeldBook | LastExact | None]:
        """The last exact book of each market at the session's end; None where it proves nothing."""
        if self.maintenance.is_inactive:
            return dict.fromkeys((*self.left, *self.markets))
        key = self.session_key
        return self.left | {
            market.ticker: market.held(key, last_frame, ended_us) if market.is_exact else market.before
            for market in self.markets.values()
        }

    def lost_markets(self) -> list[str]:
        """Markets whose books must be requested, in a stable order."""
        if self._is_store_lost:
            return list(self.markets)
        return [market.ticker for market in self.markets.values() if market.is_lost]

    def is_exact(self, ticker: str) -> bool:
        """Whether this market's book is exact now."""
        market = self.markets.get(ticker)
        return market is not None and market.is_exact

    def lose_missing(self) -> None:
        """Books whose first snapshot has not arrived count as lost from now on."""
        for market in self.markets.values():
            if not market.is_exact:
                market.is_lost = True

    def exact_count(self) -> int:
        """How many books are exact now."""
        return sum(market.is_exact for market in self.markets.values())

    def _process_note(self, note: StreamNote) -> None:
        if note.kind is NoteKind.EVENT:
            event = connection_event_fact(note)
            if event is not None:
                self._facts.append(event)
                self._is_store_lost |= event.event_type is ConnectionEvent.STORE_LOST
        elif note.kind is NoteKind.RECORD:
            self.maintenance.note(note)
            if self.maintenance.is_inactive:
                self._forget_exact_books()

    def _forget_exact_books(self) -> None:
        """The exchange is inactive: no interruption that lasts can be proven empty."""
        self.left = dict.fromkeys(self.left)
        for market in self.markets.values():
            market.before = None

    def _process_frame(self, frame: ReceivedFrame) -> str:
        """Append the facts of one frame, the states of books last. Returns its kind: see FrameCounts."""
        self._frame = frame
        if self._is_store_lost:
            self._is_store_lost = False
            self._lose_all(Cause.STORE_LOST)
        kind = self._process_text(frame)
        if self._turned:
            self._note_states()
        return kind

    def _process_text(self, frame: ReceivedFrame) -> str:
        try:
            envelope = decode_envelope(frame.text)
        except MalformedFrame as error:
            self._reject(str(error))
            # It may have been any frame, unless it names another subscription.
            if guess_sid(frame.text) in (None, self.subscriptions.book_sid):
                self._lose_all(Cause.REJECT)
            return "rejects"
        if envelope.sid is not None and envelope.seq is not None:
            if envelope.sid in self.subscriptions.ended_sids and envelope.seq == 1:
                # The exchange gave the number of an ended subscription to a new one.
                self.subscriptions.begin_again(envelope.sid)
            self.subscriptions.learn_channel(envelope.sid, envelope.type)
            if not self._pass_chain(envelope.sid, envelope.seq, envelope.type):
                return "stales"
        try:
            return self._process_content(envelope)
        except MalformedFrame as error:
            self._reject(str(error))
            self._lose_rejected(envelope)
            return "rejects"

    def _note_states(self) -> None:
        """State which books are exact or unknown from the end of this frame on."""
        for market in self._turned.values():
            if market.turn():
                times = (self._frame.number, self._frame.received_us)
                self._facts.append(BookStateFact(market.ticker, *times, market.unknown_cause))
        self._turned.clear()

    def _pass_chain(self, sid: int, seq: int, frame_type: str) -> bool:
        """Take note of a frame's number. Returns False for a frame whose number was seen before."""
        chain = self.subscriptions.chain(sid)
        expected = chain.expected
        order = chain.advance(seq, self._frame.text)
        if order is Order.AHEAD:
            self._note_gap(sid, expected, seq, cause=Cause.SEQUENCE)
            if sid == self.subscriptions.book_sid:
                self._lose_books(Cause.SEQUENCE)
        elif order is Order.CONFLICT and (sid == self.subscriptions.book_sid or frame_type in BOOK_TYPES):
            self._lose_all(Cause.SEQUENCE_CONFLICT)
        return seq >= expected

    def _process_content(self, envelope: Envelope) -> str:
        decoded = decode_message(envelope)
        if envelope.unknown_fields or decoded.unknown_fields:
            for name in (*envelope.unknown_fields, *decoded.unknown_fields):
                self.unknown_fields.note(f"{envelope.type}.{name}")
        match decoded.message:
            case DeltaMessage() | SnapshotMessage() as message:
                return self._process_book(envelope, message)
            case TradeMessage() as trade:
                self._note_trade(envelope, trade)
                kind, cause = "trades", Cause.OTHER_SUBSCRIPTION
            case LifecycleMessage() as lifecycle:
                self._note_event(envelope, lifecycle)
                kind, cause = "controls", Cause.OTHER_SUBSCRIPTION
            case OtherMessage() as message:
                self.unknown_types.note(envelope.type)
                kind, cause = "controls", Cause.UNKNOWN_TYPE
                self._facts.append(ReplyFact(envelope.sid, envelope.command_id, message))
            case OkReply() if envelope.command_id is None and envelope.sid is not None:
                raise MalformedFrame("answers no command")
            case SubscribedReply() | ErrorReply() | UnsubscribedReply() | OkReply() as reply:
                self._note_reply(envelope, reply)
                self._facts.append(ReplyFact(envelope.sid, envelope.command_id, reply))
                return "controls"
        if envelope.sid is not None and envelope.sid == self.subscriptions.book_sid:
            self._lose_all(cause)
        return kind

    def _process_book(self, envelope: Envelope, message: DeltaMessage | SnapshotMessage) -> str:
        """Fold a frame about a book, if it is on the subscription of the books."""
        sid, seq = _numbered(envelope)
        subscriptions = self.subscriptions
        if sid != subscriptions.book_sid:
            self._reject(f"{envelope.type} on sid {sid}, books are on {subscriptions.book_sid}")
            cause = Cause.AFTER_END if sid in subscriptions.ended_sids else Cause.OTHER_SUBSCRIPTION
            market = self.markets.get(message.market_ticker)
            if market is not None:
                self._lose_one(market, sid, seq, cause=cause)
            elif message.market_ticker not in self.left:
                self._lose_all(cause)
            return "rejects"
        if isinstance(message, SnapshotMessage):
            self._replace_book(envelope, message, sid, seq)
            return "snapshots"
        self._fold_delta(envelope, message, sid, seq)
        return "deltas"

    def _fold_delta(self, envelope: Envelope, delta: DeltaMessage, sid: int, seq: int) -> None:
        frame, ticker = self._frame, delta.market_ticker
        market = self.markets.get(ticker)
        is_known = market is not None or ticker in self.left
        if market is None:
            market = self._market(ticker)
        self._begin_hour(market)
        is_clock_conflict = market.is_clock_conflict(delta)
        old_size_e2 = market.apply(delta, sid, seq, frame.received_us)
        self._facts.append(
            DeltaFact(
                market_ticker=ticker,
                sequence_number=seq,
                timestamp_ms=delta.timestamp_ms,
                received_us=frame.received_us,
                side=delta.side,
                price_e4=delta.price_e4,
                delta_e2=delta.delta_e2,
                old_size_e2=old_size_e2,
                sid=sid,
                clock=delta.clock,
                sending_ts_ms=envelope.sending_ts_ms,
            )
        )
        if not is_known:
            # The exchange may have meant another market, whose book lacks this change then.
            self._lose_all(Cause.UNKNOWN_MARKET)
        if not market.is_exact:
            return
        if old_size_e2 + delta.delta_e2 < 0:
            self.negative_levels += 1
            self._lose_one(market, sid, seq + 1, cause=Cause.NEGATIVE_LEVEL)
        elif is_clock_conflict:
            self._lose_one(market, sid, seq + 1, cause=Cause.CLOCK_CONFLICT)

    def _replace_book(self, envelope: Envelope, snapshot: SnapshotMessage, sid: int, seq: int) -> None:
        market = self._market(snapshot.market_ticker)
        self.recorded.add(market.ticker)
        self.left.pop(market.ticker, None)
        origin: Origin
        if envelope.command_id is not None:
            origin = "requested"
        elif market.sid != sid or not market.snapshots:
            origin = "initial"
        else:
            origin = "unsolicited"
        is_audit = origin == "requested" and market.is_exact and market.sid == sid
        difference = market.difference(snapshot) if is_audit else None
        received_us, before = self._frame.received_us, market.before
        lowered = market.lowered_clock(snapshot, sid, seq, received_us)
        market.replace(snapshot, sid, seq, received_us)
        self._turned[market.ticker] = market
        fact = market.as_snapshot(self._frame, origin)
        proof = None if before is None else prove_empty(before, fact, self.maintenance)
        self._facts += [each for each in (lowered, fact, proof) if each is not None]
        listed = self.subscriptions.listed
        if origin == "requested" and listed is not None and market.ticker not in listed:
            # A late answer of a market that has left: nothing follows it.
            self._lose_one(market, sid, seq + 1, cause=Cause.UNFOLLOWED)
            self._forget(market)
        elif is_audit:
            is_match = difference is None
            self._facts.append(AuditFact(market.ticker, seq, received_us, is_match, difference, sid=sid))
            if difference is not None:
                self._lose_one(market, sid, seq + 1, cause=Cause.AUDIT_MISMATCH)

    def _begin_hour(self, market: MarketState) -> None:
        """Before a market's first change in an hour its exact book is written out, as of its last frame."""
        hour = self._frame.received_us // HOUR_US
        if hour != market.hour:
            market.hour = hour
            if market.is_exact:
                self._facts.append(market.as_snapshot(self._frame, "checkpoint"))

    def _note_trade(self, envelope: Envelope, trade: TradeMessage) -> None:
        market = self.markets.get(trade.market_ticker)
        if market is not None:
            market.trades += 1
        self._facts.append(trade_fact(envelope, trade, self._frame.received_us))

    def _note_event(self, envelope: Envelope, lifecycle: LifecycleMessage) -> None:
        if lifecycle.market_ticker in self.recorded:
            event = event_fact(envelope, lifecycle, self._frame.received_us)
            if event is not None:
                self._facts.append(event)
                self._is_store_lost |= event.event_type is ConnectionEvent.STORE_LOST

    def _note_reply(
        self, envelope: Envelope, reply: SubscribedReply | ErrorReply | UnsubscribedReply | OkReply
    ) -> None:
        sid, book_sid = envelope.sid, self.subscriptions.book_sid
        match reply:
            case SubscribedReply(channel=channel, sid=subscribed_sid):
                self._begin_subscription(subscribed_sid, channel)
            case ErrorReply(code=code) if sid is not None and code in ENDING_CAUSE_BY_ERROR:
                self._end_subscription(sid, ENDING_CAUSE_BY_ERROR[code])
            case ErrorReply(code=code) if sid is not None and sid == book_sid:
                if code not in HARMLESS_ERRORS:
                    self._lose_all(Cause.UNKNOWN_ERROR)
            case UnsubscribedReply() if sid is not None and envelope.command_id is not None:
                # An answer to a command of ours, and so no loss.
                self._forget_subscription(sid)
            case UnsubscribedReply() if sid is not None:
                self._end_subscription(sid, Cause.UNSUBSCRIBED)
            case OkReply(market_tickers=tickers) if (
                tickers is not None and sid is not None and sid == book_sid
            ):
                self._note_markets(tickers, sid)
            case _:
                pass

    def _begin_subscription(self, sid: int, channel: str) -> None:
        """The exchange acknowledges a subscription. Data of it may have arrived before."""
        subscriptions = self.subscriptions
        subscriptions.note_channel(sid, channel)
        if sid in subscriptions.ended_sids:
            subscriptions.begin_again(sid)
        is_of_books, book_sid = channel == BOOK_CHANNEL, subscriptions.book_sid
        if book_sid is not None and is_of_books != (sid == book_sid):
            # Books continue under another number, or what was taken for books is something else.
            self._lose_all(Cause.OTHER_SUBSCRIPTION)
            self._forget_subscription(book_sid)
        if is_of_books:
            subscriptions.carry_books(sid)

    def _note_markets(self, tickers: frozenset[str], sid: int) -> None:
        """The exchange has listed the markets of the books' subscription: it reports no others."""
        self.subscriptions.listed = tickers
        expected = self.subscriptions.chain(sid).expected
        for market in list(self.markets.values()):
            if market.ticker not in tickers:
                if market.sid == sid:
                    self._lose_one(market, sid, expected, cause=Cause.UNFOLLOWED)
                self._forget(market)
        for ticker in sorted(tickers - self.markets.keys()):
            self._turned[ticker] = self._market(ticker)

    def _end_subscription(self, sid: int, cause: Cause) -> None:
        """The exchange has ended a subscription: what follows is missing until the next one."""
        self._note_gap(sid, self.subscriptions.chain(sid).expected, None, cause=cause)
        if sid == self.subscriptions.book_sid:
            self._lose_books(cause)
        self._forget_subscription(sid)

    def _forget_subscription(self, sid: int) -> None:
        if self.subscriptions.end(sid):
            for market in self.markets.values():
                market.leave_subscription()

    def _reject(self, reason: str) -> None:
        frame = self._frame
        self._facts.append(RejectFact(frame.number, frame.received_us, reason, frame.text))

    def _lose_rejected(self, envelope: Envelope) -> None:
        """A frame was not understood. If it is one about books, what it said is missing from here on."""
        sid, book_sid = envelope.sid, self.subscriptions.book_sid
        is_book_type = envelope.type in BOOK_TYPES
        if book_sid is None or not (sid == book_sid or is_book_type):
            return
        market = self.markets.get(guess_market_ticker(envelope) or "") if is_book_type else None
        if market is None:
            self._lose_all(Cause.REJECT)
        else:
            # A frame that was not numbered leaves no number out.
            after = self.subscriptions.chain(book_sid).expected
            expected = envelope.seq if sid == book_sid and envelope.seq is not None else after
            self._lose_one(market, book_sid, expected, cause=Cause.REJECT)

    def _lose_one(self, market: MarketState, sid: int, expected: int, *, cause: Cause) -> None:
        received = self.subscriptions.chain(sid).expected
        assert received >= expected
        self._note_gap(sid, expected, received, cause=cause, market_ticker=market.ticker)
        self._lose(market, cause)

    def _lose_all(self, cause: Cause) -> None:
        """Record that no book is known any more, though no number is missing. Nothing to do without books."""
        book_sid = self.subscriptions.book_sid
        if book_sid is not None:
            expected = self.subscriptions.chain(book_sid).expected
            self._note_gap(book_sid, expected, expected, cause=cause)
            self._lose_books(cause)

    def _lose_books(self, cause: Cause) -> None:
        """All books are unknown, those too whose first snapshot may be what is missing."""
        for market in self.markets.values():
            self._lose(market, cause)

    def _lose(self, market: MarketState, cause: Cause) -> None:
        market.lose(cause, self.session_key, self._frame)
        if self.maintenance.is_inactive:
            market.before = None
        self._turned[market.ticker] = market

    def _note_gap(
        self, sid: int, expected: int, received: int | None, *, cause: Cause, market_ticker: str | None = None
    ) -> None:
        gap = self.subscriptions.gap(
            self._frame, sid, expected, received, cause=cause, market_ticker=market_ticker
        )
        self._facts.append(gap)

    def _market(self, ticker: str) -> MarketState:
        market = self.markets.get(ticker)
        if market is None:
            market = self.markets[ticker] = MarketState(ticker, before=self.left.get(ticker))
        return market

    def _forget(self, market: MarketState) -> None:
        """The market is not in the subscription any more, whatever its book was before."""
        market.unknown_cause = Cause.UNFOLLOWED
        self._turned[market.ticker] = market
        self.left[market.ticker] = last_exact_of(market.before)
        del self.markets[market.ticker]


def _numbered(envelope: Envelope) -> tuple[int, int]:
    if envelope.sid is None or envelope.seq is None:
        raise MalformedFrame(f"{envelope.type} without sid and seq")
    return envelope.sid, envelope.seq
