"""
Prices and sizes: decimal text on the wire, integers everywhere else.

A price is an integer in 1/10,000 dollar (`price_e4`), a size in 1/100 contract (`size_e2`). No float is made
on the way: text with more decimals than that is refused, not rounded.
"""

import re
from functools import lru_cache
from typing import Final, Literal

from collector.errors import MalformedFrame

Side = Literal["yes", "no"]

PRICE_DECIMALS: Final = 4
SIZE_DECIMALS: Final = 2
PRICE_E4_MAX: Final = 10_000
"""One dollar: what a contract can be worth at the most."""
SIZE_E2_MAX: Final = 10**15
"""Ten trillion contracts: far above any market, far below what a database integer holds."""

_DECIMAL = re.compile(r"(-?)([0-9]{1,16})(?:\.([0-9]{1,16}))?")
_TEXTS_MAX: Final = 16_384
"""The number of different prices, and of sizes, that are remembered, since most come again."""


def parse_fixed(text: str, decimals: int) -> int:
    """
    The number in `text` times 10**decimals, exactly.

    Zeros behind the last allowed decimal are no precision and are accepted (the exchange documents up to six
    decimals). Raises MalformedFrame for anything else that is not a plain decimal number.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise MalformedFrame(f"not a decimal number: {text[:40]!a}")
    sign, whole, fraction = match.groups()
    fraction = fraction or ""
    kept, rest = fraction[:decimals], fraction[decimals:]
    if rest.strip("0"):
        raise MalformedFrame(f"more than {decimals} decimals: {text[:40]!a}")
    value = int(whole + kept.ljust(decimals, "0"))
    return -value if sign else value


@lru_cache(_TEXTS_MAX)
def parse_price_e4(text: str) -> int:
    """The price in 1/10,000 dollar, from 0 to 10,000. Raises MalformedFrame."""
    return checked_price_e4(parse_fixed(text, PRICE_DECIMALS))


@lru_cache(_TEXTS_MAX)
def parse_size_e2(text: str) -> int:
    """The size, or the signed change of a size, in 1/100 contract. Raises MalformedFrame."""
    return checked_size_e2(parse_fixed(text, SIZE_DECIMALS))


def checked_price_e4(price_e4: int) -> int:
    """The price itself when it lies between nothing and a dollar. Raises MalformedFrame."""
    if not 0 <= price_e4 <= PRICE_E4_MAX:
        raise MalformedFrame(f"price outside 0 to 1 dollar: {price_e4} / 10,000")
    return price_e4


def checked_size_e2(size_e2: int) -> int:
    """The size itself when it is of a size that exists. Raises MalformedFrame."""
    if not -SIZE_E2_MAX <= size_e2 <= SIZE_E2_MAX:
        raise MalformedFrame(f"size out of all bounds: {size_e2} / 100")
    return size_e2


def format_fixed(value: int, decimals: int) -> str:
    """`value` / 10**decimals as decimal text without a needless fraction: 4500 and 2 give "45"."""
    sign, digits = ("-", str(-value)) if value < 0 else ("", str(value))
    digits = digits.rjust(decimals + 1, "0")
    whole, fraction = digits[:-decimals], digits[-decimals:].rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def format_cents(price_e4: int) -> str:
    """A price in cents, as the live stream shows it: 4550 gives "45.5"."""
    return format_fixed(price_e4, 2)


def format_dollars(price_e4: int) -> str:
    """A price in dollars with all four decimals, as the exchange writes it: 4800 gives "0.4800"."""
    return f"{price_e4 // PRICE_E4_MAX}.{price_e4 % PRICE_E4_MAX:04d}"


def format_contracts(size_e2: int) -> str:
    """A size in contracts: 4000 gives "40", 4050 gives "40.5"."""
    return format_fixed(size_e2, SIZE_DECIMALS)
