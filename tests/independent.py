"""
An account of a tape that shares no code with the collector: decimals, dictionaries, the standard library.

What the recorder makes of a tape is compared with this.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

Book = dict[str, dict[Decimal, Decimal]]


def read_tape(path: Path) -> list[dict[str, Any]]:
    """The frames of a tape as parsed JSON, in order."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(json.loads(line)["frame"]) for line in lines]


def count_types(frames: Iterable[dict[str, Any]]) -> Counter[str]:
    """How many frames of each type there are."""
    return Counter(frame["type"] for frame in frames)


def fold(frames: Iterable[dict[str, Any]]) -> dict[str, Book]:
    """The last book of each market."""
    books: dict[str, Book] = {}
    for frame in frames:
        msg = frame.get("msg", {})
        if frame["type"] == "orderbook_snapshot":
            books[msg["market_ticker"]] = {
                side: {Decimal(price): Decimal(size) for price, size in msg.get(f"{side}_dollars_fp", [])}
                for side in ("yes", "no")
            }
        elif frame["type"] == "orderbook_delta":
            levels = books[msg["market_ticker"]][msg["side"]]
            price = Decimal(msg["price_dollars"])
            size = levels.get(price, Decimal(0)) + Decimal(msg["delta_fp"])
            assert size >= 0, "the tape itself goes below zero"
            if size:
                levels[price] = size
            else:
                del levels[price]
    return books


def as_integers(levels: dict[Decimal, Decimal]) -> dict[int, int]:
    """Prices in 1/10,000 dollar, sizes in 1/100 contract."""
    return {int(price * 10_000): int(size * 100) for price, size in levels.items()}
