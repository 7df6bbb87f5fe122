"""
One description of each kind of row: the fact it is made of, its table, its columns, its name in the ledger.

Theory of operation. A fact becomes at most one row. All code that handles rows uses these descriptions: the
batch writer encodes with them, the readers select and compare with them, the ledger counts by them. A column
holds the fact's attribute of the same name unless it names another attribute.

The columns of events, gaps, audits and raw blocks follow from the fields of their class (`columns_of`); the
other kinds list theirs below. A new column also needs a line in `schema.sql`; a test compares the two.

`values` returns a fact's row as Python values that can be hashed and compared. `values_of_record` returns the
same for a row that was read from the database. Two rows are equal when these values are equal.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, StrEnum
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from attrs import Factory, field, fields, frozen

from collector.facts import (
    AuditFact,
    BookStateFact,
    ConnectionEventFact,
    DeltaFact,
    EventFact,
    Fact,
    GapFact,
    ProvenEmptyFact,
    RejectFact,
    SnapshotFact,
    TrackerStateFact,
    TradeFact,
)
from collector.rawblocks import RawBlock

Values: TypeAlias = tuple[Any, ...]
"""A row as hashable values, in the order of its kind's columns."""


class ColumnType(Enum):
    """A PostgreSQL type. A MARKET column holds the number of a market whose ticker the fact has."""

    BIGINT = "bigint"
    INTEGER = "integer"
    SMALLINT = "smallint"
    BOOLEAN = "boolean"
    TEXT = "text"
    BYTEA = "bytea"
    JSONB = "jsonb"
    UUID = "uuid"
    MARKET = "market"


@frozen
class Column:
    """A column, and the attribute of the fact that it holds."""

    name: str
    type: ColumnType
    attribute: str = field(default=Factory(lambda self: self.name, takes_self=True))
    is_nullable: bool = False


@frozen(eq=False)
class RowKind:
    """
    One kind of row.

    `name` is singular; the ledger counts the rows of a batch in the column `rows_column`. `columns` leaves
    out `session_id`, which every table has. `time_column` is the receive time in microseconds. A partitioned
    table has one partition for each day of that time, and retention drops them.
    """

    name: str
    fact: type[Any]
    table: str
    columns: tuple[Column, ...]
    time_column: str = "received_us"
    is_partitioned: bool = False
    is_kept_with_raw: bool = False
    """Whether retention keeps it as long as raw blocks, which can't be read well without it."""
    market_index: int | None = field(
        init=False, default=Factory(lambda self: _find_market(self.columns), takes_self=True)
    )
    """The place of the MARKET column among `columns`; None when there is none."""
    values: Callable[[Any], Values] = field(
        init=False, repr=False, default=Factory(lambda self: _make_getter(self.columns), takes_self=True)
    )
    """Returns the row of a fact. The market is its ticker, JSON is text with sorted names."""

    @property
    def rows_column(self) -> str:
        """The ledger's column that counts rows of this kind."""
        return f"{self.name}_rows"

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns of the table, without `session_id`."""
        return tuple(column.name for column in self.columns)

    def values_of_record(self, record: Sequence[Any]) -> Values:
        """A row read from the database, market as ticker and columns in order, comparable with `values`."""
        if not any(column.type is ColumnType.JSONB for column in self.columns):
            return tuple(record)
        return tuple(
            _sorted_json(value) if column.type is ColumnType.JSONB else value
            for column, value in zip(self.columns, record, strict=True)
        )

    @property
    def market_attribute(self) -> str | None:
        """The attribute with the ticker of a market that rows name by number; None when they name none so."""
        return None if self.market_index is None else self.columns[self.market_index].attribute

    @property
    def time_index(self) -> int:
        """The place of the receive time among `columns`."""
        return self.column_names.index(self.time_column)


def _find_market(columns: Sequence[Column]) -> int | None:
    return next((at for at, column in enumerate(columns) if column.type is ColumnType.MARKET), None)


def _make_getter(columns: Sequence[Column]) -> Callable[[Any], Values]:
    get: Callable[[Any], Values] = attrgetter(*(column.attribute for column in columns))
    conversions = [
        (at, _CONVERSIONS[column.type]) for at, column in enumerate(columns) if column.type in _CONVERSIONS
    ]
    if not conversions:
        # Deltas are of this kind, and are the hot path.
        return get

    def get_converted(fact: Any) -> Values:  # noqa: ANN401 - a fact of the kind
        row = list(get(fact))
        for at, convert in conversions:
            row[at] = convert(row[at])
        return tuple(row)

    return get_converted


def storable_text(text: str | None) -> str | None:
    """Text without NUL characters: PostgreSQL's text can't hold them, and the exchange's words may."""
    return None if text is None else text.replace("\0", "\\0")


