"""
Everything that can be changed in a database by SQL, one thing at a time: each is found.

The changes are generated from the schema: for each column of each table one changed value, for each table one
row that is deleted and one that is added. Foreign keys are switched off, as a superuser can do that. A change
that the database refuses even then counts as found.
"""

import uuid
from collections.abc import Iterator
from typing import Final

import psycopg
import pytest
import trio
from attrs import frozen
from psycopg import sql

from collector.facts import ReceivedFrame
from collector.storage import DAY_US
from tests.frames import delta_text, snapshot_text, subscribed_text
from tests.recording.recordings import SECOND_US, START_US, TEXTS, at, execute, verify_all, write_recording
from tests.service.harness import flow, query, record

RECORDED: Final = flow(
    markets=3, rate_per_s=1000, messages_max=900, faults=("drop@200x1", "garble@300x1", "cut@500x1")
)

HOUR_THIRD_US: Final = 1200 * SECOND_US
HARMLESS: Final = {
    "rl_schema_versions.applied_at": "when a version was applied says nothing about the recording",
    "rl_schema_versions.applied_by": "neither does by whom",
    "rl_markets, a row added": "a number that nothing refers to is no data",
}
"""Changes that are not found, with the reason."""
OLD_DAY: Final = f"date '1970-01-01' + {START_US // DAY_US - 10}"
NOT_RECORDED: Final = {"rl_models", "rl_trading_episodes", "rl_trading_actions"}
"""Tables for what users make of a recording. No recorder writes them."""
OTHER_VALUES: Final = {
    "rl_orderbook_sessions.status": "CASE status WHEN 'error' THEN 'closed' ELSE 'error' END",
    "rl_snapshot_rows.origin": "CASE origin WHEN 'initial' THEN 'unsolicited' ELSE 'initial' END",
    "rl_connection_events.event_type": "CASE event_type WHEN 'stop' THEN 'silence' ELSE 'stop' END",
    "rl_chain.kind": "CASE kind WHEN 'ending' THEN 'presumed' ELSE 'ending' END",
}
"""Where a constraint allows certain values alone."""
IDENTITIES: Final = {"rl_markets.market_id", "rl_orderbook_sessions.session_id"}
BY_TYPE: Final = {
    "bigint": "COALESCE({0}, 0) + 1",
    "integer": "COALESCE({0}, 0) + 1",
    "smallint": "COALESCE({0}, 0) + 1",
    "boolean": "NOT COALESCE({0}, false)",
    "text": "COALESCE({0}, '') || 'x'",
    "bytea": "COALESCE({0}, '') || '\\x00'",
    "jsonb": "'{{\"7\": 7}}'",
    "json": "'{{\"x\": 1}}'",
    "uuid": "gen_random_uuid()",
    "ARRAY": "{0} || 'x'::text",
    "timestamp with time zone": "{0} + interval '1 second'",
}


@frozen
class Change:
    """One thing that is changed in a table."""

    name: str
    table: str
    statement: str


def changes(url: str) -> Iterator[Change]:
    """Every change of the kinds above."""
    tables = query(
        url,
        "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace"
        " AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1",
    )
    for (table,) in tables:
        if table in NOT_RECORDED:
            continue
        columns = query(
            url,
            "SELECT column_name::text, data_type::text FROM information_schema.columns"
            f" WHERE table_name = '{table}' AND table_schema = 'public' ORDER BY ordinal_position",
        )
        first = f"(SELECT tableoid, ctid FROM {table} ORDER BY {{}} LIMIT 1)"
        for column, kind in columns:
            name = f"{table}.{column}"
            value = OTHER_VALUES.get(name, BY_TYPE[kind].format(column))
            place = first.format(f"({column} IS NULL), ctid")
            statement = f"UPDATE {table} SET {column} = {value} WHERE (tableoid, ctid) = {place}"
            if name in IDENTITIES:
                # Not to be updated, but to be replaced.
                others = ", ".join(other for other, _ in columns if other != column)
                statement = (
                    f"WITH gone AS (DELETE FROM {table} WHERE (tableoid, ctid) = {place} RETURNING *)"
                    f" INSERT INTO {table} ({column}, {others}) OVERRIDING SYSTEM VALUE"
                    f" SELECT {column} + 1000, {others} FROM gone"
                )
            yield Change(name, table, statement)
        yield Change(
            f"{table}, a row deleted",
            table,
            f"DELETE FROM {table} WHERE (tableoid, ctid) = {first.format('ctid')}",
        )
        names = [column for column, _ in columns]
        yield Change(
            f"{table}, a row added",
            table,
            f"INSERT INTO {table} ({', '.join(names)}) OVERRIDING SYSTEM VALUE"
            f" SELECT {', '.join(ADDED.get(f'{table}.{name}', name) for name in names)} FROM {table} LIMIT 1",
        )


