"""One session in virtual time: a transport made by hand, and a database that never answers."""

import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock
from typing_extensions import override

from collector.clock import ClockStep
from collector.database import PostgresSession
from collector.errors import FeedError, FeedLost, FeedRefused
from collector.exchange import StampedText, Transport
from collector.live import LiveHub
from collector.observe import FeedPhase, FeedStatus, RecorderState, SpoolStatus, StorePhase
from collector.postgres import TrioConnection
from collector.session import SessionContext, run_supervisor
from collector.session import _session as scope
from collector.session._backlog import BacklogFull
from collector.session._session import FeedEnd, run_session
from collector.spool import Spool, find_leftovers
from collector.spool._disk import Disk
from collector.storage import Batch, SessionEnding
from tests.frames import RECEIVED_US, snapshot_text, subscribed_texts
from tests.schedule import run_seeded
from tests.twins import MemoryDisk

MARKETS = ("A", "B")


class HandMadeTransport(Transport):
    """What a test puts into `arrive` is received; what is sent is in `sent`."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.activity_s = trio.current_time()
        self.clock_steps: list[ClockStep] = []
        self.put, self._texts = trio.open_memory_channel[StampedText](1000)

    @property
    @override
    def last_activity_s(self) -> float:
        return self.activity_s

    @override
    def take_clock_steps(self) -> Sequence[ClockStep]:
        steps, self.clock_steps = self.clock_steps, []
        return steps

    @override
    def now_us(self) -> int:
        return RECEIVED_US + int(trio.current_time() * 1e6)

    @override
    async def receive(self) -> Sequence[StampedText]:
        try:
            first = await self._texts.receive()
        except trio.EndOfChannel:
            raise FeedLost("connection lost without a closing handshake", close_code=1006) from None
        return [first, *self.take_nowait()]

    @override
    def take_nowait(self) -> Sequence[StampedText]:
        texts: list[StampedText] = []
        while True:
            try:
                texts.append(self._texts.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                return texts

    @override
    async def send(self, text: str) -> None:
        self.sent.append(text)

    def arrive(self, *texts: str) -> None:
        self.activity_s = trio.current_time()
        for text in texts:
            self.put.send_nowait((RECEIVED_US, text))


@asynccontextmanager
async def no_store() -> AsyncGenerator[TrioConnection]:
    while True:
        await trio.sleep(3600)
    yield  # type: ignore[unreachable]


class Bench:
    """A context whose connections are made by hand; `outcomes` are what the next tries come to."""

    def __init__(self, *outcomes: FeedError | None) -> None:
        self.transports: list[HandMadeTransport] = []
        self.tries_s: list[float] = []
        self.set_back_us = 0
        self._outcomes = list(outcomes)
        state = RecorderState(
            clock=lambda: RECEIVED_US + int(trio.current_time() * 1e6) - self.set_back_us,
            environment="demo",
            code_version="1",
            sample_rate=1,
            market_tickers=MARKETS,
            started_us=RECEIVED_US,
        )
        self.context = SessionContext(
            open_transport=self.open_transport,
            open_store=lambda opening: PostgresSession(opening, no_store),
            spool=Spool(MemoryDisk(), 2**30, state.spool),
            state=state,
            hub=LiveHub(state),
            clock=state.clock,
            rng=random.Random(5),
            recorder_key=1,
            ws_url="ws://127.0.0.1/",
            batch_rows=100,
            flush_interval_s=1.0,
            stopping=trio.Event(),
        )
        self.context.store_ready.set()

    @asynccontextmanager
    async def open_transport(self) -> AsyncGenerator[Transport]:
        self.tries_s.append(trio.current_time())
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if outcome is not None:
            raise outcome
        self.transports.append(HandMadeTransport())
        yield self.transports[-1]

    async def run_one(self) -> FeedError | None:
        """One session until its connection is over; its writer is then given up."""
        end = FeedEnd()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                partial(
                    run_session,
                    self.context,
                    FeedStatus("feed-1", MARKETS),
                    end,
                    on_connected=lambda stats, follow: None,
                )
            )
            error = await end.wait()
            nursery.cancel_scope.cancel()
        return error


async def spooled_frames(disk: Disk) -> int:
    """Frames that another process would find in the one journal of a disk."""
    (journal,) = await find_leftovers(Spool(disk, 2**30, SpoolStatus()))
    frames = 0
    while isinstance(record := await journal.first(), Batch):
        frames += len(record.frames)
        await journal.advance()
    assert isinstance(record, SessionEnding)
    return frames


async def test_session_does_not_end_before_its_last_frame(autojump_clock: MockClock) -> None:
    """The machine's clock is set back by an hour: the session still ends after its last frame."""
    bench = Bench()

    async def send() -> None:
        await trio.sleep(1)
        bench.set_back_us = 3_600_000_000
        bench.transports[0].arrive(snapshot_text("A", 1))
        await trio.sleep(1)
        bench.transports[0].put.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await bench.run_one()
    (session,) = bench.context.state.sessions
    assert session.ended_us is not None
    assert session.last_message_us is not None
    assert session.last_message_us <= session.ended_us


