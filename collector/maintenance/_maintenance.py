"""
The maintenance task: check of the database, schema, day partitions, retention, and the lock that proves that
this recorder lives.

One task, `Maintenance.run`, holds a direct connection while the service runs, and an advisory lock on it.
Another recorder that can take that lock knows that this process is gone, and closes its sessions as `error`.
The task is the outermost one and is cancelled last.
"""

import math
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Final

import trio
from attrs import define, field

from collector.clock import WallClock
from collector.database import (
    DropOutcome,
    apply_schema,
    drop_partition,
    ensure_partitions,
    fetch_chain_head,
    fetch_database_us,
    fetch_old_partitions,
    fetch_partition_facts,
    fetch_silent_sessions,
    presume_ended,
    protect,
    summarise_day,
    take_recorder_lock,
)
from collector.errors import ConfigError, StoreError, StoreRejected, StoreUnavailable, StoreUnsuitable
from collector.maintenance._preflight import START_S_MAX, Preflight
from collector.maintenance._retention import Hold, Retention, clocks_differ, decide
from collector.maintenance._silent_sessions import SilentSessions
from collector.observe import StorePhase, StoreStatus, get_logger
from collector.postgres import TrioConnection, open_connection
from collector.retry import Backoff, retry
from collector.storage import DAY_US

DAYS_AHEAD: Final = 3
"""Days after today for which partitions are made: the time for a repair when making them fails."""
ROUND_S: Final = 10.0
"""Seconds between two rounds."""
QUERY_S_MAX: Final = 30.0
"""Bound on one round. Its statements take milliseconds unless they wait for a lock."""
RETENTION_S_MAX: Final = 60.0
"""Bound on what retention does in a round. The summary of a day takes some seconds."""
PROTECT_S: Final = 3600.0
"""Seconds between two checks for rights that other roles were given."""
RETRY_FIRST_S: Final = 0.5
RETRY_S_MAX: Final = 5.0

_log = get_logger("maintenance")


