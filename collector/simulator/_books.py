"""
One market's resting orders as the source of the frames has them by now, and how they are written.

Exact integers throughout: prices in 1/10,000 dollar, sizes in 1/100 contract. Knows nothing of
connections, sequence numbers or time.
"""

import typing

import attrs
import msgspec

Side = typing.Literal["yes", "no"]

PRICE_PLACES = 4
SIZE_PLACES = 2
DOLLAR_E4 = 10_000


def parse_fixed(text: str, places: int) -> int:
    """
    Return a decimal text as an integer count of its last place.

    Raises:
        ValueError: the text is no plain decimal, or has more places than that.
    """
    digits = text.removeprefix("-")
    whole, _, fraction = digits.partition(".")
    surplus = fraction[places:]
    if not (whole + fraction).isdecimal() or not whole or surplus.strip("0"):
        raise ValueError(f"{text!r} is not a decimal number of at most {places} places")
    value = int(whole + fraction[:places].ljust(places, "0"))
    return -value if text.startswith("-") else value


def format_price(price_e4: int) -> str:
    """Write a price as the exchange does: `0.4800`."""
    return f"{price_e4 // DOLLAR_E4}.{price_e4 % DOLLAR_E4:04d}"


def format_size(size_e2: int) -> str:
    """Write a size or its change as the exchange does: `-40.00`."""
    sign = "-" if size_e2 < 0 else ""
    return f"{sign}{abs(size_e2) // 100}.{abs(size_e2) % 100:02d}"


@attrs.frozen
class LevelChange:
    """What one delta does: resting quantity at one price of one side grows or shrinks."""

    side: Side
    price_e4: int
    delta_e2: int


@attrs.frozen
class Depth:
    """A whole book at once: pairs of price and size, as a snapshot has them."""

    yes: tuple[tuple[int, int], ...] = ()
    no: tuple[tuple[int, int], ...] = ()


class Book:
    """Bids of both sides; a level that is there has a size above zero."""

    def __init__(self) -> None:
        self.yes: dict[int, int] = {}
        self.no: dict[int, int] = {}

    def apply(self, change: LevelChange) -> None:
        """Add a change to its level. Recorded tapes may lack frames: a level below zero is gone."""
        levels = self.yes if change.side == "yes" else self.no
        size_e2 = levels.get(change.price_e4, 0) + change.delta_e2
        if size_e2 > 0:
            levels[change.price_e4] = size_e2
        else:
            levels.pop(change.price_e4, None)

    def replace(self, depth: Depth) -> None:
        """Take another book in place of this one."""
        self.yes = dict(depth.yes)
        self.no = dict(depth.no)

    def depth(self) -> Depth:
        """Return the book with prices ascending, the best bid last."""
        return Depth(yes=tuple(sorted(self.yes.items())), no=tuple(sorted(self.no.items())))


def flip(price_e4: int) -> int:
    """Return the price of the same order seen from the other side."""
    return DOLLAR_E4 - price_e4


def levels_text(levels: tuple[tuple[int, int], ...]) -> list[tuple[str, str]]:
    """Write levels as pairs of texts, in the order given."""
    return [(format_price(price_e4), format_size(size_e2)) for price_e4, size_e2 in levels]


def snapshot_msg(
    ticker: str, market_id: str, depth: Depth, *, clock: int | None = None, yes_scale: bool = False
) -> bytes:
    """
    Write the `msg` of a snapshot. The key of an empty side is left out, as the exchange does.

    `clock` None leaves out the clock, as the exchange did before October 2026.
    """
    no = depth.no
    if yes_scale:
        no = tuple(sorted((flip(price_e4), size_e2) for price_e4, size_e2 in no))
    message: dict[str, object] = {"market_ticker": ticker, "market_id": market_id}
    if depth.yes:
        message["yes_dollars_fp"] = levels_text(depth.yes)
    if no:
        message["no_dollars_fp"] = levels_text(no)
    if clock is not None:
        message["clock"] = clock
    return msgspec.json.encode(message)


class SnapshotBody(msgspec.Struct):
    """The `msg` of a snapshot, as far as it matters to a book."""

    market_ticker: str
    market_id: str = ""
    yes_dollars_fp: tuple[tuple[str, str], ...] = ()
    no_dollars_fp: tuple[tuple[str, str], ...] = ()
    clock: int | None = None


class DeltaBody(msgspec.Struct):
    """The `msg` of a delta, as far as it matters to a book."""

    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: Side
    market_id: str = ""
    clock: int | None = None


_snapshot_decoder = msgspec.json.Decoder(SnapshotBody)
_delta_decoder = msgspec.json.Decoder(DeltaBody)


def read_snapshot(msg: bytes) -> tuple[SnapshotBody, Depth]:
    """
    Read the `msg` of a snapshot.

    Raises:
        ValueError: it is not one (msgspec's errors are ValueErrors).
    """
    body = _snapshot_decoder.decode(msg)
    return body, Depth(yes=_levels(body.yes_dollars_fp), no=_levels(body.no_dollars_fp))


def _levels(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[int, int], ...]:
    return tuple((parse_fixed(price, PRICE_PLACES), parse_fixed(size, SIZE_PLACES)) for price, size in pairs)


def read_delta(msg: bytes) -> tuple[DeltaBody, LevelChange]:
    """
    Read the `msg` of a delta.

    Raises:
        ValueError: it is not one.
    """
    body = _delta_decoder.decode(msg)
    price_e4 = parse_fixed(body.price_dollars, PRICE_PLACES)
    return body, LevelChange(body.side, price_e4, parse_fixed(body.delta_fp, SIZE_PLACES))


def on_yes_scale(kind: str, msg: bytes) -> bytes:
    """Rewrite a book message for a subscription with `use_yes_price`: no-side prices become yes prices."""
    if kind == "orderbook_snapshot":
        body, depth = read_snapshot(msg)
        return snapshot_msg(body.market_ticker, body.market_id, depth, clock=body.clock, yes_scale=True)
    delta = _delta_decoder.decode(msg)
    if kind != "orderbook_delta" or delta.side == "yes":
        return msg
    flipped = format_price(flip(parse_fixed(delta.price_dollars, PRICE_PLACES)))
    return msg.replace(f'"{delta.price_dollars}"'.encode(), f'"{flipped}"'.encode(), 1)
