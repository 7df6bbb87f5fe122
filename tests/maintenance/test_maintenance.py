"""The schema, partitions, retention, and sessions of recorders that died."""

import psycopg
import trio
from trio.testing import wait_all_tasks_blocked

from collector.database import apply_schema
from collector.database._sessions import open_session
from collector.errors import StoreRejected, StoreUnavailable
from collector.maintenance import DAYS_AHEAD
from collector.observe import StorePhase, StoreStatus
from collector.postgres import open_connection
from tests.database.test_batches import opening, rows
from tests.maintenance.keeper import keep, maintenance, partitions

COUNT_BY_TICKER = "SELECT market_ticker, COUNT(*) FROM rl_orderbook_snapshots GROUP BY market_ticker;"
RECENT_BY_TICKER = """SELECT market_ticker, COUNT(*) FROM rl_orderbook_deltas
     WHERE timestamp_ms > (EXTRACT(EPOCH FROM NOW() - INTERVAL '1 hour') * 1000) GROUP BY market_ticker;"""


async def test_schema_applies_to_an_empty_database_and_again(database_url: str) -> None:
    """Applying the schema twice is applying it once, and the two questions of the specification work."""
    async with open_connection(database_url) as connection:
        await apply_schema(connection)
        await apply_schema(connection)
        for question in (COUNT_BY_TICKER, RECENT_BY_TICKER):
            cursor = await connection.execute(question.encode())
            assert await cursor.fetchall() == []


async def test_schema_on_the_oldest_postgresql(postgres_15_url: str) -> None:
    """The schema and the two questions work on PostgreSQL 15 too."""
    async with open_connection(postgres_15_url) as connection:
        await apply_schema(connection)
        await apply_schema(connection)
        for question in (COUNT_BY_TICKER, RECENT_BY_TICKER):
            cursor = await connection.execute(question.encode())
            assert await cursor.fetchall() == []
    assert (await keep(postgres_15_url, day=20_000)).partitions_until == "2024-10-07"


async def test_columns_are_the_contract(database_url: str) -> None:
    """The names that readers use have the columns of the specification, in its order."""
    async with open_connection(database_url) as connection:
        await apply_schema(connection)
    for view, columns in {
        "rl_orderbook_deltas": "session_id, market_ticker, sid, sequence_number, clock, timestamp_ms,"
        " received_us, side, action, price_e4, delta_e2, old_size_e2, new_size_e2",
        "rl_orderbook_snapshots": "session_id, market_ticker, sid, sequence_number, clock,"
        " timestamp_ms, received_us, origin, yes_bids, no_bids, digest",
        "rl_orderbook_trades": "session_id, market_ticker, sid, sequence_number, timestamp_ms,"
        " received_us, trade_id,"
        " taker_side, price_e4, count_e2, is_block_trade",
    }.items():
        with psycopg.connect(database_url) as connection:
            cursor = connection.execute(f"SELECT * FROM {view}".encode())
            assert ", ".join(column.name for column in cursor.description or ()) == columns


async def test_recent_deltas_are_found_by_an_index(database_url: str) -> None:
    """The question by exchange time, word for word, does not have to read whole partitions."""
    async with open_connection(database_url) as connection:
        await apply_schema(connection)
        await connection.execute("SELECT rl_ensure_partitions(current_date, current_date)")
        await connection.execute("SET enable_seqscan = off")
        cursor = await connection.execute(f"EXPLAIN {RECENT_BY_TICKER}".encode())
        plan = "\n".join(line for (line,) in await cursor.fetchall())
    assert "Bitmap Index Scan" in plan
    assert "timestamp_ms" in plan


async def test_partitions_exist_ahead_of_time(database_url: str) -> None:
    """Today's partition and those of the next days are made without anyone's doing, once."""
    status = await keep(database_url, day=20_000)
    await keep(database_url, day=20_001)

    names = ["20241004", "20241005", "20241006", "20241007", "20241008"]
    assert DAYS_AHEAD == 3
    assert status.partitions_until == "2024-10-07"
    for parent in (
        *("rl_delta_rows", "rl_trade_rows", "rl_snapshot_rows"),
        *("rl_tracker_states", "rl_raw_blocks"),
    ):
        assert partitions(database_url, parent) == [f"{parent}_{name}" for name in names]


