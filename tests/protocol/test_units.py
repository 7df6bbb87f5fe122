"""Prices and sizes."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import MalformedFrame
from collector.protocol import format_cents, format_contracts, format_dollars, parse_size_e2
from collector.protocol._units import parse_fixed, parse_price_e4


@pytest.mark.parametrize(
    ("text", "price_e4"),
    [("0.4800", 4800), ("0.96", 9600), ("0.960", 9600), ("1", 10_000), ("0.0001", 1), ("0.480000", 4800)],
)
def test_price_text_becomes_ten_thousandths(text: str, price_e4: int) -> None:
    """A price means the same number however many zeros it is written with."""
    assert parse_price_e4(text) == price_e4


@pytest.mark.parametrize(
    ("text", "size_e2"), [("1239.73", 123_973), ("-40.00", -4000), ("0.10", 10), ("7", 700)]
)
def test_size_text_becomes_hundredths(text: str, size_e2: int) -> None:
    """A size keeps its sign and both decimals."""
    assert parse_size_e2(text) == size_e2


@pytest.mark.parametrize(
    "text",
    ["0.48001", "", "1e3", "0x1", " 0.5", "0.5 ", "+0.5", ".5", "5.", "٣", "1_0", "nan", "1.0001", "-0.1"],
)
def test_what_is_no_price_is_refused(text: str) -> None:
    """A price with too many decimals, out of range, or in any other notation is refused, never rounded."""
    with pytest.raises(MalformedFrame):
        parse_price_e4(text)


def test_more_decimals_than_a_size_has_are_refused() -> None:
    """A thousandth of a contract is an alarm, not a rounding."""
    with pytest.raises(MalformedFrame, match="more than 2 decimals"):
        parse_size_e2("1.001")


@given(st.integers(-(10**12), 10**12), st.integers(1, 6))
def test_parsing_is_exact(value: int, decimals: int) -> None:
    """Any number of so many decimals comes back as the same integer that decimal arithmetic gives."""
    text = str(Decimal(value).scaleb(-decimals).quantize(Decimal(1).scaleb(-decimals)))

    assert parse_fixed(text, decimals) == value


def test_live_numbers_have_no_needless_fraction() -> None:
    """Cents and contracts are written as short as they can be."""
    assert format_cents(4500) == "45"
    assert format_cents(4550) == "45.5"
    assert format_cents(1) == "0.01"
    assert format_contracts(4000) == "40"
    assert format_contracts(-4050) == "-40.5"
    assert format_dollars(4800) == "0.4800"