ADDED: Final = {
    "rl_chain.entry_number": "(SELECT max(entry_number) + 1 FROM rl_chain)",
    "rl_schema_versions.version": "version + 1",
    "rl_markets.market_id": "market_id + 1000",
    "rl_markets.market_ticker": "market_ticker || 'x'",
    "rl_markets.record": "NULL",
    "rl_markets.noted_us": "NULL",
    "rl_orderbook_sessions.session_id": "session_id + 1000",
    "rl_orderbook_sessions.session_key": "gen_random_uuid()",
    "rl_raw_lexicons.lexicon_number": "lexicon_number + 1000",
    "rl_write_ledger.batch_number": "(SELECT max(batch_number) + 1 FROM rl_write_ledger)",
    "rl_orderbook_rejects.frame_number": "frame_number + 100000",
}
"""What a row that is added has instead of the value of the row that it is a copy of."""


def hours_of_frames() -> list[ReceivedFrame]:
    """A snapshot, a hole in which nothing happened, and then a delta every twenty minutes for four hours."""
    levels = {"0.4500": "10.00"}
    texts = [subscribed_text("orderbook_delta", 1), snapshot_text("A", 1, yes=levels, clock=5)]
    texts.append(snapshot_text("A", 3, yes=levels, command_id=9, clock=5))
    texts += [delta_text("A", seq, "0.4500", "1.00", clock=seq + 2) for seq in range(4, 14)]
    return at(*texts, step_us=HOUR_THIRD_US)


@pytest.fixture
def url(database_url: str) -> str:
    """
    Sessions with gaps, audits, rejects, events and a reconnection; one with stored states and a proof of
    emptiness; and one of which retention has dropped and summarised everything.
    """

    async def write() -> None:
        frames = hours_of_frames()
        await write_recording(database_url, frames, tickers=("A",), ended_us=START_US + 14 * HOUR_THIRD_US)
        await write_recording(database_url, at(*TEXTS), key=uuid.UUID(int=5))
        execute(database_url, f"SELECT rl_ensure_partitions({OLD_DAY}, {OLD_DAY})")
        old_us = START_US - 10 * DAY_US
        old = at(*TEXTS, start_us=old_us)
        await write_recording(database_url, old, started_us=old_us, ended_us=old_us + 20 * SECOND_US)
        for table in ("delta_rows", "snapshot_rows", "trade_rows", "tracker_states", "raw_blocks"):
            execute(database_url, f"SELECT rl_drop_partition('rl_{table}', {OLD_DAY}, 9, 0, '1')")
        execute(database_url, f"SELECT rl_summarise_day({OLD_DAY}, '1')")
        await record(RECORDED, database_url)

    trio.run(write)
    verdict = trio.run(verify_all, database_url)
    assert (verdict.findings, verdict.notes) == ([], [])
    return database_url


def test_each_change_is_found(url: str) -> None:
    """One thing at a time; after it, everything is as before."""
    missed: list[str] = []
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")
        for change in changes(url):
            table = sql.Identifier(change.table)
            owner.execute(sql.SQL("CREATE TEMP TABLE kept AS TABLE {}").format(table))
            try:
                touched = owner.execute(change.statement.encode()).rowcount
                assert touched == 1, f"{change.name} has no row: let the recording have one"
            except psycopg.errors.IntegrityError:
                touched = 0
            if touched and trio.run(verify_all, url).is_good:
                missed.append(change.name)
            owner.execute(sql.SQL("DELETE FROM {}").format(table))
            owner.execute(sql.SQL("INSERT INTO {} OVERRIDING SYSTEM VALUE TABLE kept").format(table))
            owner.execute("DROP TABLE kept")
    assert trio.run(verify_all, url).findings == []
    assert sorted(missed) == sorted(HARMLESS)
