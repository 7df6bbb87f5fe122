"""A service that is told to stop while the database is away: what it waits for, and where the frames are."""

import random
from collections.abc import Callable

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from collector.observe import SessionStats, StorePhase
from collector.session import run_supervisor
from tests.frames import RECEIVED_US, snapshot_text, subscribed_texts
from tests.schedule import run_seeded
from tests.session.test_session import MARKETS, Bench, spooled_frames
from tests.twins import MemoryDisk, TwinDatabase


class OutageBench(Bench):
    """A bench with a database in memory, which is away."""

    def __init__(self) -> None:
        super().__init__()
        self.database = TwinDatabase(random.Random(3), is_away=True)
        self.context = attrs.evolve(
            self.context, open_store=lambda opening: self.database.open_store(opening, lambda: True)
        )
        self.context.state.store.turn(StorePhase.AWAY, RECEIVED_US, "connection refused")

    async def record(self, seconds: int, at_second: Callable[[int], None] = lambda second: None) -> None:
        """Record a frame each second, and let something happen beside it."""
        for second in range(1, seconds):
            await trio.sleep(1)
            if second == 1:
                self.transports[0].arrive(*subscribed_texts())
            self.transports[0].arrive(snapshot_text("A", second))
            at_second(second)

    async def record_and_stop(self, *, is_exchange_silent: bool, back_after_s: float = 1e9) -> float:
        """Record for a minute, stop, and tell how long that took."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_supervisor, self.context, MARKETS)
            await self.record(61)
            if not is_exchange_silent:
                self.transports[0].put.close()
            self.context.stopping.set()
            stopped_s = trio.current_time()
            with trio.move_on_after(back_after_s):
                while nursery.child_tasks:
                    await trio.sleep(0.1)
            self.database.is_away = False
        return trio.current_time() - stopped_s

    @property
    def disk(self) -> MemoryDisk:
        disk = self.context.spool.disk
        assert isinstance(disk, MemoryDisk)
        return disk

    @property
    def session(self) -> SessionStats:
        (session,) = self.context.state.sessions
        return session


async def test_database_that_stays_away(autojump_clock: MockClock) -> None:
    """It gets five seconds; then everything is on the disk, and stays there."""
    bench = OutageBench()

    took_s = await bench.record_and_stop(is_exchange_silent=False)

    assert 5 <= took_s < 6
    assert (bench.session.is_safe, bench.session.is_spooled) == (False, True)
    assert bench.session.spooled_frames == bench.session.received.total > 60


async def test_database_and_exchange_that_are_silent(autojump_clock: MockClock) -> None:
    """The database's five seconds pass while the exchange gets its ten for the goodbye."""
    bench = OutageBench()

    took_s = await bench.record_and_stop(is_exchange_silent=True)

    assert 10 <= took_s < 11
    assert bench.session.is_spooled


@pytest.mark.parametrize(("back_after_s", "call_s"), [(0.2, 0.002), (2, 0.002), (4.5, 0.002), (0.5, 1.0)])
async def test_database_that_comes_back_in_time(
    autojump_clock: MockClock, back_after_s: float, call_s: float
) -> None:
    """Everything goes in, also when writing takes longer than the database had to come back."""
    bench = OutageBench()
    bench.database.call_s = call_s

    await bench.record_and_stop(is_exchange_silent=False, back_after_s=back_after_s)

    assert bench.session.is_safe
    (recorded,) = bench.database.sessions.values()
    assert len(recorded.frames) == bench.session.received.total > 60
    assert recorded.ending is not None


async def test_outage_is_told_once(autojump_clock: MockClock) -> None:
    """Its begin and its end are in the log, and not each of the tries between; the first reason stays."""
    bench = OutageBench()
    bench.database.is_away = False

    def at_second(second: int) -> None:
        bench.database.is_away = 100 < second < 300
        # The keeper's time-outs, as with a server that does not answer.
        if second in (150, 250):
            assert not bench.context.state.store.note_away(RECEIVED_US, "")
            assert "connection" in bench.context.state.store.reason

    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_supervisor, bench.context, MARKETS)
            await bench.record(400, at_second)
            nursery.cancel_scope.cancel()

    told = [log["event"] for log in logs if log["event"] in {"write_failed", "database_available"}]
    assert told == ["database_available", "write_failed", "database_available"]


async def test_slow_disk_makes_nothing_count_twice(autojump_clock: MockClock) -> None:
    """While an append holds the journal for long, what is in the database already is not written again."""
    bench = OutageBench()
    bench.disk.write_s = 8

    def at_second(second: int) -> None:
        bench.database.is_away = second < 40

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_supervisor, bench.context, MARKETS)
        await bench.record(120, at_second)
        bench.transports[0].put.close()
        bench.context.stopping.set()

    assert bench.session.is_safe
    (recorded,) = bench.database.sessions.values()
    assert bench.session.batches == len(recorded.batches)
    assert bench.session.written == bench.session.received


async def test_trouble_of_the_disk_is_past_when_nobody_needs_it(autojump_clock: MockClock) -> None:
    """The disk refused in an outage; when the database takes all again, it may refuse as it likes."""
    bench = OutageBench()
    bench.disk.bytes_max = 0

    def at_second(second: int) -> None:
        if second == 30:
            assert bench.context.state.spool.failure
            bench.database.is_away = False

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_supervisor, bench.context, MARKETS)
        await bench.record(90, at_second)
        assert bench.context.state.spool.failure == ""
        assert bench.context.state.spool.bytes == 0
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seed", range(40))
def test_a_writer_cancelled_while_it_moves_batches_to_the_disk_keeps_all(seed: int) -> None:
    """In whatever order the tasks of the writer are cancelled, the rest of the backlog still goes there."""

    async def run() -> None:
        bench = Bench()

        async def play() -> None:
            await trio.sleep(0.9)
            bench.transports[0].arrive(*subscribed_texts(), snapshot_text("A", 1))
            await trio.sleep(1.1)
            bench.transports[0].arrive(snapshot_text("A", 2))
            bench.transports[0].put.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(play)
            await bench.run_one()
        assert await spooled_frames(bench.context.spool.disk) == 5

    run_seeded(run, seed)
