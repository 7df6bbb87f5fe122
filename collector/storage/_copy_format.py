"""
Rows in PostgreSQL's binary COPY format.

Written here because it is the hot path: packing a row as one structure costs a fifth of what a driver's
adaptation of each value does. (Format: PostgreSQL documentation, COPY, binary format.)
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any, Final, TypeAlias

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
    """What encodes a row as one structure; None where a column has no fixed width."""
    codes = tuple(_FIXED.get(column_type, "") for column_type in _column_types(kind))
    if not all(codes):
        return None
    nullable = [at for at, column in enumerate(kind.columns, 1) if column.is_nullable]
    shape_of = cache(partial(_shape, codes))

    def encode_row(row: list[Any]) -> bytes:
        nulls = tuple([at for at in nullable if row[at] is None])
        pack, places = shape_of(nulls)
        values = places.copy()
        values[2::2] = row
        for at in nulls:
            values[2 + 2 * at] = b""
        return pack(*values)

    return encode_row


def _shape(codes: tuple[str, ...], nulls: tuple[int, ...]) -> tuple[Callable[..., bytes], list[Any]]:
    """
    How rows with nulls at these columns are packed: the function, and its arguments without the values.

    The arguments are the number of columns, then for each column its length and a place for its value. A null
    has the length -1 and no bytes.
    """
    arguments: list[Any] = [len(codes)]
    layout = ">h"
    for at, code in enumerate(codes):
        arguments += [-1 if at in nulls else struct.calcsize(f">{code}"), None]
        layout += "i0s" if at in nulls else f"i{code}"
    return struct.Struct(layout).pack, arguments


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
        case ColumnType.UUID:
            return lambda value: _sized(value.bytes)
        case _:
            return _sized


def _sized(value: bytes) -> bytes:
    return _pack_length(len(value)) + value
