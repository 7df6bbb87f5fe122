"""
The exchange's clock: a number for each action that changes a book, and how a message carries it.

It counts the actions of all markets together and skips values, so the clocks of one market rise and have
gaps. Pure: the random source is passed in.
"""

import random
import typing

# Which messages get `clock`: those of the generated flow, all (tapes too), or none. Frames have the time at
# which they are sent if any message gets a clock.
ClockScope = typing.Literal["flow", "all", "none"]

# Values that are skipped between two actions, on average.
SKIPPED_MEAN = 2.0
# Where the count begins: far from 0, and far below 2**53, up to which every JSON reader is exact.
FIRST_MIN, FIRST_MAX = 10**9, 2 * 10**9


class ExchangeClock:
    """One count for all markets of an exchange. Invariant: `newest` is the clock of the newest action."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._lowest = rng.randint(FIRST_MIN, FIRST_MAX)
        self.newest = self._lowest

    def advance(self) -> int:
        """Return the clock of the next action."""
        self.newest += 1 + int(self._rng.expovariate(1 / SKIPPED_MEAN))
        return self.newest

    def lower(self) -> None:
        """Continue from half of the lowest value so far, as the exchange may do in maintenance."""
        self._lowest //= 2
        self.newest = self._lowest


def with_clock(msg: bytes, clock: int) -> bytes:
    """Add `clock` to a `msg` as its last member; every other byte stays."""
    return b'%b,"clock":%d}' % (msg[:-1], clock)
