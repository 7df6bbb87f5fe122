"""REST records of markets, as they are noted in streams and stored beside the markets. Pure."""

import json
from collections.abc import Iterable
from typing import Final

import msgspec
from attrs import frozen

from collector.facts import MARKETS_PATH, NoteKind, RestRecord, StreamNote

RECORD_BYTES_MAX: Final = 65_536
"""A market's record has some 3 kB."""
BRACKETS_MAX: Final = 200
"""A market's record has fewer than ten. More might be nested deeper than PostgreSQL can read."""


@frozen
class MarketRecord:
    """A market's record as REST gave it: JSON text, verbatim. `noted_us` is when a session noted it."""

    ticker: str
    record: str
    noted_us: int


def newest_records(notes: Iterable[StreamNote]) -> dict[str, MarketRecord]:
    """By ticker, the last of the market records among these notes."""
    found: dict[str, MarketRecord] = {}
    for note in notes:
        if note.kind is NoteKind.RECORD:
            record = _market_record(note)
            if record is not None:
                found[record.ticker] = record
    return found


def _market_record(note: StreamNote) -> MarketRecord | None:
    noted = msgspec.json.decode(note.content, type=RestRecord)
    ticker = noted.path.removeprefix(MARKETS_PATH)
    return None if ticker == noted.path else MarketRecord(ticker, bytes(noted.record).decode(), note.noted_us)


def is_storable_record(ticker: str, record: bytes) -> bool:
    """Whether PostgreSQL can hold a market's record, so that it may be noted in a stream."""
    if (
        "\0" in ticker
        or len(record) > RECORD_BYTES_MAX
        or record.count(b"[") + record.count(b"{") > BRACKETS_MAX
    ):
        return False
    try:
        # Stricter than the decoder of the answer, and as strict as PostgreSQL.
        json.loads(record)
    except ValueError:
        return False
    return True
