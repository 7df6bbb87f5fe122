"""
Frames to facts, for one connection.

Theory of operation. A connection has subscriptions, each with a `sid` and a counter. Each frame first passes
its counter: a hole there belongs to an unknown market, so all books of that `sid` become unknown until a new
snapshot of each; a number seen before is dropped. Only then the content is read and folded into the market's
book. A book is exact from a snapshot on, until something is lost. An exact book that a snapshot was asked for
is audited: the two must be equal, since both stand at the same place in the sequence. Facts come out in the
order of the frames, and the same frames always give the same facts: that is what lets a recording be derived
again. So markets that join or leave a session do so by what the exchange says, never by what was asked of it.
"""

from collections import Counter
from collections.abc import Iterable

from attrs import define, field

from collector.errors import MalformedFrame
from collector.facts._causes import ENDING_CAUSE_BY_ERROR, Cause
from collector.facts._facts import (
    AuditFact,
    DeltaFact,
    EventFact,
    Fact,
    FrameBatch,
    FrameCounts,
    GapFact,
    Origin,
    ReceivedFrame,
    RejectFact,
    ReplyFact,
    SnapshotFact,
    TradeFact,
)
from collector.facts._order_book import OrderBook
from collector.facts._sequence import Order, SequenceChain
from collector.protocol import (
    BOOK_CHANNEL,
    LIFECYCLE_CHANNEL,
    LIFECYCLE_TYPES,
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
    canonical_event,
    decode_envelope,
    decode_message,
    guess_market_ticker,
)

BOOK_TYPES = frozenset({"orderbook_delta", "orderbook_snapshot"})
HOUR_US = 3_600_000_000
"""In each such hour since 1970 UTC a book that changes is written out once, so that reading begins nearby."""
UNKNOWN_NAMES_MAX = 200
"""Names that the exchange makes up are counted one by one up to here, and together beyond."""


@define(eq=False)
class MarketState:
    """
    One market of a connection.

    `unknown_cause` says why the book is not exact, and is None when it is. `is_lost` tells a book that was
    lost, and must be asked for, from one whose first snapshot is still on its way.
    """

    ticker: str
    book: OrderBook = field(factory=OrderBook)
    unknown_cause: Cause | None = Cause.NO_SNAPSHOT_YET
    is_lost: bool = False
    sid: int | None = None
    sequence_number: int = 0
    clock: int | None = None
    """The exchange's clock of the newest snapshot or delta; None where that had none."""
    timestamp_ms: int | None = None
    received_us: int = 0
    hour: int = 0
    """The hour, counted since 1970 UTC, of the last snapshot, checkpoint or delta."""
    snapshots: int = 0
    deltas: int = 0
    trades: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether the book is known to be the exchange's."""
        return self.unknown_cause is None

    def lose(self, cause: Cause) -> None:
        """The book is not known to be right any more."""
        self.unknown_cause = cause
        self.is_lost = True


