"""Day partitions: made ahead of time, dropped by retention. Days are counted since 1970 UTC."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from attrs import frozen

from collector.database._transactions import in_transaction, read_only
from collector.postgres import TrioConnection
from collector.storage import DAY_US, KINDS, RAW_BLOCK

DELAY_MS: Final = 3_600_000
"""Milliseconds by which exchange times may lie after the end of their day while the clocks are right."""

_EPOCH: Final = "date '1970-01-01'"
_TABLES: Final = [kind.table for kind in (*KINDS, RAW_BLOCK) if kind.is_partitioned]


@frozen
class Drop:
    """
    A day's partition of a table that may go, with the days to keep that are configured.

    Its deltas and trades were earlier than `exchange_before_ms`, by the exchange's time.
    """

    table: str
    day: int
    kept_days: int
    exchange_before_ms: int


@frozen
class PartitionFacts:
    """
    What retention is decided by. `partitions` are pairs of table and day, `newest_exchange_ms` is a time of
    the exchange that the stored deltas have reached, `database_us` is the database's clock.
    """

    database_us: int
    newest_exchange_ms: int | None
    partitions: Sequence[tuple[str, int]]


async def ensure_partitions(connection: TrioConnection, first_day: int, last_day: int) -> int:
    """Make the missing partitions of these days. Returns how many were made."""
    async with in_transaction(connection):
        cursor = await connection.execute(
            f"SELECT rl_ensure_partitions({_EPOCH} + %s::integer, {_EPOCH} + %s::integer)".encode(),
            (first_day, last_day),
        )
        row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def fetch_database_us(connection: TrioConnection) -> int:
    """The database's clock."""
    async with in_transaction(connection):
        cursor = await connection.execute(b"SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint")
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def fetch_old_partitions(
    connection: TrioConnection, kept_days: Mapping[str, int]
) -> list[tuple[str, int]]:
    """The partitions that ended at least `kept_days` of their table ago, by the database's clock."""
    async with in_transaction(connection):
        cursor = await connection.execute(
            "WITH parts AS (SELECT k.table_name, k.kept, to_date(right(c.relname, 8), 'YYYYMMDD') AS day"
            " FROM unnest(%s::text[], %s::integer[]) AS k (table_name, kept)"
            " JOIN pg_inherits i ON i.inhparent = to_regclass(k.table_name)"
            " JOIN pg_class c ON c.oid = i.inhrelid WHERE right(c.relname, 9) ~ '^_[0-9]{8}$')"
            f" SELECT table_name, day - {_EPOCH} FROM parts"
            " WHERE day < (now() AT TIME ZONE 'UTC')::date - kept ORDER BY day, table_name".encode(),
            (list(kept_days), list(kept_days.values())),
        )
        return await cursor.fetchall()


async def fetch_partition_facts(
    connection: TrioConnection, partitions: Sequence[tuple[str, int]]
) -> PartitionFacts:
    """What is needed to decide about these partitions, which are old by the database's clock."""
    async with in_transaction(connection):
        cursor = await connection.execute(
            "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint, rl_newest_exchange_ms()"
        )
        row = await cursor.fetchone()
    assert row is not None
    database_us, newest_exchange_ms = row
    return PartitionFacts(database_us, newest_exchange_ms, tuple(partitions))


class DropOutcome(Enum):
    """The outcome for a partition that may go by the clocks."""

    DROPPED = "dropped"
    TOO_NEW = "too_new"
    """The exchange's times in it, or the times at which it was written, are too new."""
    LATER = "later"
    """Enough was dropped of the table in the last 24 hours."""


async def drop_partition(connection: TrioConnection, drop: Drop, code_version: str) -> DropOutcome:
    """
    Drop a partition, and store that it was dropped, if it may go.

    Gives up soon when somebody reads the table: StoreUnavailable then. Raises StoreRejected where something
    depends on it, or a right is missing.
    """
    async with in_transaction(connection):
        before_ms = drop.exchange_before_ms
        if await _may_be_later(connection, drop.day, before_ms):
            return DropOutcome.TOO_NEW
        # A closer bound is stored if it holds: else the day's other tables wait until this one is old enough.
        usual_ms = (drop.day + 1) * DAY_US // 1000 + DELAY_MS
        if usual_ms < before_ms and not await _may_be_later(connection, drop.day, usual_ms):
            before_ms = usual_ms
        cursor = await connection.execute(
            f"SELECT rl_drop_partition(%s, {_EPOCH} + %s::integer, %s, %s, %s)".encode(),
            (drop.table, drop.day, drop.kept_days, before_ms, code_version),
        )
        row = await cursor.fetchone()
    return DropOutcome.DROPPED if row is not None and row[0] else DropOutcome.LATER


async def summarise_day(connection: TrioConnection, code_version: str) -> tuple[int, int] | None:
    """
    Summarise the oldest day of which all partitions are dropped and the rest is not summarised yet.

    Returns the day, and how many rows of the ledger went; None where there is no such day.
    """
    async with in_transaction(connection):
        cursor = await connection.execute(
            f"SELECT d.day - {_EPOCH}, rl_summarise_day(d.day, %s) FROM (SELECT day FROM rl_partition_drops p"
            " WHERE NOT EXISTS (SELECT FROM rl_day_summaries s WHERE s.day = p.day) GROUP BY day"
            " HAVING count(DISTINCT table_name) FILTER (WHERE table_name = ANY (%s)) = %s"
            " ORDER BY day LIMIT 1) d".encode(),
            (code_version, _TABLES, len(_TABLES)),
        )
        return await cursor.fetchone()


async def _may_be_later(connection: TrioConnection, day: int, at_ms: int) -> bool:
    cursor = await connection.execute(
        f"SELECT rl_may_be_later({_EPOCH} + %s::integer, %s)".encode(), (day, at_ms)
    )
    row = await cursor.fetchone()
    return row is None or bool(row[0])


async def fetch_dropped_days(connection: TrioConnection, table: str) -> frozenset[int]:
    """The days whose partition of a table retention has dropped, by its own rows about that."""
    cursor = await connection.execute(
        f"SELECT DISTINCT day - {_EPOCH} FROM rl_partition_drops WHERE table_name = %s".encode(), (table,)
    )
    return frozenset(day for (day,) in await cursor.fetchall())


async def fetch_missing_partitions(connection: TrioConnection) -> list[tuple[str, int]]:
    """
    Partitions that do not exist although the ledger has frames of that day: pairs of table and day, those
    included that retention has dropped. Reads the ledger once.
    """
    async with read_only(connection):
        cursor = await connection.execute(
            "WITH days AS (SELECT DISTINCT us / %(day_us)s AS day FROM rl_write_ledger,"
            "  LATERAL (VALUES (first_received_us), (last_received_us)) AS times (us) WHERE us IS NOT NULL)"
            f" SELECT t.name, d.day::integer FROM days d, unnest(%(tables)s::text[]) AS t (name)"
            " WHERE NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            "  WHERE i.inhparent = to_regclass(t.name)"
            f"  AND right(c.relname, 8) = to_char({_EPOCH} + d.day::integer, 'YYYYMMDD'))"
            " ORDER BY d.day, t.name".encode(),
            {"day_us": DAY_US, "tables": _TABLES},
        )
        return await cursor.fetchall()