async def test_silence_ends_the_connection(autojump_clock: MockClock) -> None:
    """Thirty seconds without a byte, pings included, and the connection is given up."""
    bench = Bench()

    async def acknowledge() -> None:
        await trio.sleep(1)
        bench.transports[0].arrive(*subscribed_texts())
        bench.transports[0].arrive(snapshot_text("A", 1), snapshot_text("B", 2))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(acknowledge)
        error = await bench.run_one()
    assert isinstance(error, FeedLost)
    assert error.reason == "no frame of any kind for 30 s"
    assert trio.current_time() == pytest.approx(1 + 31, abs=1)


async def test_quiet_market_is_not_silence(autojump_clock: MockClock) -> None:
    """Pings alone keep a connection for hours."""
    bench = Bench()

    async def ping() -> None:
        await trio.sleep(1)
        transport = bench.transports[0]
        transport.arrive(*subscribed_texts())
        transport.arrive(snapshot_text("A", 1), snapshot_text("B", 2))
        for _ in range(360):
            await trio.sleep(10)
            transport.activity_s = trio.current_time()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ping)
        await bench.run_one()
    assert trio.current_time() == pytest.approx(3601 + 31, abs=2)
    assert len(bench.transports[0].sent) == 3, "three subscribes, and nothing else was ever said"


