"""The simulator's own arithmetic: decimals, books, and the yes scale."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.simulator._books import (
    Book,
    Depth,
    LevelChange,
    format_price,
    format_size,
    on_yes_scale,
    parse_fixed,
    read_snapshot,
    snapshot_msg,
)
from tests.simulator.exchange_client import delta_msg


@given(st.integers(-(10**12), 10**12))
def test_a_size_is_read_as_it_was_written(size_e2: int) -> None:
    """Every size survives being written and read."""
    assert parse_fixed(format_size(size_e2), 2) == size_e2


@given(st.integers(0, 10_000))
def test_a_price_is_read_as_it_was_written(price_e4: int) -> None:
    """Every price survives being written and read."""
    assert parse_fixed(format_price(price_e4), 4) == price_e4


@pytest.mark.parametrize("text", ["", ".", "1e3", "0.12345", "--1", " 1", "1.2.3", "+1"])
def test_what_is_no_decimal_is_refused(text: str) -> None:
    """A text that is not a plain decimal of at most that many places is an error."""
    with pytest.raises(ValueError, match="decimal"):
        parse_fixed(text, 4)


def test_zeros_behind_the_last_place_are_no_precision() -> None:
    """The exchange may write six decimals; trailing zeros change nothing."""
    assert parse_fixed("0.480000", 4) == 4800


def test_an_empty_side_is_left_out_of_a_snapshot() -> None:
    """A snapshot has no key for a side without orders, and none at all for an empty book."""
    msg = msgspec.json.decode(snapshot_msg("M", "id", Depth(yes=((4800, 100),))))
    assert msg == {"market_ticker": "M", "market_id": "id", "yes_dollars_fp": [["0.4800", "1.00"]]}
    assert set(msgspec.json.decode(snapshot_msg("M", "id", Depth()))) == {"market_ticker", "market_id"}


def test_a_book_survives_its_snapshot() -> None:
    """Reading the snapshot of a book gives the book, prices ascending."""
    book = Book()
    for price_e4, size_e2 in ((5000, 123), (100, 1), (4800, 40)):
        book.apply(LevelChange("yes", price_e4, size_e2))
    book.apply(LevelChange("no", 300, 7))
    book.apply(LevelChange("yes", 4800, -40))
    _, depth = read_snapshot(snapshot_msg("M", "id", book.depth()))
    assert depth == Depth(yes=((100, 1), (5000, 123)), no=((300, 7),))


def test_on_the_yes_scale_only_no_prices_change() -> None:
    """With use_yes_price a no bid at 0.48 is shown at 0.52, a yes bid stays."""
    yes, no = delta_msg("M", "0.4800", "1.00", "yes"), delta_msg("M", "0.4800", "1.00", "no")
    assert on_yes_scale("orderbook_delta", yes.encode()) == yes.encode()
    assert msgspec.json.decode(on_yes_scale("orderbook_delta", no.encode()))["price_dollars"] == "0.5200"
    snapshot = snapshot_msg("M", "id", Depth(yes=((100, 1),), no=((300, 7), (400, 8))))
    flipped = msgspec.json.decode(on_yes_scale("orderbook_snapshot", snapshot))
    assert flipped["no_dollars_fp"] == [["0.9600", "0.08"], ["0.9700", "0.07"]]
    assert flipped["yes_dollars_fp"] == [["0.0100", "0.01"]]
