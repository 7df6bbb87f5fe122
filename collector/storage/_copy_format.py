"""
Rows in PostgreSQL's binary COPY format.

Written here because it is the hot path: packing a row as one structure costs a fifth of what a driver's
adaptation of each value does. (Format: PostgreSQL documentation, COPY, binary format.)
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any, Final, TypeAlias

from attrs import frozen

from collector.storage._kinds import ColumnType, RowKind

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
_JSONB_VERSION: Final = b"\x01"
_pack_count = struct.Struct(">h").pack
_pack_length = struct.Struct(">i").pack

_FIXED: Final = {
    ColumnType.BIGINT: "q",
    ColumnType.INTEGER: "i",
    ColumnType.SMALLINT: "h",
    ColumnType.BOOLEAN: "?",
    ColumnType.MARKET: "i",
}
"""Types of a fixed width, with their struct codes."""

MarketIds: TypeAlias = Mapping[str, int]
"""Market ticker to market_id."""


def copy_columns(kind: RowKind) -> tuple[str, ...]:
    """The columns of `encode_rows`, in order."""
    return ("session_id", *kind.column_names)


def encode_rows(kind: RowKind, facts: Iterable[Any], session_id: int, market_ids: MarketIds) -> bytes:
    """
    The data of one COPY into the table of a kind, columns as in `copy_columns`.

    `market_ids` has every market that the facts name; a kind without a MARKET column needs none.
    """
    market_at = None if kind.market_index is None else 1 + kind.market_index
    encode = _fixed_width_encoder(kind) or _any_width_encoder(kind)
    data = [_HEADER]
    for fact in facts:
        row: list[Any] = [session_id, *kind.values(fact)]
        if market_at is not None:
            row[market_at] = market_ids[row[market_at]]
        data.append(encode(row))
    data.append(_TRAILER)
    return b"".join(data)


def _column_types(kind: RowKind) -> list[ColumnType]:
    return [ColumnType.INTEGER, *(column.type for column in kind.columns)]


@cache
def _any_width_encoder(kind: RowKind) -> Callable[[list[Any]], bytes]:
    """What encodes a row value by value."""
    encoders = [_encoder(column_type) for column_type in _column_types(kind)]
    count = _pack_count(len(encoders))

    def encode_row(row: list[Any]) -> bytes:
        fields = (
            _NULL if value is None else encode(value) for encode, value in zip(encoders, row, strict=True)
        )
        return count + b"".join(fields)

    return encode_row


@cache
def _fixed_width_encoder(kind: RowKind) -> Callable[[list[Any]], bytes] | None:
    """
    What encodes a row as one structure; None where a column has no fixed width. Rows that have their nulls at
    the same columns have one shape: the same lengths and the same structure.
    """
    codes = [_FIXED.get(column_type, "") for column_type in _column_types(kind)]
    if not all(codes):
        return None
    shape_of = cache(partial(_shape, tuple(codes)))
    whole = shape_of((False,) * len(codes))

    def encode_row(row: list[Any]) -> bytes:
        if None not in row:
            return whole.encode(row)
        return shape_of(tuple([value is None for value in row])).encode(row)

    return encode_row


@frozen
class _Shape:
    """
    How rows with certain nulls are packed. `places` is the number of columns, then for each column its length
    and a place for its value; at `nulls` that value is packed as nothing.
    """

    pack: Callable[..., bytes]
    places: tuple[Any, ...]
    nulls: tuple[int, ...]

    def encode(self, row: list[Any]) -> bytes:
        """One row."""
        places = list(self.places)
        places[2::2] = row
        for null in self.nulls:
            places[null] = b""
        return self.pack(*places)


def _shape(codes: tuple[str, ...], nulls: tuple[bool, ...]) -> _Shape:
    places: list[Any] = [len(codes)]
    layout = ">h"
    for code, is_null in zip(codes, nulls, strict=True):
        places += [-1 if is_null else struct.calcsize(f">{code}"), None]
        layout += "i0s" if is_null else f"i{code}"
    null_places = tuple(2 + 2 * index for index, is_null in enumerate(nulls) if is_null)
    return _Shape(struct.Struct(layout).pack, tuple(places), null_places)


def _encoder(column_type: ColumnType) -> Callable[[Any], bytes]:
    """What encodes one value that is not null, its length before it."""
    code = _FIXED.get(column_type)
    if code is not None:
        packer = struct.Struct(f">i{code}")
        size = struct.calcsize(f">{code}")
        return lambda value: packer.pack(size, value)
    match column_type:
        case ColumnType.TEXT:
            return lambda value: _sized(value.encode())
        case ColumnType.JSONB:
            return lambda value: _sized(_JSONB_VERSION + value.encode())
        case _:
            return _sized


def _sized(value: bytes) -> bytes:
    return _pack_length(len(value)) + value
