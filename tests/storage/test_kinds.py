"""One description of each kind of row: it agrees with `schema.sql`, and it is the only one."""

import json
import uuid
from typing import Any

import psycopg
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from collector.database import apply_schema
from collector.database._ledger import LEDGER_COUNTS
from collector.facts import (
    FRAME_COUNTS,
    AuditFact,
    BookStateFact,
    Cause,
    ConnectionEvent,
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
from collector.facts._causes import ENDING_CAUSE_BY_ERROR
from collector.postgres import open_connection
from collector.protocol import TERMINAL_ERRORS
from collector.rawblocks import RawBlock
from collector.storage import KINDS, RAW_BLOCK, ColumnType, RowKind, copy_columns, encode_rows
from collector.storage._kinds import Column, columns_of

TYPES = {ColumnType.MARKET: "integer"}
"""What a column's type is called in the catalog, where that is not its own name."""
EXAMPLES: tuple[Any, ...] = (
    DeltaFact("A", 1, 5, 7, "no", 4500, -3, 10, sid=1),
    DeltaFact("B", 2, None, 8, "yes", 1, 3, 0, sid=1),
    SnapshotFact("A", 3, 9, "initial", {4500: 10, 300: 7, 10_000: 1}, {}, b"\x00\xff", sid=1, frame_number=1),
    BookStateFact("A", 3, 9, None),
    ProvenEmptyFact("A", 3, 9, 8, uuid.UUID(int=7), 2),
    BookStateFact("B", 4, 9, Cause.SEQUENCE),
    TradeFact("A", None, None, 10, "id-1", None, 1, 2, None, sid=2),
    TradeFact("B", 4, 5, 11, "id-2", "no", 1, 2, False, sid=2),
    EventFact("A", None, 3, 12, "settled", json.dumps({"aa": 1.5, "b": [1, {"a": None, "z": "ü"}]}), sid=3),
    ConnectionEventFact(4, 13, ConnectionEvent.CLOCK_STEP, -3_600_000_000, None),
    ConnectionEventFact(4, 14, ConnectionEvent.STOP, None),
    TrackerStateFact(5, 15, b"\x00state"),
    GapFact(1, 2, None, 13, 14, Cause.SEQUENCE),
    GapFact(1, 2, 2, 14, 15, Cause.AUDIT_MISMATCH, "A", "orderbook_delta"),
    AuditFact("A", 5, 15, False, "yes 4500: book 1, exchange 2", sid=1),
    RejectFact(16, 17, "a NUL \0 in it", "text \0 of the frame"),
    RawBlock(1, 2, 3, 4, 5, 1, 0, b"\x00payload"),
)


def columns_in(url: str, table: str) -> dict[str, tuple[str, bool]]:
    """Type and nullability of a table's columns, by the database."""
    with psycopg.connect(url) as connection:
        cursor = connection.execute(
            "SELECT column_name, data_type, is_nullable = 'YES' FROM information_schema.columns"
            " WHERE table_schema = 'public' AND table_name = %s",
            (table,),
        )
        return {name: (kind, is_nullable) for name, kind, is_nullable in cursor.fetchall()}


@pytest.fixture
def schema_url(database_url: str) -> str:
    """A database with the schema."""

    async def apply() -> None:
        async with open_connection(database_url) as connection:
            await apply_schema(connection)

    trio.run(apply)
    return database_url


def test_columns_are_those_of_the_schema(schema_url: str) -> None:
    """
    Names, types and nullability of each kind's columns are what `schema.sql` says, and none is left out.
    """
    for kind in (*KINDS, RAW_BLOCK):
        described = {
            column.name: (TYPES.get(column.type, column.type.value), column.is_nullable)
            for column in kind.columns
        }
        assert {"session_id": ("integer", False), **described} == columns_in(schema_url, kind.table), kind


def test_every_count_has_a_column(schema_url: str) -> None:
    """
    The ledger has a column for each count of frames and each kind of row, the session for each of frames.
    """
    assert set(LEDGER_COUNTS) <= columns_in(schema_url, "rl_write_ledger").keys()
    assert {*FRAME_COUNTS, "gaps"} <= columns_in(schema_url, "rl_orderbook_sessions").keys()


async def test_what_is_written_is_read_back(schema_url: str) -> None:
    """The binary rows of each kind hold the fact's values, nulls and odd text included."""
    market_ids = {"A": 1, "B": 2}
    async with open_connection(schema_url) as connection:
        for kind in (*KINDS, RAW_BLOCK):
            facts = [fact for fact in EXAMPLES if isinstance(fact, kind.fact)]
            assert facts, f"no example of {kind.name}"
            await connection.execute(f"CREATE TEMP TABLE copied (LIKE {kind.table})".encode())
            columns = ", ".join(copy_columns(kind))
            async with connection.cursor() as cursor:
                statement = f"COPY copied ({columns}) FROM STDIN (FORMAT BINARY)"
                async with cursor.copy(statement.encode()) as copy:
                    await copy.write(encode_rows(kind, facts, 77, market_ids))
            result = await connection.execute(f"SELECT {columns} FROM copied".encode())
            read = [tuple(row) for row in await result.fetchall()]
            await connection.execute("DROP TABLE copied")
            assert {row[0] for row in read} == {77}
            names = {number: ticker for ticker, number in market_ids.items()}
            records = [tuple(row[1:]) for row in read]
            if kind.market_index is not None:
                at = kind.market_index
                records = [(*row[:at], names[row[at]], *row[at + 1 :]) for row in records]
            assert [kind.values_of_record(row) for row in records] == [kind.values(fact) for fact in facts]


@given(
    st.dictionaries(st.integers(0, 10_000), st.integers(1, 10**15)),
    st.dictionaries(st.integers(0, 10_000), st.integers(1, 10**15)),
)
def test_levels_compare_as_the_database_returns_them(yes: dict[int, int], no: dict[int, int]) -> None:
    """A book from a fact equals the same book after a way through jsonb, whatever the order of its levels."""
    (kind,) = (kind for kind in KINDS if kind.fact is SnapshotFact)
    values = kind.values(SnapshotFact("A", 1, 2, "initial", yes, no, b"", sid=1, frame_number=1))
    record = [json.loads(value) if column.type is ColumnType.JSONB else value
              for column, value in zip(kind.columns, values, strict=True)]  # fmt: skip
    assert kind.values_of_record(record) == values


def test_columns_follow_from_annotations() -> None:
    """`columns_of` makes a column of each field of a fact, with type and nullability from its annotation."""
    assert columns_of(GapFact)[:3] == (
        Column("sid", ColumnType.BIGINT),
        Column("expected", ColumnType.BIGINT),
        Column("received", ColumnType.BIGINT, is_nullable=True),
    )
    assert Column("cause", ColumnType.TEXT) in columns_of(GapFact)


def test_a_value_that_is_too_large_is_no_row() -> None:
    """An integer beyond its column's type is an error, never a wrong number."""
    (kind,) = (kind for kind in KINDS if kind.fact is DeltaFact)
    fact: Fact = DeltaFact("A", 1, 5, 7, "no", 40_000, -3, 10, sid=1)
    with pytest.raises(Exception, match="requires"):
        encode_rows(kind, [fact], 1, {"A": 1})


def test_each_kind_has_names_of_its_own() -> None:
    """No two kinds share a name, a table or a fact."""
    for attribute in ("name", "table", "fact", "rows_column"):
        assert len({getattr(kind, attribute) for kind in KINDS}) == len(KINDS)
    assert all(isinstance(kind, RowKind) for kind in KINDS)


def test_every_error_that_ends_a_subscription_has_a_cause() -> None:
    """The exchange's terminal errors are the ones that the tracker answers with a gap."""
    assert ENDING_CAUSE_BY_ERROR.keys() == TERMINAL_ERRORS
