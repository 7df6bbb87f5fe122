"""
Interruptions of a book, and the proof that nothing happened to the market in one. Pure.

While a book is unknown after an interruption, changes of its market may be missing. The next snapshot can
prove that there were none: the exchange's clock increases with every change of a market, so a snapshot with
the clock of the last exact book includes the same changes. The levels are compared too, because the changes
of one action share a clock, and because the exchange empties a book at the close without a change. In
maintenance the exchange may set clocks back, so nothing is proven across one.
"""

from typing import Final
from uuid import UUID

from attrs import define, field
from msgspec import Struct

from collector.facts._causes import Cause
from collector.facts._facts import ProvenEmptyFact, SnapshotFact
from collector.facts._maintenance import Maintenance
from collector.facts._order_book import OrderBook

INTERRUPTIONS: Final = frozenset(
    {
        Cause.SEQUENCE,
        Cause.CHANNEL_ERROR,
        Cause.BUFFER_OVERFLOW,
        Cause.UNSUBSCRIBED,
        Cause.UNFOLLOWED,
    }
)
"""
Causes that say only that changes may be missing. After others the recorder did not understand what it
received, or the exchange contradicted itself, and then a snapshot proves nothing about the time before it.
"""


PROVEN_EMPTY: Final = "proven_empty"
"""Why a book is exact in a time without messages: the reason that coverage gives instead of a cause."""
PROVABLE_US_MAX: Final = 7 * 86_400_000_000
"""A longer interruption is never proven empty: it touches a maintenance."""


class LastExact(Struct, frozen=True):
    """
    An exact book as of the last frame before an interruption.

    `session_key` is that of its session, `last_frame` the number of that frame, `from_us` when the
    interruption began. `clock` is the exchange's, None where it sent none; `digest` as in SnapshotFact.
    """

    market_ticker: str
    session_key: UUID
    last_frame: int
    from_us: int
    clock: int | None
    digest: bytes

    def proves_empty(self, snapshot: SnapshotFact, maintenance: Maintenance) -> bool:
        """Whether nothing happened to the market between this book and its next snapshot."""
        if self.clock is None or self.clock != snapshot.clock:
            return False
        if self.clock == 0 and (snapshot.yes_bids or snapshot.no_bids):
            return False
        if self.digest != snapshot.digest:
            return False
        if snapshot.received_us < self.from_us:
            # The wall clock was set back between two sessions: nobody knows how long this took.
            return False
        return not maintenance.touches(self.from_us, snapshot.received_us)


@define(eq=False)
class HeldBook:
    """
    A LastExact whose digest is computed on demand: a hole concerns a thousand books at once, and a digest
    takes up to 100 µs. `book` does not change any more.
    """

    market_ticker: str
    session_key: UUID
    last_frame: int
    from_us: int
    clock: int | None
    book: OrderBook = field(repr=False)

    def last_exact(self) -> LastExact:
        """The same with its digest."""
        return LastExact(
            market_ticker=self.market_ticker,
            session_key=self.session_key,
            last_frame=self.last_frame,
            from_us=self.from_us,
            clock=self.clock,
            digest=self.book.digest(),
        )


def last_exact_of(book: HeldBook | LastExact | None) -> LastExact | None:
    """The book with its digest; None for None."""
    return book.last_exact() if isinstance(book, HeldBook) else book


def prove_empty(
    before: HeldBook | LastExact, snapshot: SnapshotFact, maintenance: Maintenance
) -> ProvenEmptyFact | None:
    """The fact that nothing happened between an exact book and its next snapshot; None if unproven."""
    if before.clock != snapshot.clock:
        return None
    last = last_exact_of(before)
    if last is None or not last.proves_empty(snapshot, maintenance):
        return None
    return ProvenEmptyFact(
        market_ticker=snapshot.market_ticker,
        frame_number=snapshot.frame_number,
        received_us=snapshot.received_us,
        from_us=last.from_us,
        earlier_key=last.session_key,
        earlier_frame=last.last_frame,
    )