async def test_reader_that_takes_its_time_holds_up_nobody(database_url: str) -> None:
    """With a query open for hours, recorders still start and make partitions."""
    await keep(database_url, day=20_000)
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT count(*) FROM rl_orderbook_deltas")
        with trio.fail_after(5):
            await keep(database_url, key=2, day=20_004)
        assert "rl_delta_rows_20241007" in partitions(database_url, "rl_delta_rows")


async def test_reader_that_holds_up_a_change_of_rights_holds_up_nothing_else(database_url: str) -> None:
    """The recorder starts; the change is made once the query has ended."""
    question = "SELECT relrowsecurity FROM pg_class WHERE relname = 'rl_markets'"
    await keep(database_url)
    with psycopg.connect(database_url) as owner:
        owner.execute("ALTER TABLE rl_markets DISABLE ROW LEVEL SECURITY")
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT count(*) FROM rl_markets")
        status = await keep(database_url, key=2)
        assert status.phase is StorePhase.AVAILABLE
        assert rows(database_url, question) == [(False,)]
    await keep(database_url, key=3)
    assert rows(database_url, question) == [(True,)]


async def test_sessions_of_a_dead_recorder_are_closed(database_url: str) -> None:
    """
    A session left active is closed as an error once its recorder's lock is free, and not before. Its entry in
    the chain says that another process has presumed its end.
    """
    found = "SELECT session_id, status, end_reason FROM rl_orderbook_sessions ORDER BY 1"
    async with open_connection(database_url) as connection:
        await apply_schema(connection)
        dead = await open_session(connection, opening(recorder_key=11))
        living = await open_session(connection, opening(recorder_key=12))
        await connection.execute("SELECT pg_advisory_lock(12)")
        await keep(database_url, key=13)
        assert {status for _, status, _ in rows(database_url, found)} == {"active"}, "a minute has not passed"
        await keep(database_url, key=13, silent_s=0)

    assert rows(database_url, found) == [
        (dead.session_id, "error", "recorder_died"),
        (living.session_id, "active", None),
    ]
    assert rows(database_url, "SELECT kind, session_key FROM rl_chain ORDER BY 1") == [
        ("opening", dead.key),
        ("opening", living.key),
        ("presumed", dead.key),
    ]


async def test_database_that_is_away_is_waited_for(refusing_port: int) -> None:
    """The keeper neither ends nor raises; its status says what is wrong."""
    status = StoreStatus()
    url = f"postgresql://user:secret-word@127.0.0.1:{refusing_port}/none"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(maintenance(url, status, trio.Event()).run)
        with trio.fail_after(20):
            while status.phase is not StorePhase.AWAY:
                await trio.sleep(0.01)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert "refused" in status.reason
    assert "secret-word" not in status.reason


async def test_refusal_of_a_write_is_not_cleared_by_a_round(database_url: str) -> None:
    """The keeper's own statements say nothing about the right to write batches."""
    status = StoreStatus()
    status.note_failure(1, StoreRejected("permission denied for table rl_write_ledger"))
    await keep(database_url, status=status)
    assert (status.phase, status.is_refusing) == (StorePhase.AWAY, True)
    assert "rl_write_ledger" in status.reason

    status.note_failure(2, StoreUnavailable("the server is starting"))
    await keep(database_url, status=status)
    assert (status.phase, status.is_refusing) == (StorePhase.AVAILABLE, False)


def test_missing_answer_does_not_hide_a_refusal() -> None:
    """A writer that waits in vain knows less than the keeper that was refused."""
    status = StoreStatus()
    status.note_failure(1, StoreRejected("permission denied for schema public"))
    assert not status.note_failure(2, trio.TooSlowError())
    assert (status.is_refusing, status.reason) == (True, "permission denied for schema public")

    status.note_failure(3, StoreUnavailable("connection refused"))
    assert (status.is_refusing, status.reason) == (False, "connection refused")