def _sorted_json(value: Any) -> str:  # noqa: ANN401 - any JSON
    return json.dumps(value, sort_keys=True)


def _json_text(value: Any) -> str:  # noqa: ANN401 - levels of a book, or JSON text in canonical form
    """JSON text in the form that `_sorted_json` gives for what PostgreSQL returns."""
    if isinstance(value, str):
        return value
    return _sorted_json({str(price_e4): size_e2 for price_e4, size_e2 in value.items()})


_CONVERSIONS: Final[dict[ColumnType, Callable[[Any], Any]]] = {
    ColumnType.TEXT: storable_text,
    ColumnType.JSONB: _json_text,
}
_TYPE_OF_FIELD: Final[dict[Any, ColumnType]] = {
    int: ColumnType.BIGINT,
    bool: ColumnType.BOOLEAN,
    str: ColumnType.TEXT,
    bytes: ColumnType.BYTEA,
    UUID: ColumnType.UUID,
}


def columns_of(fact: type[Any], **special: ColumnType) -> tuple[Column, ...]:
    """A column for each field of a fact, typed by its annotation; `special` names fields of another type."""
    hints = get_type_hints(fact)
    columns: list[Column] = []
    for attribute in fields(fact):
        hint, is_nullable = _without_none(hints[attribute.name])
        kind = special.get(attribute.name) or _column_type(hint)
        columns.append(Column(attribute.name, kind, is_nullable=is_nullable))
    return tuple(columns)


def _without_none(hint: Any) -> tuple[Any, bool]:  # noqa: ANN401 - an annotation
    if get_origin(hint) not in (Union, UnionType):
        return hint, False
    members = [member for member in get_args(hint) if member is not NoneType]
    assert len(members) == 1, f"a column has one type, not {hint}"
    return members[0], True


def _column_type(hint: Any) -> ColumnType:  # noqa: ANN401 - an annotation
    if get_origin(hint) is Literal or (isinstance(hint, type) and issubclass(hint, StrEnum)):
        return ColumnType.TEXT
    return _TYPE_OF_FIELD[hint]


