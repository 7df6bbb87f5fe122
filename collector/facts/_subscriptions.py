"""The subscriptions of one connection: their channels, their counters, and which one carries the books."""

from typing import Final

from attrs import define, field

from collector.facts._causes import Cause
from collector.facts._facts import GapFact, ReceivedFrame
from collector.facts._sequence import SequenceChain
from collector.protocol import BOOK_CHANNEL, LIFECYCLE_CHANNEL, LIFECYCLE_TYPES

BOOK_TYPES: Final = frozenset({"orderbook_delta", "orderbook_snapshot"})


@define(eq=False)
class Subscriptions:
    """
    What is known of each `sid`.

    `book_sid` is the subscription that carries the books; None before the first one and after its end.
    `listed` are the markets that it carries, None where the exchange has not listed them.
    """

    book_sid: int | None = None
    listed: frozenset[str] | None = None
    channels: dict[int, str] = field(factory=dict[int, str])
    ended_sids: set[int] = field(factory=set[int])
    chains: dict[int, SequenceChain] = field(factory=dict[int, SequenceChain])

    def chain(self, sid: int) -> SequenceChain:
        """The counter of a subscription; a new one for a `sid` that is seen first."""
        chain = self.chains.get(sid)
        if chain is None:
            chain = self.chains[sid] = SequenceChain()
        return chain

    def learn_channel(self, sid: int, frame_type: str) -> None:
        """Data may arrive before the acknowledgement of its subscription: its type names the channel."""
        if frame_type in BOOK_TYPES and self.book_sid is None and sid not in self.ended_sids:
            if self.channels.setdefault(sid, BOOK_CHANNEL) == BOOK_CHANNEL:
                self.book_sid = sid
        elif frame_type in LIFECYCLE_TYPES and sid != self.book_sid:
            self.channels.setdefault(sid, LIFECYCLE_CHANNEL)

    def note_channel(self, sid: int, channel: str) -> None:
        """The exchange names the channel of a subscription."""
        # It becomes a column: what PostgreSQL's text can't hold is no name of a channel.
        if channel.isprintable():
            self.channels[sid] = channel

    def begin_again(self, sid: int) -> None:
        """A new subscription has the number of an ended one."""
        self.ended_sids.discard(sid)
        self.chain(sid).restart()

    def gap(
        self,
        frame: ReceivedFrame,
        sid: int,
        expected: int,
        received: int | None,
        *,
        cause: Cause,
        market_ticker: str | None = None,
    ) -> GapFact:
        """What is missing by a frame: see GapFact. With `market_ticker` it is about that book."""
        is_of_books = market_ticker is not None or sid == self.book_sid
        return GapFact(
            sid=sid,
            expected=expected,
            received=received,
            detected_us=frame.received_us,
            frame_number=frame.number,
            cause=cause,
            market_ticker=market_ticker,
            channel=BOOK_CHANNEL if is_of_books else self.channels.get(sid),
        )

    def carry_books(self, sid: int) -> None:
        """The books are on this subscription from now on."""
        self.book_sid = sid
        self.listed = None

    def end(self, sid: int) -> bool:
        """A subscription has ended. Returns whether it was that of the books."""
        self.ended_sids.add(sid)
        if sid != self.book_sid:
            return False
        self.book_sid = None
        self.listed = None
        return True
