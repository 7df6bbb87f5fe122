"""One market of a connection: its book, and whether that is known to be the exchange's."""

import json
from typing import Final
from uuid import UUID

from attrs import define, field

from collector.facts._causes import Cause
from collector.facts._facts import EventFact, Origin, ReceivedFrame, SnapshotFact
from collector.facts._interruptions import INTERRUPTIONS, HeldBook, LastExact
from collector.facts._order_book import OrderBook
from collector.protocol import DeltaMessage, SnapshotMessage

CLOCK_LOWERED: Final = "clock_lowered"
"""The type of an event: the exchange may lower clocks in maintenance."""
HOUR_US: Final = 3_600_000_000
"""In each such hour since 1970 UTC a book that changes is written out once, so that reading begins nearby."""


@define(eq=False)
class MarketState:
    """
    One market of a connection.

    `unknown_cause` says why the book is not exact, and is None when it is. `is_lost` is true for a book that
    was lost and must be requested, false for one whose first snapshot is still pending.
    """

    ticker: str
    book: OrderBook = field(factory=OrderBook)
    unknown_cause: Cause | None = Cause.NO_SNAPSHOT_YET
    is_lost: bool = False
    last_turn: tuple[int, Cause | None] | None = None
    """Number of snapshots and cause when the state was last a fact; None before the first time."""
    before: HeldBook | LastExact | None = None
    """The exact book before an interruption that lasts; None where there is none or it proves nothing."""
    sid: int | None = None
    sequence_number: int = 0
    clock: int | None = None
    """The exchange's clock of the newest snapshot or delta; None where that had none."""
    snapshot_clock: int | None = None
    """The exchange's clock of the newest snapshot on the present subscription; None where that had none."""
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

    def lose(self, cause: Cause, session_key: UUID, frame: ReceivedFrame) -> None:
        """
        The book is no longer known to be the exchange's, by a frame of the session. What made it unknown
        stays the cause until it is exact again.
        """
        if cause not in INTERRUPTIONS:
            self.before = None
        elif self.is_exact:
            self.before = self.held(session_key, frame.number - 1, frame.received_us)
        if self.is_exact:
            self.unknown_cause = cause
        self.is_lost = True

    def held(self, session_key: UUID, last_frame: int, from_us: int) -> HeldBook:
        """The book as it is now."""
        book = OrderBook(dict(self.book.yes_bids), dict(self.book.no_bids))
        return HeldBook(
            market_ticker=self.ticker,
            session_key=session_key,
            last_frame=last_frame,
            from_us=from_us,
            clock=self.clock,
            book=book,
        )

    def turn(self) -> bool:
        """Whether the state becomes a fact now: it has changed since the last one, or with a snapshot."""
        turn = (self.snapshots, self.unknown_cause)
        is_due = turn != self.last_turn
        self.last_turn = turn
        return is_due

    def leave_subscription(self) -> None:
        """The subscription that carried the market has ended."""
        self.sid = None
        self.snapshot_clock = None

    def is_clock_conflict(self, delta: DeltaMessage) -> bool:
        """
        Whether a delta's clock contradicts the book.

        A snapshot includes every change up to its clock, and clocks of a market do not go down (AsyncAPI
        document of October 2026). Several deltas share a clock when one action makes several changes.
        """
        if delta.clock is None:
            return False
        is_below = self.clock is not None and delta.clock < self.clock
        is_included = self.snapshot_clock is not None and delta.clock <= self.snapshot_clock
        return is_below or is_included

    def apply(self, delta: DeltaMessage, sid: int, seq: int, received_us: int) -> int:
        """Fold a delta. Returns the size before it. Raises MalformedFrame, with nothing changed."""
        old_size_e2 = self.book.apply(delta.side, delta.price_e4, delta.delta_e2)
        self.sid = sid
        self.sequence_number = seq
        self.clock = delta.clock
        self.timestamp_ms = delta.timestamp_ms
        self.received_us = received_us
        self.deltas += 1
        return old_size_e2

    def difference(self, snapshot: SnapshotMessage) -> str | None:
        """
        The first difference between the book and the exchange's own at the same place; None without any.
        """
        difference = self.book.first_difference(snapshot.yes_bids, snapshot.no_bids)
        if difference is None and None not in (self.clock, snapshot.clock) and self.clock != snapshot.clock:
            return f"clock: book {self.clock}, exchange {snapshot.clock}"
        return difference

    def lowered_clock(self, snapshot: SnapshotMessage, sid: int, seq: int, us: int) -> EventFact | None:
        """The event of a snapshot whose clock is lower than the book's; None if it is not."""
        if self.clock is None or snapshot.clock is None or snapshot.clock >= self.clock:
            return None
        clocks = json.dumps({"from": self.clock, "to": snapshot.clock})
        return EventFact(
            market_ticker=self.ticker,
            sequence_number=seq,
            timestamp_ms=None,
            received_us=us,
            event_type=CLOCK_LOWERED,
            event=clocks,
            sid=sid,
        )

    def replace(self, snapshot: SnapshotMessage, sid: int, seq: int, received_us: int) -> None:
        """Make the book what a snapshot says. It is exact from here on."""
        self.book.replace(snapshot.yes_bids, snapshot.no_bids)
        self.unknown_cause = None
        self.before = None
        self.is_lost = False
        self.sid = sid
        self.sequence_number = seq
        self.clock = self.snapshot_clock = snapshot.clock
        self.timestamp_ms = None
        self.received_us = received_us
        self.hour = received_us // HOUR_US
        self.snapshots += 1

    def as_snapshot(self, frame: ReceivedFrame, origin: Origin) -> SnapshotFact:
        """The book as a fact. The market has had a snapshot or a delta on a subscription."""
        assert self.sid is not None
        return SnapshotFact(
            market_ticker=self.ticker,
            sequence_number=self.sequence_number,
            received_us=frame.received_us,
            origin=origin,
            yes_bids=dict(self.book.yes_bids),
            no_bids=dict(self.book.no_bids),
            digest=self.book.digest(),
            sid=self.sid,
            frame_number=frame.number,
            clock=self.clock,
        )