@define(eq=False)
class FeedTracker:
    """
    The state of one connection: its markets and the counters of its subscriptions.

    `unknown_types` and `unknown_fields` count what this program does not know of the protocol.
    """

    markets: dict[str, MarketState]
    chains: dict[int, SequenceChain] = field(factory=dict[int, SequenceChain])
    book_sids: set[int] = field(factory=set[int])
    ended_sids: set[int] = field(factory=set[int])
    channels: dict[int, str] = field(factory=dict[int, str])
    unknown_types: Counter[str] = field(factory=Counter[str])
    unknown_fields: Counter[str] = field(factory=Counter[str])
    negative_levels: int = 0
    _recorded: set[str] = field(init=False)
    """The markets that were given or have had a book since: the lifecycle tells of all others too."""
    _listed: dict[int, frozenset[str]] = field(factory=dict[int, frozenset[str]])
    """What subscriptions of books carry, as far as the exchange has said so."""

    def __attrs_post_init__(self) -> None:
        self._recorded = set(self.markets)

    @classmethod
    def of_markets(cls, tickers: Iterable[str]) -> "FeedTracker":
        """A tracker for a connection that is about to subscribe to these markets."""
        return cls({ticker: MarketState(ticker) for ticker in tickers})

    @property
    def recorded(self) -> frozenset[str]:
        """The markets that were given or have had a book since."""
        return frozenset(self._recorded)

    def process(self, frames: Iterable[ReceivedFrame]) -> FrameBatch:
        """Fold frames, in order, and tell what they mean."""
        frames = tuple(frames)
        facts: list[Fact] = []
        kinds = Counter(self._process_one(frame, facts) for frame in frames)
        return FrameBatch(frames, tuple(facts), FrameCounts(**kinds))

    def lost_markets(self) -> list[str]:
        """Markets whose books must be asked for, in a stable order."""
        return [market.ticker for market in self.markets.values() if market.is_lost]

    def is_exact(self, ticker: str) -> bool:
        """Whether this market's book is exact now."""
        market = self.markets.get(ticker)
        return market is not None and market.is_exact

    def lose_missing(self) -> None:
        """Books whose first snapshot has not come count as lost from now on."""
        for market in self.markets.values():
            if not market.is_exact:
                market.is_lost = True

    def exact_count(self) -> int:
        """How many books are exact now."""
        return sum(market.is_exact for market in self.markets.values())

    def _process_one(self, frame: ReceivedFrame, facts: list[Fact]) -> str:
        """Append what one frame means, and name its kind as FrameCounts does."""
        try:
            envelope = decode_envelope(frame.text)
        except MalformedFrame as error:
            # Its number, if it had one, is unknown: the next frame of its sid will show the hole.
            facts.append(RejectFact(frame.number, frame.received_us, str(error), frame.text))
            return "rejects"
        if envelope.sid is not None and envelope.seq is not None:
            if envelope.type in BOOK_TYPES:
                self.book_sids.add(envelope.sid)
            elif envelope.type in LIFECYCLE_TYPES:
                self.channels.setdefault(envelope.sid, LIFECYCLE_CHANNEL)
            if not self._pass_chain(envelope.sid, envelope.seq, frame, facts):
                return "stales"
        try:
            return self._process_content(envelope, frame, facts)
        except MalformedFrame as error:
            facts.append(RejectFact(frame.number, frame.received_us, str(error), frame.text))
            self._lose_rejected(envelope, frame, facts)
            return "rejects"

    def _pass_chain(self, sid: int, seq: int, frame: ReceivedFrame, facts: list[Fact]) -> bool:
        """Take note of a frame's number; False when it was seen before."""
        chain = self.chains.setdefault(sid, SequenceChain())
        if sid in self.ended_sids and seq == 1:
            # The exchange gave the number of a dead subscription to a new one.
            self.ended_sids.discard(sid)
            chain.expected = 1
        expected = chain.expected
        order = chain.advance(seq)
        if order is Order.AHEAD:
            facts.append(self._gap(sid, expected, seq, frame, cause=Cause.SEQUENCE))
            self._lose_books(sid, Cause.SEQUENCE)
        return order is not Order.STALE

    def _process_content(self, envelope: Envelope, frame: ReceivedFrame, facts: list[Fact]) -> str:
        decoded = decode_message(envelope)
        for name in (*envelope.unknown_fields, *decoded.unknown_fields):
            _count_name(self.unknown_fields, f"{envelope.type}.{name[:100]}")
        match decoded.message:
            case DeltaMessage() as delta:
                self._fold_delta(envelope, delta, frame, facts)
                return "deltas"
            case TradeMessage() as trade:
                self._note_trade(envelope, trade, frame, facts)
                return "trades"
            case SnapshotMessage() as snapshot:
                self._replace_book(envelope, snapshot, frame, facts)
                return "snapshots"
            case LifecycleMessage() as lifecycle:
                self._note_event(envelope, lifecycle, frame, facts)
                return "controls"
            case OtherMessage():
                _count_name(self.unknown_types, envelope.type)
            case SubscribedReply() | ErrorReply() | UnsubscribedReply() as reply:
                self._note_subscription(envelope, reply, frame, facts)
            case OkReply(market_tickers=tickers) if tickers is not None and envelope.sid is not None:
                self._note_markets(envelope.sid, tickers, frame, facts)
            case _:
                pass
        facts.append(ReplyFact(envelope.sid, envelope.command_id, decoded.message))
        return "controls"

    def _fold_delta(
        self, envelope: Envelope, delta: DeltaMessage, frame: ReceivedFrame, facts: list[Fact]
    ) -> None:
        sid, seq = _numbered(envelope)
        market = self._market(delta.market_ticker)
        self._begin_hour(market, frame, facts)
        old_size_e2 = market.book.apply(delta.side, delta.price_e4, delta.delta_e2)
        market.sid = sid
        market.sequence_number = seq
        market.clock = delta.clock
        market.timestamp_ms = delta.timestamp_ms
        market.received_us = frame.received_us
        market.deltas += 1
        facts.append(
            DeltaFact(
                market_ticker=delta.market_ticker,
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
        if old_size_e2 + delta.delta_e2 < 0 and market.is_exact:
            self.negative_levels += 1
            self._lose_one(market, sid, seq + 1, frame, cause=Cause.NEGATIVE_LEVEL, facts=facts)

    def _replace_book(
        self, envelope: Envelope, snapshot: SnapshotMessage, frame: ReceivedFrame, facts: list[Fact]
    ) -> None:
        sid, seq = _numbered(envelope)
        market = self._market(snapshot.market_ticker)
        self._recorded.add(market.ticker)
        origin: Origin
        if envelope.command_id is not None:
            origin = "requested"
        elif market.sid != sid or not market.snapshots:
            origin = "initial"
        else:
            origin = "unsolicited"
        is_audit = origin == "requested" and market.is_exact and market.sid == sid
        difference = market.book.first_difference(snapshot.yes_bids, snapshot.no_bids) if is_audit else None
        market.book.replace(snapshot.yes_bids, snapshot.no_bids)
        market.unknown_cause = None
        market.is_lost = False
        market.sid = sid
        market.sequence_number = seq
        market.clock = snapshot.clock
        market.timestamp_ms = None
        market.received_us = frame.received_us
        market.hour = frame.received_us // HOUR_US
        market.snapshots += 1
        facts.append(_snapshot_of(market, frame, origin))
        if sid in self.ended_sids:
            # Nothing follows a late answer on a subscription that has ended: it makes no book exact.
            self._lose_one(market, sid, seq + 1, frame, cause=Cause.AFTER_END, facts=facts)
        elif origin == "requested" and market.ticker not in self._listed.get(sid, (market.ticker,)):
            # A late answer of a market that has left: nothing follows it either.
            self._lose_one(market, sid, seq + 1, frame, cause=Cause.UNFOLLOWED, facts=facts)
            del self.markets[market.ticker]
        elif is_audit:
            facts.append(
                AuditFact(market.ticker, seq, frame.received_us, difference is None, difference, sid=sid)
            )
            if difference is not None:
                self._lose_one(market, sid, seq + 1, frame, cause=Cause.AUDIT_MISMATCH, facts=facts)

    def _begin_hour(self, market: MarketState, frame: ReceivedFrame, facts: list[Fact]) -> None:
        """Before a market's first change in an hour its book is told whole, as of its last frame."""
        hour = frame.received_us // HOUR_US
        if hour != market.hour:
            market.hour = hour
            if market.is_exact:
                facts.append(_snapshot_of(market, frame, "checkpoint"))

    def _note_trade(
        self, envelope: Envelope, trade: TradeMessage, frame: ReceivedFrame, facts: list[Fact]
    ) -> None:
        self._market(trade.market_ticker).trades += 1
        facts.append(
            TradeFact(
                market_ticker=trade.market_ticker,
                sequence_number=envelope.seq,
                timestamp_ms=trade.timestamp_ms,
                received_us=frame.received_us,
                trade_id=trade.trade_id,
                taker_side=trade.taker_side,
                price_e4=trade.price_e4,
                count_e2=trade.count_e2,
                is_block_trade=trade.is_block_trade,
                sid=envelope.sid,
                sending_ts_ms=envelope.sending_ts_ms,
            )
        )

    def _note_event(
        self, envelope: Envelope, lifecycle: LifecycleMessage, frame: ReceivedFrame, facts: list[Fact]
    ) -> None:
        ticker, event_type = lifecycle.market_ticker, lifecycle.event_type
        if event_type is None and envelope.type != LIFECYCLE_CHANNEL:
            event_type = envelope.type
        if ticker is None or ticker not in self._recorded or event_type is None:
            return
        event = canonical_event(lifecycle.content)
        if event is not None:
            facts.append(
                EventFact(
                    market_ticker=ticker,
                    sequence_number=envelope.seq,
                    timestamp_ms=lifecycle.timestamp_ms,
                    received_us=frame.received_us,
                    event_type=event_type,
                    event=event,
                    sid=envelope.sid,
                )
            )

    def _note_subscription(
        self,
        envelope: Envelope,
        reply: SubscribedReply | ErrorReply | UnsubscribedReply,
        frame: ReceivedFrame,
        facts: list[Fact],
    ) -> None:
        match reply:
            case SubscribedReply(channel=channel, sid=sid):
                if channel == BOOK_CHANNEL:
                    self.book_sids.add(sid)
                # It becomes a column: what PostgreSQL's text can't hold is no name of a channel.
                if channel.isprintable():
                    self.channels[sid] = channel
                self._listed.pop(sid, None)
                if sid in self.ended_sids:
                    self.ended_sids.discard(sid)
                    self.chains[sid] = SequenceChain()
            case ErrorReply(code=code) if code in ENDING_CAUSE_BY_ERROR and envelope.sid is not None:
                self._end_subscription(envelope.sid, ENDING_CAUSE_BY_ERROR[code], frame, facts)
            case UnsubscribedReply() if envelope.sid is not None:
                # An answer to a command is our own wish, and so no loss.
                if envelope.command_id is not None:
                    self.ended_sids.add(envelope.sid)
                else:
                    self._end_subscription(envelope.sid, Cause.UNSUBSCRIBED, frame, facts)
            case _:
                pass

    def _note_markets(
        self, sid: int, tickers: frozenset[str], frame: ReceivedFrame, facts: list[Fact]
    ) -> None:
        """The exchange has said what a subscription of books covers: nothing more comes of other markets."""
        if sid not in self.book_sids:
            return
        self._listed[sid] = tickers
        expected = self.chains.setdefault(sid, SequenceChain()).expected
        for market in list(self.markets.values()):
            if market.ticker not in tickers and market.sid in (sid, None):
                if market.sid == sid:
                    self._lose_one(market, sid, expected, frame, cause=Cause.UNFOLLOWED, facts=facts)
                del self.markets[market.ticker]
        for ticker in sorted(tickers):
            self._market(ticker)

    def _end_subscription(self, sid: int, cause: Cause, frame: ReceivedFrame, facts: list[Fact]) -> None:
        """The exchange has ended a subscription: what comes after it is missing until the next one."""
        chain = self.chains.setdefault(sid, SequenceChain())
        facts.append(self._gap(sid, chain.expected, None, frame, cause=cause))
        self._lose_books(sid, cause)
        self.ended_sids.add(sid)
        for market in self.markets.values():
            if market.sid == sid:
                market.sid = None

    def _lose_rejected(self, envelope: Envelope, frame: ReceivedFrame, facts: list[Fact]) -> None:
        """A frame about books was not understood: what it said is missing from here on."""
        if envelope.type not in BOOK_TYPES and not (envelope.type == "error" and envelope.sid is not None):
            return
        market = self.markets.get(guess_market_ticker(envelope) or "")
        sid, seq = envelope.sid, envelope.seq
        if sid is None:
            # Whose book it is, if that much can be read, says whose subscription.
            known = market.sid if market is not None else None
            sid = max(self.book_sids, default=0) if known is None else known
        after = self.chains.setdefault(sid, SequenceChain()).expected
        # A frame that was not numbered leaves no number out.
        expected = after if envelope.sid is None or seq is None else seq
        if market is not None:
            self._lose_one(market, sid, expected, frame, cause=Cause.REJECT, facts=facts)
            return
        facts.append(self._gap(sid, expected, after, frame, cause=Cause.REJECT))
        self._lose_books(sid, Cause.REJECT)

    def _lose_one(
        self,
        market: MarketState,
        sid: int,
        expected: int,
        frame: ReceivedFrame,
        *,
        cause: Cause,
        facts: list[Fact],
    ) -> None:
        assert self.chains[sid].expected >= expected
        received = self.chains[sid].expected
        facts.append(self._gap(sid, expected, received, frame, cause=cause, market_ticker=market.ticker))
        market.lose(cause)

    def _gap(
        self,
        sid: int,
        expected: int,
        received: int | None,
        frame: ReceivedFrame,
        *,
        cause: Cause,
        market_ticker: str | None = None,
    ) -> GapFact:
        return GapFact(
            sid=sid,
            expected=expected,
            received=received,
            detected_us=frame.received_us,
            frame_number=frame.number,
            cause=cause,
            market_ticker=market_ticker,
            channel=BOOK_CHANNEL if sid in self.book_sids else self.channels.get(sid),
        )

    def _lose_books(self, sid: int, cause: Cause) -> None:
        """All books of a subscription are unknown; so are those whose snapshot may be what is missing."""
        if sid not in self.book_sids:
            return
        for market in self.markets.values():
            if market.sid is None or market.sid == sid:
                market.lose(cause)

    def _market(self, ticker: str) -> MarketState:
        market = self.markets.get(ticker)
        if market is None:
            market = self.markets[ticker] = MarketState(ticker)
        return market


def _snapshot_of(market: MarketState, frame: ReceivedFrame, origin: Origin) -> SnapshotFact:
    assert market.sid is not None
    return SnapshotFact(
        market_ticker=market.ticker,
        sequence_number=market.sequence_number,
        received_us=frame.received_us,
        origin=origin,
        yes_bids=dict(market.book.yes_bids),
        no_bids=dict(market.book.no_bids),
        digest=market.book.digest(),
        sid=market.sid,
        frame_number=frame.number,
        clock=market.clock,
    )


def _count_name(counts: Counter[str], name: str) -> None:
    counts[name if name in counts or len(counts) < UNKNOWN_NAMES_MAX else "(others)"] += 1


def _numbered(envelope: Envelope) -> tuple[int, int]:
    if envelope.sid is None or envelope.seq is None:
        raise MalformedFrame(f"{envelope.type} without sid and seq")
    return envelope.sid, envelope.seq
