"""
The whole service in virtual time, from a seed: exchange, database and disk are twins, and all goes wrong.

A run is a life of one recording: processes start, are killed and start again, connections break, frames get
lost, the database goes away and cuts calls off, the disk fills, the clock steps. In the end everything heals,
the flow comes to its end, and the last process stops in order. Then `check_world` must find nothing.
"""

import random
from contextlib import suppress
from functools import partial
from typing import Final

import trio
from attrs import define, field, frozen

from collector.live import LiveHub
from collector.observe import RecorderState, SessionStats
from collector.session import SessionContext, Tickers, run_supervisor
from collector.spool import Spool, find_leftovers, run_recovery
from tests.simulation.exchange import Chances, Line, TwinExchange
from tests.twins import MemoryDisk, TwinDatabase

FIRST_US: Final = 1_786_410_000_000_000
STORM_S: Final = 60.0
"""So long everything goes wrong."""
HEAL_S: Final = 150.0
"""And so long nothing does: probes, audits and refusals have their turn."""
RATE_PER_S: Final = 15.0
MARKETS: Final = 4
AUDIT_S: Final = 20.0
PROBE_S: Final = 15.0
WINDOW_S: Final = 20.0
"""Seconds for which written batches are kept, to be written again."""
REWIND_S_MAX: Final = 15.0
"""A database that is set back by no more loses nothing permanently."""
CHANGES_MAX: Final = 100
"""Of the markets to record, in one life of a process."""


@frozen
class Kept:
    """A session, its connection, and what of it was safe when its process was killed."""

    line: Line
    stats: SessionStats
    safe_frames: int | None
    """None: the process was not killed."""


@define(eq=False)
class Process:
    """One life of the service."""

    state: RecorderState
    context: SessionContext
    disk: MemoryDisk
    first_line: int
    changes: trio.MemorySendChannel[Tickers]
    is_alive: bool = True
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    ended: trio.Event = field(factory=trio.Event)


