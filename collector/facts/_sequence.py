"""
The counter of one subscription.

Every frame that carries `sid` and `seq` counts, whatever its type, over all markets of the `sid`, from 1 on
(seen in unfiltered recordings: eight markets in one subscription, snapshots 1 to 8, deltas 9 to 69).

A number that comes again is harmless only when the frame is the one that had it. The exchange may have sent
that frame at another time, so `sending_ts_ms` is left out of the comparison. Frames are remembered for the
last REMEMBERED_FRAMES numbers; an older number counts as another frame.
"""

import hashlib
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from attrs import define, field

REMEMBERED_FRAMES: Final = 4096
"""Some seconds of the busiest subscription seen: repetitions come within a round trip or two."""
TEXT_KEPT_MAX: Final = 1000
"""Characters. A longer frame is remembered by its digest, so that snapshots do not fill the memory."""

_SENDING_TIME: Final = re.compile(r'"sending_ts_ms":\s*[0-9]+')


class Order(Enum):
    """How a frame's number stands to the one before it."""

    IN_ORDER = auto()
    AHEAD = auto()
    """Numbers between the last one and this one are missing."""
    REPEATED = auto()
    """The frame that had this number is received again."""
    CONFLICT = auto()
    """Another frame had this number, or it is too old to tell."""


@define(eq=False)
class SequenceChain:
    """
    The numbers of one `sid`. `expected` is the one that the next frame must carry.

    `remembered` are the last frames, each with its number: the text, or the digest of a long one.
    """

    expected: int = 1
    remembered: deque[tuple[int, str | bytes]] = field(
        factory=lambda: deque[tuple[int, str | bytes]](maxlen=REMEMBERED_FRAMES)
    )

    @classmethod
    def of(cls, expected: int, remembered: Iterable[tuple[int, str | bytes]]) -> "SequenceChain":
        """A counter that continues with these frames remembered, in order."""
        return cls(expected, deque(remembered, maxlen=REMEMBERED_FRAMES))

    def advance(self, seq: int, text: str) -> Order:
        """
        Take note of a frame's number; numbers that are missing are passed over, so that they are missing
        once.
        """
        if seq < self.expected:
            return Order.REPEATED if self._has(seq, text) else Order.CONFLICT
        order = Order.IN_ORDER if seq == self.expected else Order.AHEAD
        self.remembered.append((seq, text if len(text) <= TEXT_KEPT_MAX else _digest(text)))
        self.expected = seq + 1
        return order

    def restart(self) -> None:
        """A new subscription has this `sid`: its numbers begin again."""
        self.expected = 1
        self.remembered.clear()

    def _has(self, seq: int, text: str) -> bool:
        at = bisect_left(self.remembered, seq, key=lambda entry: entry[0])
        if at == len(self.remembered) or self.remembered[at][0] != seq:
            return False
        kept = self.remembered[at][1]
        return _digest(text) == (kept if isinstance(kept, bytes) else _digest(kept))


def _digest(text: str) -> bytes:
    """SHA-256 of a frame without its sending time."""
    return hashlib.sha256(_SENDING_TIME.sub("", text).encode(errors="surrogatepass")).digest()
