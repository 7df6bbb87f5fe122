"""
Rows in PostgreSQL's binary COPY format. Pure.

Written by hand because it is the hot path: one packed structure for each delta row costs a fifth of what a
driver's row by row adaptation does. Each function gives the whole data of one COPY; the columns are those
named beside it, in that order. (Format: PostgreSQL documentation, COPY, binary format.)
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from collector.protocol.facts import DeltaFact, SnapshotFact, TradeFact
from collector.protocol.messages import Levels
from collector.store.rawblock import FORMAT, RawBlock

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
_pack_i2 = struct.Struct(">ih").pack
_pack_i4 = struct.Struct(">ii").pack
_pack_i8 = struct.Struct(">iq").pack
_pack_length = struct.Struct(">i").pack
_pack_count = struct.Struct(">h").pack
_pack_delta = struct.Struct(">h iq iq iq iq iq ii ii ih i?").pack
_pack_delta_without_time = struct.Struct(">h iq i iq iq iq ii ii ih i?").pack

DELTA_COLUMNS: Final = (
    "received_us, timestamp_ms, sequence_number, delta_e2, old_size_e2, session_id, market_id, price_e4, "
    "is_yes"
)
SNAPSHOT_COLUMNS: Final = (
    "received_us, sequence_number, session_id, market_id, origin, yes_bids, no_bids, digest"
)
TRADE_COLUMNS: Final = (
    "received_us, timestamp_ms, sequence_number, count_e2, session_id, market_id, price_e4, is_taker_yes, "
    "is_block_trade, trade_id"
)
RAW_BLOCK_COLUMNS: Final = (
    "first_received_us, last_received_us, first_frame, last_frame, session_id, format, lexicon_number, "
    "checksum, payload"
)

MarketIds = Mapping[str, int]
"""Market ticker to market_id."""


def encode_deltas(deltas: Iterable[DeltaFact], session_id: int, market_ids: MarketIds) -> bytes:
    """Rows for `rl_delta_rows`."""
    rows = [_HEADER]
    for delta in deltas:
        head = (9, 8, delta.received_us, 8, delta.timestamp_ms)
        tail = (
            8, delta.sequence_number, 8, delta.delta_e2, 8, delta.old_size_e2, 4, session_id,
            4, market_ids[delta.market_ticker], 2, delta.price_e4, 1, delta.side == "yes",
        )  # fmt: skip
        if delta.timestamp_ms is None:
            rows.append(_pack_delta_without_time(9, 8, delta.received_us, -1, *tail))
        else:
            rows.append(_pack_delta(*head, *tail))
    rows.append(_TRAILER)
    return b"".join(rows)


def encode_snapshots(snapshots: Iterable[SnapshotFact], session_id: int, market_ids: MarketIds) -> bytes:
    """Rows for `rl_snapshot_rows`."""
    return _encode_rows(
        (
            _i8(snapshot.received_us),
            _i8(snapshot.sequence_number),
            _i4(session_id),
            _i4(market_ids[snapshot.market_ticker]),
            _bytes(snapshot.origin.encode()),
            _jsonb(snapshot.yes_bids),
            _jsonb(snapshot.no_bids),
            _bytes(snapshot.digest),
        )
        for snapshot in snapshots
    )


def encode_trades(trades: Iterable[TradeFact], session_id: int, market_ids: MarketIds) -> bytes:
    """Rows for `rl_trade_rows`."""
    return _encode_rows(
        (
            _i8(trade.received_us),
            _i8(trade.timestamp_ms),
            _i8(trade.sequence_number),
            _i8(trade.count_e2),
            _i4(session_id),
            _i4(market_ids[trade.market_ticker]),
            _pack_i2(2, trade.price_e4),
            _bool(None if trade.taker_side is None else trade.taker_side == "yes"),
            _bool(trade.is_block_trade),
            _bytes(trade.trade_id.encode()),
        )
        for trade in trades
    )


def encode_raw_block(block: RawBlock, session_id: int) -> bytes:
    """The one row for `rl_raw_blocks`."""
    return _encode_rows(
        [
            (
                _i8(block.first_received_us),
                _i8(block.last_received_us),
                _i8(block.first_frame),
                _i8(block.last_frame),
                _i4(session_id),
                _pack_i2(2, FORMAT),
                _pack_i2(2, block.lexicon_number),
                _bytes(block.checksum),
                _bytes(block.payload),
            )
        ]
    )


def _encode_rows(rows: Iterable[tuple[bytes, ...]]) -> bytes:
    return b"".join([_HEADER, *(_pack_count(len(row)) + b"".join(row) for row in rows), _TRAILER])


def _i4(value: int) -> bytes:
    return _pack_i4(4, value)


def _i8(value: int | None) -> bytes:
    return _NULL if value is None else _pack_i8(8, value)


def _bool(value: bool | None) -> bytes:
    return _NULL if value is None else _pack_length(1) + (b"\x01" if value else b"\x00")


def _bytes(value: bytes) -> bytes:
    return _pack_length(len(value)) + value


def _jsonb(levels: Levels) -> bytes:
    """Version 1 and the JSON text, prices ascending."""
    return _bytes(b"\x01" + msgspec.json.encode({str(price): levels[price] for price in sorted(levels)}))
