"""
Rows in PostgreSQL's binary COPY format.

Written here because it is the hot path: packing a row as one structure costs a fifth of what a driver's
adaptation of each value does. (Format: PostgreSQL documentation, COPY, binary format.)
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from functools import cache
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
    layout = _layout(kind)
    # The number of columns, then for each column its length and a place for its value.
    row = list(layout.template)
    row[2] = session_id
    market_at = None if kind.market_index is None else 4 + 2 * kind.market_index
    values_of, pack = kind.values, layout.pack
    data = [_HEADER]
    for fact in facts:
        row[4::2] = values_of(fact)
        if market_at is not None:
            row[market_at] = market_ids[row[market_at]]
        if pack is None or None in row:
            data.append(layout.encode(row[2::2]))
        else:
            data.append(pack(*row))
    data.append(_TRAILER)
    return b"".join(data)


@frozen
class _Layout:
    """How the rows of a kind are encoded. `pack` is None where a column has no fixed width."""

    encoders: tuple[Callable[[Any], bytes], ...]
    template: tuple[Any, ...]
    pack: Callable[..., bytes] | None

    def encode(self, row: list[Any]) -> bytes:
        """One row, value by value."""
        fields = (
            _NULL if value is None else encode(value)
            for encode, value in zip(self.encoders, row, strict=True)
        )
        return _pack_count(len(row)) + b"".join(fields)


@cache
def _layout(kind: RowKind) -> _Layout:
    types = [ColumnType.INTEGER, *(column.type for column in kind.columns)]
    encoders = tuple(_encoder(column_type) for column_type in types)
    codes = [_FIXED.get(column_type, "") for column_type in types]
    template: list[Any] = [len(types)]
    for code in codes:
        template += [struct.calcsize(f">{code}"), None]
    is_fixed = all(codes)
    pack = struct.Struct(">h" + "".join(f"i{code}" for code in codes)).pack if is_fixed else None
    return _Layout(encoders, tuple(template), pack)


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