async def test_market_without_a_first_snapshot_is_asked_for(autojump_clock: MockClock) -> None:
    """Ten seconds after the acknowledgement, what has not come is asked for with get_snapshot."""
    bench = Bench()

    async def acknowledge() -> None:
        await trio.sleep(1)
        bench.transports[0].arrive(*subscribed_texts())
        bench.transports[0].arrive(snapshot_text("A", 1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(acknowledge)
        await bench.run_one()
    asked = [text for text in bench.transports[0].sent if "get_snapshot" in text]
    assert asked
    assert all('"market_tickers":["B"]' in text for text in asked)


async def test_everything_received_is_folded_when_the_line_breaks(autojump_clock: MockClock) -> None:
    """Frames that were on their way from task to task when the connection broke are counted and kept."""
    bench = Bench()

    async def break_off() -> None:
        await trio.sleep(1)
        transport = bench.transports[0]
        transport.arrive(*(snapshot_text("A", number) for number in range(1, 500)))
        transport.put.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(break_off)
        error = await bench.run_one()
    assert isinstance(error, FeedLost)
    (session,) = bench.context.state.sessions
    assert session.received.snapshots == 499
    assert (session.status, session.close_code) == ("error", 1006)
    assert not session.is_safe


async def test_too_much_waiting_ends_the_connection(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the database takes nothing for too long, receiving stops, and what was received is kept."""
    monkeypatch.setattr(scope, "FRAMES_MAX", 100)
    bench = Bench()

    async def flood() -> None:
        await trio.sleep(1)
        bench.transports[0].arrive(*(snapshot_text("A", number) for number in range(1, 150)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        error = await bench.run_one()
    assert isinstance(error, BacklogFull)
    (session,) = bench.context.state.sessions
    assert session.received.snapshots == 149
    assert session.queued_frames == 149


@pytest.mark.parametrize(
    "ending",
    [
        '{"type":"error","msg":{"code":26,"msg":"Subscription market limit exceeded"}}',
        '{"type":"error","msg":{"code":10,"msg":"Channel error"}}',
        '{"id":1,"type":"error","msg":{"code":14,"msg":"Market Ticker required"}}',
        None,
    ],
    ids=["market limit", "terminal error", "refused subscription", "backlog full"],
)
@pytest.mark.parametrize("characters_max", [1, 400, 10**9])
async def test_batch_folded_in_pieces_is_kept_whole(
    ending: str | None, characters_max: int, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames that arrived together with the one that ends the feed are recorded, before it and after it."""
    monkeypatch.setattr(scope, "STEP_CHARACTERS_MAX", characters_max)
    if ending is None:
        monkeypatch.setattr(scope, "FRAMES_MAX", 3)
    bench = Bench()
    frames = [snapshot_text("A", number) for number in range(1, 40)]
    frames[10:10] = [ending] if ending else []

    async def send() -> None:
        await trio.sleep(1)
        bench.transports[0].arrive(*frames)
        # In the channel, too, when the book task ends.
        bench.transports[0].arrive(snapshot_text("B", 40))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        error = await bench.run_one()
    assert isinstance(error, FeedError)
    (session,) = bench.context.state.sessions
    assert session.received.snapshots == 40
    assert session.queued_frames == len(frames) + 1
    assert session.is_spooled


@pytest.mark.parametrize("broken", ["hub", "statistics"])
async def test_mistake_in_publishing_loses_no_received_frame(
    broken: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails at one frame fails at the rest too: all are kept, and the session ends."""

    def fail(*_: object) -> None:
        raise LookupError("a mistake")

    monkeypatch.setattr(scope, "STEP_CHARACTERS_MAX", 1)
    bench = Bench()
    owner, method = (LiveHub, "publish") if broken == "hub" else (RecorderState, "note_batch")

    async def send() -> None:
        await trio.sleep(1)
        monkeypatch.setattr(owner, method, fail)
        bench.transports[0].arrive(*(snapshot_text("A", number) for number in range(1, 40)))
        bench.transports[0].arrive(snapshot_text("B", 40))

    with pytest.RaisesGroup(LookupError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await bench.run_one()
    (session,) = bench.context.state.sessions
    assert session.ended_us is not None
    assert await spooled_frames(bench.context.spool.disk) == 40


@pytest.mark.parametrize("seed", range(40))
def test_crash_elsewhere_loses_no_received_frame(seed: int) -> None:
    """Whenever and in whatever order the tree is cancelled, every frame that arrived is in the spool."""

    async def run() -> None:
        bench = Bench()
        end = FeedEnd()
        rng = random.Random(seed)
        with trio.CancelScope() as root:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    partial(
                        run_session,
                        bench.context,
                        FeedStatus("f", MARKETS),
                        end,
                        on_connected=lambda stats, follow: None,
                    )
                )
                await trio.sleep(0.5)
                backlogs = list(bench.context.backlogs)
                number = 1
                for _ in range(rng.randrange(1, 40)):
                    texts = [snapshot_text("A", number + n) for n in range(rng.randrange(1, 5))]
                    number += len(texts)
                    bench.transports[0].arrive(*texts)
                    for _ in range(rng.randrange(3)):
                        await trio.lowlevel.checkpoint()
                root.cancel()
        assert len(backlogs) == 1
        (session,) = bench.context.state.sessions
        assert session.queued_frames == number - 1
        assert (session.status, session.is_safe, session.is_spooled) == ("error", False, True)

    run_seeded(run, seed)


async def test_tries_are_spaced_by_growing_jitter(autojump_clock: MockClock) -> None:
    """Each wait lies between nothing and a bound that doubles up to ten seconds."""
    bench = Bench(*(FeedLost("network: refused") for _ in range(12)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_supervisor, bench.context, MARKETS)
        with trio.move_on_after(200):
            while len(bench.tries_s) < 13:
                await trio.sleep(0.1)
        nursery.cancel_scope.cancel()

    waits_s = [later - earlier for earlier, later in zip(bench.tries_s, bench.tries_s[1:], strict=False)]
    bounds_s = [min(10.0, 0.5 * 2**n) for n in range(12)]
    assert all(0 <= wait_s <= bound_s for wait_s, bound_s in zip(waits_s, bounds_s, strict=True))
    assert max(waits_s) > 2


async def test_refusal_is_tried_again_slowly(autojump_clock: MockClock) -> None:
    """A wrong key is shown as refused, and asked about again about once a minute."""
    bench = Bench(*(FeedRefused(401, "NOT_FOUND") for _ in range(4)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_supervisor, bench.context, MARKETS)
        await trio.sleep(10)
        (feed,) = bench.context.state.feeds
        assert (feed.phase, feed.reason) == (FeedPhase.REFUSED, "refused with HTTP 401: NOT_FOUND")
        await trio.sleep(110)
        nursery.cancel_scope.cancel()

    assert len(bench.tries_s) in (2, 3)


async def test_stop_without_an_answer_is_on_record(autojump_clock: MockClock) -> None:
    """When the exchange does not answer the goodbye in time, the session says that frames may be missing."""
    bench = Bench()
    with trio.move_on_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_supervisor, bench.context, MARKETS)
            await trio.sleep(1)
            bench.transports[0].arrive(*subscribed_texts())
            await trio.sleep(1)
            bench.context.stopping.set()
    (session,) = bench.context.state.sessions
    assert (session.status, session.end_reason) == ("closed", "recorder stopped, with frames still to come")


async def test_stop_during_a_pause_is_heard_at_once(autojump_clock: MockClock) -> None:
    """A service that is told to stop does not sit out a wait between two tries."""
    bench = Bench(FeedRefused(403, "no"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_supervisor, bench.context, MARKETS)
        await trio.sleep(5)
        bench.context.stopping.set()
    assert trio.current_time() == 5


async def test_session_that_begins_without_a_database_is_on_the_disk_at_once(
    autojump_clock: MockClock,
) -> None:
    """While it is known to be away, nobody waits for it first: what a kill may cost is one flush interval."""
    bench = Bench()
    bench.context.state.store.turn(StorePhase.AWAY, RECEIVED_US, "connection refused")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run_one)
        await trio.sleep(0.1)
        bench.transports[0].arrive(*subscribed_texts(), snapshot_text("A", 1))
        await trio.sleep(bench.context.flush_interval_s + 0.1)

        assert bench.context.state.spool.records == 1
        nursery.cancel_scope.cancel()
