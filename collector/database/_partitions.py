"""Day partitions: made ahead of time, dropped by retention. Days are counted since 1970 UTC."""

from collector.database._transactions import in_transaction
from collector.postgres import TrioConnection


async def ensure_partitions(connection: TrioConnection, first_day: int, last_day: int) -> int:
    """Make the missing partitions of these days. Returns how many were made."""
    async with in_transaction(connection):
        cursor = await connection.execute(
            "SELECT rl_ensure_partitions(date '1970-01-01' + %s::integer, date '1970-01-01' + %s::integer)",
            (first_day, last_day),
        )
        row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def drop_partitions(connection: TrioConnection, table: str, first_kept_day: int) -> int:
    """Drop the partitions of earlier days. Returns how many were dropped."""
    async with in_transaction(connection):
        cursor = await connection.execute(
            "SELECT rl_drop_partitions(%s, date '1970-01-01' + %s::integer)", (table, first_kept_day)
        )
        row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def fetch_first_day(connection: TrioConnection, table: str) -> int | None:
    """
    The oldest day for which a partitioned table has a partition; None without any.

    Retention has dropped the days before it.
    """
    cursor = await connection.execute(
        "SELECT min(to_date(right(c.relname, 8), 'YYYYMMDD') - date '1970-01-01')"
        " FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(%s)",
        (table,),
    )
    row = await cursor.fetchone()
    return None if row is None or row[0] is None else int(row[0])