@define(eq=False)
class Maintenance:
    """
    Keeps the database in order. Everything may be repeated.

    `ready` is set when schema and partitions are in place for the first time; `status` says how it is now.
    """

    database_url: str
    schema: str
    recorder_key: int
    retention: Retention
    code_version: str
    status: StoreStatus
    clock: WallClock
    backoff: Backoff
    ready: trio.Event
    is_embedded: bool = False
    silent_sessions: SilentSessions = field(factory=SilentSessions)
    _preflight: Preflight = field(init=False)
    _has_noted_refusal: bool = field(default=False, init=False)
    _protected_s: float = field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        self._preflight = Preflight(
            self.database_url, self.schema, self.recorder_key, may_be_pooled=not self.is_embedded
        )

    async def check_start(self) -> None:
        """
        Check the database before anything is recorded. Takes at most 10 s; `run` repeats the check.

        Raises ConfigError where only other settings help. Any other problem becomes the status of the
        database, and recording begins, into the spool.
        """
        try:
            with trio.fail_after(START_S_MAX):
                await self._preflight.check_connection()
                async with self._connect() as connection:
                    await self._preflight.check_database(connection)
        except StoreUnsuitable as error:
            raise ConfigError((str(error),)) from error
        except (StoreError, trio.TooSlowError) as error:
            self._note_failure(error)

    async def run(self) -> None:
        """Keep the database in order, and wait for it while it is unavailable; until cancelled."""
        await retry(self._hold_connection, (StoreError, trio.TooSlowError), self._pause)

    async def _hold_connection(self) -> None:
        with trio.fail_after(QUERY_S_MAX):
            await self._preflight.check_connection()
        async with self._connect() as connection:
            self._protected_s = -math.inf
            with trio.fail_after(QUERY_S_MAX):
                await self._preflight.check_database(connection)
                await self._acquire_lock(connection)
            self.backoff.reset()
            while True:
                with trio.fail_after(QUERY_S_MAX):
                    await self._do_round(connection)
                self._note_success()
                self.ready.set()
                await self._retain(connection)
                await trio.sleep(ROUND_S)

    def _connect(self) -> AbstractAsyncContextManager[TrioConnection]:
        return open_connection(
            self.database_url, schema=self.schema, application_name="collector-maintenance"
        )

    def _note_success(self) -> None:
        # Where a writer has noted a refusal, only a batch that is written shows that it has passed.
        if self.status.is_refusing and not self._has_noted_refusal:
            return
        self._has_noted_refusal = False
        if self.status.turn(StorePhase.AVAILABLE, self.clock()):
            _log.info("database_available")

    async def _pause(self, failure: Exception) -> None:
        self._note_failure(failure)
        await trio.sleep(self.backoff.next_delay_s())

    def _note_failure(self, failure: Exception) -> None:
        self._has_noted_refusal = isinstance(failure, StoreRejected)
        # An outage of hours is logged once, not with every try.
        if self.status.note_failure(self.clock(), failure):
            refused = self.status.is_refusing
            _log.warning("database_unavailable", retrying=True, refused=refused, reason=self.status.reason)

    async def _acquire_lock(self, connection: TrioConnection) -> None:
        await apply_schema(connection)
        if not await take_recorder_lock(connection, self.recorder_key):
            # Held by our own former connection, which the server has not found dead yet.
            raise StoreUnavailable("the lock of this process is still held by a connection that was lost")

    async def _do_round(self, connection: TrioConnection) -> None:
        for session in self.silent_sessions.look(await fetch_silent_sessions(connection, self.recorder_key)):
            if await presume_ended(connection, session):
                _log.warning("session_presumed_ended", session=session.session_id, key=str(session.key))
        self.status.chain_head = await fetch_chain_head(connection)
        await self._protect(connection)
        await self._compare_clocks(connection)
        await self._keep_partitions(connection)

    async def _protect(self, connection: TrioConnection) -> None:
        """In each connection, and each hour. A reader that holds up a change holds up nothing else."""
        if trio.current_time() < self._protected_s + PROTECT_S:
            return
        try:
            changes = await protect(connection)
        except StoreError as error:
            if connection.closed:
                raise
            _log.warning("rights_not_changed", reason=str(error))
            return
        self._protected_s = trio.current_time()
        if changes:
            _log.info("rights_changed", count=changes)

    async def _keep_partitions(self, connection: TrioConnection) -> None:
        status = self.status
        today = self.clock() // DAY_US
        try:
            made = await ensure_partitions(connection, today, today + DAYS_AHEAD)
        except StoreError as error:
            if connection.closed:
                raise
            # Today's partitions were made days ago: recording continues, and health says so.
            status.partitions_missing = True
            _log.error("partitions_not_made", reason=str(error))
            return
        status.partitions_missing = False
        if made:
            _log.info("partitions_made", count=made)
        status.partitions_until = _date_of(today + DAYS_AHEAD)

    async def _compare_clocks(self, connection: TrioConnection) -> None:
        now_us, database_us = self.clock(), await fetch_database_us(connection)
        ahead_us = now_us - database_us if clocks_differ(now_us, database_us) else 0
        if bool(ahead_us) != bool(self.status.clock_ahead_us):
            _log.warning("clocks_compared", ahead_s=ahead_us / 1e6)
        self.status.clock_ahead_us = ahead_us

    async def _retain(self, connection: TrioConnection) -> None:
        """Drop and summarise what is old enough. Nothing that goes wrong with that holds up anything else."""
        hold = f"it took more than {RETENTION_S_MAX:g} s and was stopped; it continues in the next round"
        with trio.move_on_after(RETENTION_S_MAX):
            try:
                hold = await self._drop_old(connection)
                await self._summarise(connection)
            except StoreError as error:
                if connection.closed:
                    raise
                hold = str(error)
        if hold and hold != self.status.retention_hold:
            _log.warning("retention_held_up", reason=hold)
        elif self.status.retention_hold and not hold:
            _log.info("retention_continues")
        self.status.retention_hold = hold

    async def _drop_old(self, connection: TrioConnection) -> str:
        """
        Drop what is old enough. Returns why something of it was not dropped; empty if nothing is wrong, also
        where the limit of two days a day postpones it.
        """
        kept_days = self.retention.days_by_table()
        partitions = await fetch_old_partitions(connection, kept_days) if kept_days else []
        if not partitions:
            return ""
        drops, hold = decide(await fetch_partition_facts(connection, partitions), kept_days, self.clock())
        reason = hold.value if hold is not None else ""
        for drop in drops:
            try:
                outcome = await drop_partition(connection, drop, self.code_version)
            except StoreRejected as error:
                reason = f"{drop.table} of {_date_of(drop.day)}: {error}"
                continue
            except StoreUnavailable as error:
                if connection.closed:
                    raise
                # Writers have waited behind this one already: the others have their turn in the next round.
                return (
                    f"{drop.table} of {_date_of(drop.day)} was not dropped ({error}): end long transactions"
                    " that read it; the drop is retried"
                )
            if outcome is DropOutcome.DROPPED:
                _log.info(
                    "partition_dropped", table=drop.table, day=_date_of(drop.day), kept_days=drop.kept_days
                )
            elif outcome is DropOutcome.TOO_NEW:
                reason = reason or Hold.EXCHANGE_TIME.value
        return reason

    async def _summarise(self, connection: TrioConnection) -> None:
        """One day in a round: a day has up to some hundred thousand rows of the ledger."""
        summarised = await summarise_day(connection, self.code_version)
        if summarised is not None:
            day, ledger_rows = summarised
            _log.info("day_summarised", day=_date_of(day), ledger_rows=ledger_rows)


def _date_of(day: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat()
