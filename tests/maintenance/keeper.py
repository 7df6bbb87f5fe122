"""The keeper of the database, run for one round."""

import random

import trio
from typing_extensions import override

from collector.clock import WallClock, system_clock
from collector.maintenance import Maintenance, Retention
from collector.maintenance._silent_sessions import SilentSessions
from collector.observe import StoreStatus
from collector.postgres import TrioConnection
from collector.retry import Backoff
from collector.storage import DAY_US
from tests.database.test_batches import rows


class ObservedMaintenance(Maintenance):
    """Shows when a round is done, retention included."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.round_done = trio.Event()

    @override
    async def _retain(self, connection: TrioConnection) -> None:
        await super()._retain(connection)
        self.round_done.set()


def maintenance(
    url: str,
    status: StoreStatus,
    ready: trio.Event,
    *,
    key: int = 1,
    retention: Retention | None = None,
    clock: WallClock = system_clock,
    silent_s: float = 60.0,
) -> "ObservedMaintenance":
    return ObservedMaintenance(
        database_url=url,
        schema="public",
        code_version="1.0.0",
        recorder_key=key,
        retention=retention or Retention(),
        status=status,
        clock=clock,
        backoff=Backoff(random.Random(1), 0.5, 5.0),
        ready=ready,
        silent_sessions=SilentSessions(silent_s),
    )


async def keep(
    url: str,
    *,
    key: int = 1,
    retention: Retention | None = None,
    day: int | None = None,
    ahead_us: int = 0,
    status: StoreStatus | None = None,
    silent_s: float = 60.0,
) -> StoreStatus:
    """Run the keeper until the database is in order, and stop it."""
    status = status or StoreStatus()

    def clock() -> int:
        return system_clock() + ahead_us if day is None else day * DAY_US

    async with trio.open_nursery() as nursery:
        ready = trio.Event()
        keeper = maintenance(url, status, ready, key=key, retention=retention, clock=clock, silent_s=silent_s)
        nursery.start_soon(keeper.run)
        with trio.fail_after(20):
            await ready.wait()
            await keeper.round_done.wait()
        nursery.cancel_scope.cancel()
    return status


def partitions(url: str, parent: str) -> list[str]:
    found = rows(
        url,
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        f" WHERE i.inhparent = '{parent}'::regclass ORDER BY 1",
    )
    return [name for (name,) in found]
