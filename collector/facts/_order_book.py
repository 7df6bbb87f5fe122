"""
One market's order book: bids on YES and bids on NO.

The exchange sends bids only; a NO bid at p is a YES ask at 1 - p. Sizes are integers in 1/100 contract, and
a level whose size is zero does not exist. A size below zero breaks the protocol, but the arithmetic goes on,
so that folding the recorded rows always gives what is here.
"""

import hashlib

from attrs import define, field

from collector.protocol import PRICE_E4_MAX, Levels, Side, checked_size_e2


@define
class OrderBook:
    """Both sides of one market, price_e4 to size_e2."""

    yes_bids: Levels = field(factory=dict[int, int])
    no_bids: Levels = field(factory=dict[int, int])

    def replace(self, yes_bids: Levels, no_bids: Levels) -> None:
        """Make the book what a snapshot says."""
        self.yes_bids = dict(yes_bids)
        self.no_bids = dict(no_bids)

    def apply(self, side: Side, price_e4: int, delta_e2: int) -> int:
        """
        Change what rests at one price and tell the size before it.

        Raises MalformedFrame, and changes nothing, when the sum is beyond what the recording can hold.
        """
        levels = self.yes_bids if side == "yes" else self.no_bids
        old_size_e2 = levels.get(price_e4, 0)
        new_size_e2 = checked_size_e2(old_size_e2 + delta_e2)
        if new_size_e2:
            levels[price_e4] = new_size_e2
        else:
            levels.pop(price_e4, None)
        return old_size_e2

    def first_difference(self, yes_bids: Levels, no_bids: Levels) -> str | None:
        """The first level that is not as the exchange has it, YES before NO; None when all are."""
        return _difference("yes", self.yes_bids, yes_bids) or _difference("no", self.no_bids, no_bids)

    def digest(self) -> bytes:
        """SHA-256 over the canonical text of the book: see docs/recording-format.md."""
        return digest_levels(self.yes_bids, self.no_bids)


def digest_levels(yes_bids: Levels, no_bids: Levels) -> bytes:
    """SHA-256 of `yes 100=500 200=30` newline `no 4000=100`: levels ascending by price, no zero sizes."""
    return hashlib.sha256(f"yes{_canonical(yes_bids)}\nno{_canonical(no_bids)}".encode("ascii")).digest()


def asks_of(bids_of_other_side: Levels) -> Levels:
    """The asks of one side: the bids of the other, seen from the opposite end of the dollar."""
    return {PRICE_E4_MAX - price_e4: size_e2 for price_e4, size_e2 in bids_of_other_side.items()}


def _difference(side: Side, ours: Levels, theirs: Levels) -> str | None:
    if ours == theirs:
        return None
    price_e4 = min(price for price in ours.keys() | theirs.keys() if ours.get(price) != theirs.get(price))
    return f"{side} {price_e4}: book {ours.get(price_e4, 0)}, exchange {theirs.get(price_e4, 0)}"


def _canonical(levels: Levels) -> str:
    return "".join(f" {price_e4}={levels[price_e4]}" for price_e4 in sorted(levels))