DELTA: Final = RowKind(
    "delta",
    DeltaFact,
    "rl_delta_rows",
    (
        Column("received_us", ColumnType.BIGINT),
        Column("timestamp_ms", ColumnType.BIGINT, is_nullable=True),
        Column("sequence_number", ColumnType.BIGINT),
        Column("delta_e2", ColumnType.BIGINT),
        Column("old_size_e2", ColumnType.BIGINT),
        Column("clock", ColumnType.BIGINT, is_nullable=True),
        Column("sid", ColumnType.INTEGER),
        Column("market_id", ColumnType.MARKET, "market_ticker"),
        Column("price_e4", ColumnType.SMALLINT),
        Column("is_yes", ColumnType.BOOLEAN),
    ),
    is_partitioned=True,
)
SNAPSHOT: Final = RowKind(
    "snapshot",
    SnapshotFact,
    "rl_snapshot_rows",
    (
        Column("received_us", ColumnType.BIGINT),
        Column("sequence_number", ColumnType.BIGINT),
        Column("clock", ColumnType.BIGINT, is_nullable=True),
        Column("frame_number", ColumnType.BIGINT),
        Column("sid", ColumnType.INTEGER),
        Column("market_id", ColumnType.MARKET, "market_ticker"),
        Column("origin", ColumnType.TEXT),
        Column("yes_bids", ColumnType.JSONB),
        Column("no_bids", ColumnType.JSONB),
        Column("digest", ColumnType.BYTEA),
    ),
    is_partitioned=True,
)
TRADE: Final = RowKind(
    "trade",
    TradeFact,
    "rl_trade_rows",
    (
        Column("received_us", ColumnType.BIGINT),
        Column("timestamp_ms", ColumnType.BIGINT, is_nullable=True),
        Column("sequence_number", ColumnType.BIGINT, is_nullable=True),
        Column("count_e2", ColumnType.BIGINT),
        Column("sid", ColumnType.INTEGER, is_nullable=True),
        Column("market_id", ColumnType.MARKET, "market_ticker"),
        Column("price_e4", ColumnType.SMALLINT),
        Column("is_taker_yes", ColumnType.BOOLEAN, is_nullable=True),
        Column("is_block_trade", ColumnType.BOOLEAN, is_nullable=True),
        Column("trade_id", ColumnType.TEXT),
    ),
    is_partitioned=True,
)
EVENT: Final = RowKind(
    "event",
    EventFact,
    "rl_market_events",
    columns_of(EventFact, event=ColumnType.JSONB, sid=ColumnType.INTEGER),
)
CONNECTION_EVENT: Final = RowKind(
    "connection_event", ConnectionEventFact, "rl_connection_events", columns_of(ConnectionEventFact)
)
GAP: Final = RowKind(
    "gap",
    GapFact,
    "rl_orderbook_gaps",
    columns_of(GapFact, sid=ColumnType.INTEGER),
    time_column="detected_us",
)
BOOK_STATE: Final = RowKind(
    "book_state",
    BookStateFact,
    "rl_book_states",
    (
        Column("received_us", ColumnType.BIGINT),
        Column("frame_number", ColumnType.BIGINT),
        Column("market_id", ColumnType.MARKET, "market_ticker"),
        Column("cause", ColumnType.TEXT, is_nullable=True),
    ),
)
PROVEN_EMPTY: Final = RowKind(
    "proven_empty",
    ProvenEmptyFact,
    "rl_proven_empty_rows",
    (
        Column("received_us", ColumnType.BIGINT),
        Column("from_us", ColumnType.BIGINT),
        Column("frame_number", ColumnType.BIGINT),
        Column("market_id", ColumnType.MARKET, "market_ticker"),
        Column("earlier_key", ColumnType.UUID),
        Column("earlier_frame", ColumnType.BIGINT),
    ),
)
TRACKER_STATE: Final = RowKind(
    "tracker_state",
    TrackerStateFact,
    "rl_tracker_states",
    columns_of(TrackerStateFact),
    is_partitioned=True,
    is_kept_with_raw=True,
)
AUDIT: Final = RowKind(
    "audit", AuditFact, "rl_orderbook_audits", columns_of(AuditFact, sid=ColumnType.INTEGER)
)
REJECT: Final = RowKind(
    "reject",
    RejectFact,
    "rl_orderbook_rejects",
    (
        Column("frame_number", ColumnType.BIGINT),
        Column("received_us", ColumnType.BIGINT),
        Column("reason", ColumnType.TEXT),
        Column("frame", ColumnType.BYTEA),
    ),
)
KINDS: Final = (
    *(DELTA, SNAPSHOT, TRADE, EVENT, CONNECTION_EVENT, GAP, BOOK_STATE, PROVEN_EMPTY, TRACKER_STATE),
    *(AUDIT, REJECT),
)
"""Every kind of row that facts become, in the order in which they are written."""

RAW_BLOCK: Final = RowKind(
    "block",
    RawBlock,
    "rl_raw_blocks",
    columns_of(
        RawBlock,
        batch_number=ColumnType.INTEGER,
        format=ColumnType.SMALLINT,
        lexicon_number=ColumnType.SMALLINT,
    ),
    time_column="first_received_us",
    is_partitioned=True,
    is_kept_with_raw=True,
)
"""The compressed frames of a batch: a row of its own, made of no fact."""

KIND_BY_FACT: Final[dict[type[Any], RowKind]] = {kind.fact: kind for kind in KINDS}
"""A fact that is not in here becomes no row."""


def rows_by_kind(facts: Iterable[Fact]) -> dict[RowKind, list[Fact]]:
    """The facts that become rows, by kind; every kind is there, and the order within it is kept."""
    rows: dict[type[Any], list[Fact]] = {kind.fact: [] for kind in KINDS}
    for fact in facts:
        of_kind = rows.get(type(fact))
        if of_kind is not None:
            of_kind.append(fact)
    return {kind: rows[kind.fact] for kind in KINDS}
