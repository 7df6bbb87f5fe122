"""
What the database needs besides batches: the schema, day partitions ahead of time, retention, and the proof
that this process lives.

One task, `run_keeper`, holds a direct connection for as long as the service runs, and an advisory lock on
it. Whoever can take that lock knows that the process is gone; its sessions are then closed as `error`. The
task is the outermost one and is cancelled last.
"""

import hashlib
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trio
from attrs import frozen

import collector
from collector.clock import WallClock
from collector.errors import StartError, StoreRejected, StoreUnavailable, leaves_of
from collector.observe.logs import get_logger
from collector.observe.state import StorePhase, StoreStatus
from collector.store.batch import DAY_US, ensure_partitions
from collector.store.connection import TrioConnection, open_connection, translate_errors
from collector.supervise import backoff_delays

DAYS_AHEAD = 3
"""So many whole days of trouble with making partitions do not stop the recording."""
ROUND_S = 10.0
QUERY_S_MAX = 30.0
LOCK_MS_MAX = 2000
MARK = "rl_orderbook_deltas"
"""The view whose comment says which schema the database has."""

_log = get_logger("keeper")


@frozen
class Retention:
    """Whole days to keep; None keeps for good."""

    rows_days: int | None = None
    raw_days: int | None = None


def read_schema() -> str:
    """The text of schema.sql, from the top level of a checkout or from the installed package."""
    package = Path(collector.__file__).parent
    for folder in (package, package.parent):
        path = folder / "schema.sql"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise StartError("schema.sql is missing: install the package again")


async def apply_schema(connection: TrioConnection) -> None:
    """
    Apply schema.sql as one transaction; other processes that do the same wait their turn.

    It has to wait for long transactions of others, and writers wait behind it: so it gives up soon. Raises
    StoreUnavailable then, as for a database that is away.
    """
    text = read_schema()
    with translate_errors():
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS_MAX}".encode())
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('rl_schema'))")
            await connection.execute(text.encode())
            await connection.execute(f"COMMENT ON VIEW {MARK} IS '{_mark_of(text)}'".encode())


async def is_schema_applied(connection: TrioConnection) -> bool:
    """Whether the database has this very schema already."""
    with translate_errors():
        cursor = await connection.execute("SELECT obj_description(to_regclass(%s))", (MARK,))
        row = await cursor.fetchone()
    return row is not None and row[0] == _mark_of(read_schema())


def _mark_of(schema: str) -> str:
    return f"schema.sql {hashlib.sha256(schema.encode()).hexdigest()[:16]}"


async def run_keeper(
    database_url: str,
    recorder_key: int,
    retention: Retention,
    status: StoreStatus,
    clock: WallClock,
    rng: random.Random,
    ready: trio.Event,
) -> None:
    """
    Keep the database in order for as long as the service runs; wait for it as long as it is away.

    `ready` is set when schema and partitions are in place for the first time; `status` tells how it is now.
    """
    delays = backoff_delays(rng, first_s=0.5, s_max=5.0)
    while True:
        failure: BaseException | None = None
        try:
            async with open_connection(database_url, application_name="collector-keeper") as connection:
                with trio.fail_after(QUERY_S_MAX):
                    await _take_charge(connection, recorder_key)
                delays = backoff_delays(rng, first_s=0.5, s_max=5.0)
                await _keep(connection, recorder_key, retention, status, clock, ready)
        except* (StoreUnavailable, trio.TooSlowError) as group:
            failure = leaves_of(group)[0]
        # An outage of hours is told once, not with every try.
        if status.note_away(clock(), str(failure)):
            _log.warning("database away, tried again until it is back", reason=status.reason)
        await trio.sleep(next(delays))


async def _take_charge(connection: TrioConnection, recorder_key: int) -> None:
    if not await is_schema_applied(connection):
        await apply_schema(connection)
    with translate_errors():
        cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (recorder_key,))
        row = await cursor.fetchone()
    if row is None or not row[0]:
        # Our own former connection, which the server has not yet found dead.
        raise StoreUnavailable("the lock of this process is still held by a connection that was lost")


async def _keep(
    connection: TrioConnection,
    recorder_key: int,
    retention: Retention,
    status: StoreStatus,
    clock: WallClock,
    ready: trio.Event,
) -> None:
    while True:
        with trio.fail_after(QUERY_S_MAX):
            await _close_orphans(connection, recorder_key)
            await _keep_partitions(connection, retention, status, clock)
        if status.turn(StorePhase.AVAILABLE, clock()):
            _log.info("database available")
        ready.set()
        await trio.sleep(ROUND_S)


async def _close_orphans(connection: TrioConnection, recorder_key: int) -> None:
    """Sessions of recorders that are gone end as errors, at the last message that is known of them."""
    with translate_errors():
        cursor = await connection.execute(
            "SELECT DISTINCT recorder_key FROM rl_orderbook_sessions"
            " WHERE status = 'active' AND recorder_key <> %s",
            (recorder_key,),
        )
        for (other_key,) in await cursor.fetchall():
            closing = await connection.execute(
                "WITH gone AS MATERIALIZED (SELECT pg_try_advisory_lock(%(key)s) AS is_gone),"
                " closed AS (UPDATE rl_orderbook_sessions SET status = 'error', end_reason = 'recorder_died',"
                " ended_us = COALESCE(last_message_us, started_us) FROM gone"
                " WHERE is_gone AND status = 'active' AND recorder_key = %(key)s RETURNING session_id)"
                " SELECT is_gone, ARRAY(SELECT session_id FROM closed) FROM gone",
                {"key": other_key},
            )
            row = await closing.fetchone()
            if row is not None and row[0]:
                _log.warning("closed sessions of a recorder that died", sessions=row[1])
                await connection.execute("SELECT pg_advisory_unlock(%s)", (other_key,))


async def _keep_partitions(
    connection: TrioConnection, retention: Retention, status: StoreStatus, clock: WallClock
) -> None:
    today = clock() // DAY_US
    try:
        made = await ensure_partitions(connection, today, today + DAYS_AHEAD)
    except (StoreRejected, StoreUnavailable) as error:
        if connection.closed:
            raise
        # Today's partitions were made days ago: the recording goes on, and health asks for help.
        status.partitions_missing = True
        _log.error("partitions could not be made", reason=str(error))
        return
    status.partitions_missing = False
    if made:
        _log.info("made partitions", count=made)
    status.partitions_until = _date_of(today + DAYS_AHEAD)
    for parent, days in (
        ("rl_delta_rows", retention.rows_days),
        ("rl_trade_rows", retention.rows_days),
        ("rl_snapshot_rows", retention.rows_days),
        ("rl_raw_blocks", retention.raw_days),
    ):
        if days is not None:
            await _drop_old(connection, parent, today - days)


async def _drop_old(connection: TrioConnection, parent: str, first_kept_day: int) -> None:
    try:
        with translate_errors():
            cursor = await connection.execute(
                "SELECT rl_drop_partitions(%s, date '1970-01-01' + %s::integer)", (parent, first_kept_day)
            )
            row = await cursor.fetchone()
    except (StoreRejected, StoreUnavailable) as error:
        if connection.closed:
            raise
        # Somebody reads there, or something else depends on it: later.
        _log.warning("old partitions not dropped yet", table=parent, reason=str(error))
        return
    if row is not None and row[0]:
        _log.info("dropped partitions", table=parent, count=row[0])


def _date_of(day: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat()
