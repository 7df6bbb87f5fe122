"""
The counter of one subscription.

Every frame that carries `sid` and `seq` counts, whatever its type, over all markets of the `sid`, from 1 on
(seen in unfiltered recordings: eight markets in one subscription, snapshots 1 to 8, deltas 9 to 69).
"""

from enum import Enum, auto

from attrs import define


class Order(Enum):
    """How a frame's number stands to the one before it."""

    IN_ORDER = auto()
    AHEAD = auto()
    """Numbers between the last one and this one are missing."""
    STALE = auto()
    """This number, or a later one, was already seen: the frame is a repetition or comes too late."""


@define
class SequenceChain:
    """The numbers of one `sid`. `expected` is the one that the next frame must carry."""

    expected: int = 1

    def advance(self, seq: int) -> Order:
        """Take note of a frame's number; a hole is passed over, so that it is told only once."""
        if seq == self.expected:
            self.expected = seq + 1
            return Order.IN_ORDER
        if seq < self.expected:
            return Order.STALE
        self.expected = seq + 1
        return Order.AHEAD
