"""
The whole service against the simulator, with real sockets and a real PostgreSQL, in one Trio run.

What it has recorded is read back with SQL and compared with the simulator's own account of what it sent.
"""

import json
import random
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import httpx2
import psycopg
import trio
from typing_extensions import override

from collector.app import run_service
from collector.clock import WallClock, system_clock
from collector.config import Settings, read_settings
from collector.postgres import open_connection
from collector.rawblocks import BlockContent, decode_block
from collector.recording import verify_recording
from collector.simulator import Simulator, SimulatorSettings, open_simulator
from tests.recording.recordings import execute

TEST_S_MAX = 60
"""No test of the whole service may hang longer."""


class QuickRandom(random.Random):
    """Chance as it is, but waits between tries are a hundredth of what they would be."""

    @override
    def uniform(self, a: float, b: float) -> float:
        return super().uniform(a, b) / 100


def settings_for(simulator: Simulator, database_url: str, **changes: Any) -> Settings:  # noqa: ANN401
    """Settings that record all of a simulator's markets."""
    settings = read_settings(
        {
            **simulator.environ,
            "RL_FLUSH_INTERVAL": "0.1",
            "RL_ADMIN_TOKEN": "a-token-for-tests",
            "DATABASE_URL": database_url,
            "HOST": "127.0.0.1",
            "RL_SPOOL_DIR": tempfile.mkdtemp(prefix="spool-"),
        }
    )
    settings = attrs.evolve(settings, port=0)
    return attrs.evolve(settings, **changes)


@attrs.define(eq=False)
class Service:
    """A running service. `is_safe` is what it returned, once it has ended."""

    stopping: trio.Event = attrs.field(factory=trio.Event)
    ended: trio.Event = attrs.field(factory=trio.Event)
    url: str = ""
    is_safe: bool | None = None
    _is_ready: trio.Event = attrs.field(factory=trio.Event)

    async def run(self, settings: Settings, clock: WallClock) -> None:
        def note_ready(urls: list[str]) -> None:
            self.url = urls[0]
            self._is_ready.set()

        self.is_safe = await run_service(
            settings, on_ready=note_ready, clock=clock, rng=QuickRandom(), stopping=self.stopping
        )
        self.ended.set()

    async def wait_ready(self) -> None:
        await self._is_ready.wait()

    async def stop(self) -> None:
        """The orderly end that a signal brings about."""
        self.stopping.set()
        await self.ended.wait()

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        async with httpx2.AsyncClient() as client:
            response = await client.get(f"{self.url}{path}")
        return response.status_code, response.json()

    async def wait_until(self, what: str, **conditions: Any) -> dict[str, Any]:  # noqa: ANN401
        """Poll a JSON path until its named top-level values are as given, and return it."""
        while True:
            _, found = await self.get(what)
            if all(found.get(name) == value for name, value in conditions.items()):
                return found
            await trio.sleep(0.02)


@asynccontextmanager
async def serve(settings: Settings, clock: WallClock = system_clock) -> AsyncGenerator[Service]:
    """Run the service for the time of the block; it is stopped in order at the end."""
    service = Service()
    with trio.fail_after(TEST_S_MAX):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.run, settings, clock)
            await service.wait_ready()
            yield service
            await service.stop()


async def record(simulation: SimulatorSettings, database_url: str, **changes: Any) -> Simulator:  # noqa: ANN401
    """Record everything that a simulator has to send, stop, and give the simulator with its account."""
    async with open_simulator(attrs.evolve(simulation, keep_account=True)) as simulator:
        async with serve(settings_for(simulator, database_url, **changes)) as service:
            await simulator.wait_finished()
        assert service.is_safe
    await assert_verified(database_url)
    return simulator


async def assert_verified(database_url: str) -> None:
    """The recording proves itself, from the database alone."""
    async with open_connection(database_url) as connection:
        reports = (await verify_recording(connection)).sessions
    assert reports
    assert [finding for report in reports for finding in report.findings] == []


def query(url: str, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(text.encode()).fetchall()


async def execute_beside(url: str, *statements: str) -> None:
    """Change a database that a service of this run is writing to: its tasks go on while locks are awaited."""
    await trio.to_thread.run_sync(execute, url, *statements)


def raw_frames(url: str) -> dict[int, list[str]]:
    """
    The recorded frames of each session, verbatim and in order; fails when a number is missing or twice.

    Sessions come in the order in which their connections were made; their numbers may have another.
    """
    frames: dict[int, list[str]] = {}
    for session_id, first, content in raw_contents(url):
        texts = frames.setdefault(session_id, [])
        assert first == len(texts) + 1
        texts.extend(frame.text for frame in content.frames)
    return frames


def raw_contents(url: str) -> list[tuple[int, int, BlockContent]]:
    """The blocks of all sessions in order: session, number of the first frame, frames and notes."""
    return [
        (session_id, first, decode_block(first, payload, lexicon or b""))
        for session_id, first, payload, lexicon in query(
            url,
            "SELECT session_id, first_frame, payload, content FROM rl_raw_blocks"
            " JOIN rl_orderbook_sessions USING (session_id)"
            " LEFT JOIN rl_raw_lexicons USING (session_id, lexicon_number)"
            " ORDER BY started_us, first_frame, rl_raw_blocks.last_frame, first_received_us",
        )
    ]


def sent_frames(simulator: Simulator) -> list[list[str]]:
    """What the simulator sent on each connection that got anything, in the order of connections."""
    numbers = sorted({entry.connection for entry in simulator.account.entries})
    return [simulator.account.frames(number) for number in numbers]


def kinds(texts: Iterable[str]) -> Counter[str]:
    return Counter(json.loads(text)["type"] for text in texts)


def last_books(url: str) -> dict[str, tuple[dict[int, int], dict[int, int]]]:
    """Each market's last book, folded from rows in SQL's order: the newest snapshot, then what follows."""
    books: dict[str, tuple[dict[int, int], dict[int, int]]] = {}
    latest = query(
        url,
        "SELECT DISTINCT ON (market_ticker) market_ticker, session_id, sequence_number, yes_bids, no_bids"
        " FROM rl_orderbook_snapshots ORDER BY market_ticker, session_id DESC, sequence_number DESC",
    )
    for ticker, session_id, sequence_number, yes_bids, no_bids in latest:
        sides = {
            "yes": {int(price): size for price, size in yes_bids.items()},
            "no": {int(price): size for price, size in no_bids.items()},
        }
        for side, price_e4, delta_e2 in query(
            url,
            "SELECT side, price_e4, delta_e2 FROM rl_orderbook_deltas"
            f" WHERE market_ticker = '{ticker}' AND session_id = {session_id}"
            f" AND sequence_number > {sequence_number} ORDER BY sequence_number",
        ):
            sides[side][price_e4] = sides[side].get(price_e4, 0) + delta_e2
        books[ticker] = (
            {price: size for price, size in sides["yes"].items() if size},
            {price: size for price, size in sides["no"].items() if size},
        )
    return books


flow = partial(SimulatorSettings, speed=None, seed=7)
"""Generated order flow, as fast as it is taken."""