@define(eq=False)
class World:
    """Everything there is in one run."""

    seed: int
    rng: random.Random = field(init=False)
    clock_offset_us: int = 0
    exchange: TwinExchange = field(init=False)
    database: TwinDatabase = field(init=False)
    disk: MemoryDisk = field(factory=MemoryDisk)
    kept: list[Kept] = field(factory=list[Kept])
    log: list[str] = field(factory=list[str])
    """What was done to the service, with virtual seconds: for whoever reads a failure."""
    sample_rate: int = 1
    is_following: bool = False
    """Whether markets come and go."""
    is_set_back: bool = False
    """Whether the database loses commits that it has confirmed."""
    may_lose: bool = False
    """Whether the database is also set back by more than is kept, or the disk may have no room."""
    last: Process | None = None

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.sample_rate = self.rng.choice((1, 1, 1, 5))
        self.is_following = self.rng.random() < 0.5
        self.may_lose, self.is_set_back = self.rng.choice(((False, False), (False, True), (True, True)))
        self.database = TwinDatabase(random.Random(self.rng.getrandbits(64)))
        self.exchange = TwinExchange(
            random.Random(self.rng.getrandbits(64)),
            self.clock,
            MARKETS,
            RATE_PER_S,
            messages_max=int(RATE_PER_S * (STORM_S + 20)),
        )

    def clock(self) -> int:
        """The wall clock, which the storm may set."""
        return FIRST_US + self.clock_offset_us + int(trio.current_time() * 1e6)

    def note(self, text: str) -> None:
        """Keep what was done."""
        self.log.append(f"{trio.current_time():8.3f} {text}")

    # Processes.

    def start(self, nursery: trio.Nursery) -> Process:
        """Start the service as a new process over what the last one has left."""
        self.database.close_orphans()
        state = RecorderState(
            clock=self.clock,
            environment="demo",
            code_version="1",
            sample_rate=self.sample_rate,
            market_tickers=self.exchange.tickers,
            started_us=self.clock(),
        )
        self.disk = MemoryDisk(
            self.disk.files, self.disk.bytes_max, write_s=self.rng.choice((0.0, 0.01, 0.9))
        )
        context = SessionContext(
            open_transport=self.exchange.open_transport,
            open_store=lambda opening: self.database.open_store(opening, lambda: process.is_alive),
            spool=Spool(self.disk, self._spool_bytes(), state.spool, WINDOW_S),
            state=state,
            hub=LiveHub(state),
            clock=self.clock,
            rng=random.Random(self.rng.getrandbits(64)),
            recorder_key=len(self.kept) + 1,
            ws_url="ws://127.0.0.1/",
            batch_rows=10,
            flush_interval_s=1.0,
            stopping=trio.Event(),
            audit_interval_s=AUDIT_S,
            silence_probe_s=PROBE_S,
            is_following=self.is_following,
        )
        changes_out, changes_in = trio.open_memory_channel[Tickers](CHANGES_MAX)
        process = Process(state, context, self.disk, len(self.exchange.lines), changes_out)
        nursery.start_soon(self._run, process, changes_in)
        self.last = process
        return process

    def _spool_bytes(self) -> int:
        """A small one has no room for the rewrite window."""
        has_room = self.is_set_back and not self.may_lose
        return 40_000_000 if has_room else self.rng.choice((40_000, 400_000))

    async def _run(self, process: Process, changes: trio.MemoryReceiveChannel[Tickers]) -> None:
        context = process.context
        with process.scope:
            leftovers = await find_leftovers(context.spool)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._be_ready, context.store_ready)
                nursery.start_soon(
                    run_recovery, leftovers, context.open_store, context.store_ready, context.rng
                )
                await run_supervisor(context, self.exchange.tickers, changes)
        process.ended.set()

    async def _be_ready(self, ready: trio.Event) -> None:
        """The keeper's first round, as soon as the database is there."""
        while self.database.is_away:
            await trio.sleep(0.2)
        ready.set()

    async def kill(self, process: Process) -> None:
        """End a process as SIGKILL does: from this instant on nothing that it does has an effect."""
        process.is_alive = False
        process.disk.torn_bytes = self.rng.choice((0, 0, self.rng.randrange(400)))
        process.disk.is_off = True
        self._keep(process, is_killed=True)
        process.scope.cancel()
        await process.ended.wait()

    async def stop(self, process: Process) -> None:
        """End a process in order."""
        process.context.stopping.set()
        await process.ended.wait()
        self._keep(process, is_killed=False)

    def _keep(self, process: Process, *, is_killed: bool) -> None:
        lines = self.exchange.lines[process.first_line :]
        for line, stats in zip(lines, process.state.sessions, strict=True):
            in_memory = 0 if stats.is_kept else stats.memory_frames
            self.kept.append(Kept(line, stats, stats.received.total - in_memory if is_killed else None))

    # The storm.

    async def storm(self, nursery: trio.Nursery) -> None:
        """Let things go wrong, one after the other, each at an instant of the seed's choice."""
        rng = self.rng
        process = self.start(nursery)
        acts = [self._storm_frames, self._storm_database, self._storm_clock, self._refuse]
        if self.is_set_back:
            acts.append(self._set_back)
        if self.may_lose or not self.is_set_back:
            acts.append(self._storm_disk)
        if self.may_lose:
            acts += [self._set_back_far, self._refuse_some]
        if self.is_following:
            acts.append(self._storm_markets)
        while trio.current_time() < STORM_S:
            await trio.sleep(rng.expovariate(1 / 3.0))
            if rng.random() < 0.25:
                self.note("kill")
                await self.kill(process)
                await trio.sleep(rng.uniform(0, 3))
                process = self.start(nursery)
            else:
                rng.choice(acts)()

    def _storm_frames(self) -> None:
        rng = self.rng
        scale = rng.choice((0.0, 0.01, 0.05))
        names = [name for name in Chances.__annotations__ if rng.random() < 0.4]
        chances = {
            name: scale * rng.random() * (0.1 if name in ("cut", "silence", "mute") else 1.0)
            for name in names
        }
        self.exchange.chances = Chances(**chances)
        self.note(f"frames {chances}")

    def _storm_database(self) -> None:
        self.database.is_away = self.rng.random() < 0.5
        self.database.cut_share = self.rng.choice((0.0, 0.0, 0.1, 0.4))
        self.database.call_s = self.rng.choice((0.002, 0.002, 0.1, 2.0, 7.0))
        self.note(f"database {self.database.is_away} {self.database.cut_share} {self.database.call_s}")

    def _set_back(self) -> None:
        """A replica takes over without the last seconds, or a server crashes that confirmed too early."""
        seconds = self.rng.uniform(0, REWIND_S_MAX)
        lost = self.database.lose_commits_since(trio.current_time() - seconds)
        self.note(f"database set back by {seconds:.1f} s, {lost} commits")

    def _set_back_far(self) -> None:
        """A backup is restored, or the database is replaced by a new one."""
        if self.rng.random() < 0.5:
            self.database.become_empty()
            self.note("database replaced by an empty one")
        else:
            lost = self.database.lose_commits_since(self.rng.uniform(0, trio.current_time()))
            self.note(f"backup restored, {lost} commits lost")

    def _refuse(self) -> None:
        """A right or a table is missing, until the next time."""
        self.database.is_refusing = not self.database.is_refusing
        self.note(f"database refuses: {self.database.is_refusing}")

    def _refuse_some(self) -> None:
        """Single batches are refused, for their content."""
        number = self.rng.randrange(2, 20)
        self.database.refuses = lambda batch: batch.number % 20 == number
        self.note(f"database refuses batch {number} of each 20")

    def _storm_disk(self) -> None:
        self.disk.bytes_max = self.rng.choice((None, None, None, None, 0, 5_000))
        self.note(f"disk {self.disk.bytes_max}")

    def _storm_clock(self) -> None:
        self.clock_offset_us += self.rng.choice((-1, 1)) * self.rng.choice((3_600_000_000, 500_000))
        self.note(f"clock {self.clock_offset_us}")

    def _storm_markets(self) -> None:
        self._follow(tuple(ticker for ticker in self.exchange.tickers if self.rng.random() < 0.6))

    def _follow(self, tickers: Tickers) -> None:
        assert self.last is not None
        with suppress(trio.WouldBlock, trio.BrokenResourceError):
            self.last.changes.send_nowait(tickers)
        self.note(f"markets {tickers}")

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        self._follow(self.exchange.tickers)
        self.exchange.chances = Chances()
        self.database.is_away = self.database.is_refusing = False
        self.database.refuses = lambda batch: False
        self.database.cut_share = 0.0
        self.database.call_s = 0.002
        self.disk.bytes_max = None
        self.note("healed")


async def live(world: World) -> None:
    """One whole run; returns when the last process has stopped in order."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.exchange.play)
        await world.storm(nursery)
        world.heal()
        await trio.sleep(HEAL_S)
        assert world.last is not None
        await world.stop(world.last)
        nursery.cancel_scope.cancel(reason="the run is over")


def run_world(seed: int) -> World:
    """A run from a seed, in virtual time; the same seed gives the same run."""
    from tests.schedule import run_seeded

    world = World(seed)
    run_seeded(partial(live, world), seed)
    return world
