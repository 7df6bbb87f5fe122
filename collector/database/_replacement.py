"""
Replacing a session's rows by others: temporary tables are filled, compared, and then take the place of the
old rows.

All of it happens in the caller's transaction. The temporary tables are named `new_` and the kind.
"""

from typing import Final

from attrs import define, field, frozen

from collector.database._copy import copy_rows
from collector.database._ledger import LEDGER_COUNTS, counts_of
from collector.database._markets import fetch_market_ids
from collector.database._partitions import ensure_partitions
from collector.database._sessions import add_joined_markets
from collector.facts import FRAME_COUNTS
from collector.postgres import TrioConnection
from collector.storage import GAP, KINDS, Batch, RowKind, numbered_markets

_NAMES: Final = (*(kind.name for kind in KINDS), "ledger")


@frozen
class KindDifference:
    """One kind of rows. A row that has changed is one of the missing and one of the extra ones."""

    there: int
    derived: int
    missing: int
    """Derived, but not there."""
    extra: int
    """There, but not derived."""


@define
class Replacement:
    """The new rows of one session, in temporary tables. Used inside one transaction, by one task."""

    connection: TrioConnection
    session_id: int
    _market_ids: dict[str, int] = field(factory=dict[str, int])
    _days: set[int] = field(factory=set[int])

    async def open(self) -> None:
        """Make the temporary tables. A writer that comes back to this session waits from here on."""
        await self.connection.execute(
            "SELECT FROM rl_orderbook_sessions WHERE session_id = %s FOR UPDATE", (self.session_id,)
        )
        for kind in KINDS:
            await self._execute(f"CREATE TEMP TABLE new_{kind.name} (LIKE {kind.table}) ON COMMIT DROP")
        columns = ", ".join(f"{name} integer NOT NULL" for name in LEDGER_COUNTS)
        await self._execute(
            f"CREATE TEMP TABLE new_ledger (batch_number integer PRIMARY KEY, {columns}, hash bytea NOT NULL)"
            " ON COMMIT DROP"
        )

    async def add(self, batch: Batch, ledger_hash: bytes) -> None:
        """Put the rows of one batch into the temporary tables, its counts, and its ledger row's hash."""
        unknown = numbered_markets(batch.rows) - self._market_ids.keys()
        if unknown:
            self._market_ids.update(await fetch_market_ids(self.connection, sorted(unknown)))
        self._days |= batch.days
        for kind, facts in batch.rows.items():
            await copy_rows(
                self.connection,
                kind,
                facts,
                session_id=self.session_id,
                market_ids=self._market_ids,
                table=f"pg_temp.new_{kind.name}",
            )
        await add_joined_markets(self.connection, self.session_id, batch.facts)
        values = (batch.number, *counts_of(batch), ledger_hash)
        await self._execute(
            f"INSERT INTO pg_temp.new_ledger VALUES ({', '.join(['%s'] * len(values))})", *values
        )

    async def compare(self, kind: RowKind) -> KindDifference:
        """Count the rows of one kind that are not the same."""
        old = f"SELECT * FROM {kind.table} WHERE session_id = %(id)s"
        new = f"SELECT * FROM pg_temp.new_{kind.name}"
        cursor = await self.connection.execute(
            f"SELECT (SELECT count(*) FROM ({old}) o), (SELECT count(*) FROM ({new}) n),"
            f" (SELECT count(*) FROM ({new} EXCEPT ALL {old}) m),"
            f" (SELECT count(*) FROM ({old} EXCEPT ALL {new}) e)".encode(),
            {"id": self.session_id},
        )
        row = await cursor.fetchone()
        assert row is not None
        return KindDifference(*row)

    async def apply(self) -> None:
        """Put the new rows in place of the old ones, and correct the counts of ledger and session."""
        for day in sorted(self._days):
            await ensure_partitions(self.connection, day, day)
        for kind in KINDS:
            await self._execute(f"DELETE FROM {kind.table} WHERE session_id = %s", self.session_id)
            await self._execute(f"INSERT INTO {kind.table} SELECT * FROM pg_temp.new_{kind.name}")
        await self._correct_counts()
        for name in _NAMES:
            await self._execute(f"DROP TABLE pg_temp.new_{name}")

    async def _correct_counts(self) -> None:
        changes = ", ".join(f"{name} = n.{name}" for name in (*LEDGER_COUNTS, "hash"))
        await self._execute(
            f"UPDATE rl_write_ledger l SET {changes} FROM pg_temp.new_ledger n"
            " WHERE l.session_id = %s AND l.batch_number = n.batch_number",
            self.session_id,
        )
        names = ", ".join((*FRAME_COUNTS, "gaps"))
        sums = ", ".join(f"COALESCE(sum({name}), 0)" for name in (*FRAME_COUNTS, GAP.rows_column))
        await self._execute(
            f"UPDATE rl_orderbook_sessions SET ({names}) = (SELECT {sums} FROM pg_temp.new_ledger)"
            " WHERE session_id = %s",
            self.session_id,
        )

    async def _execute(self, statement: str, *values: object) -> None:
        await self.connection.execute(statement.encode(), values)
