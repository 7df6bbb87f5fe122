"""The WebSocket transport against peers that misbehave, over real sockets."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import cycle

import pytest
import trio
import trio.testing
from attrs import define
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, RejectConnection, Request, TextMessage

from collector.clock import Clocks, ClockStep
from collector.errors import FeedLost, FeedRefused, MarketLimitExceeded
from collector.exchange import Transport, open_transport
from collector.exchange import _websocket as websocket

TEST_S_MAX = 10
S = 1_000_000
Peer = Callable[[trio.SocketStream, WSConnection], Awaitable[None]]


@asynccontextmanager
async def peer(behave: Peer) -> AsyncGenerator[str]:
    """A server that does with each connection what it is told; gives its URL."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):
                await behave(stream, WSConnection(ConnectionType.SERVER))

    with trio.fail_after(TEST_S_MAX):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, serve, 0)
            port = listeners[0].socket.getsockname()[1]
            yield f"ws://127.0.0.1:{port}/trade-api/ws/v2"
            nursery.cancel_scope.cancel()


STANDING = Clocks(wall=lambda: 7, steady=lambda: 0)
"""Clocks that never advance."""


def connect(url: str, clocks: Clocks = STANDING) -> AbstractAsyncContextManager[Transport]:
    return open_transport(url, lambda: {"KALSHI-ACCESS-KEY": "key"}, clocks)


@define
class SetClock:
    """Trio's clock, as a wall clock that can be set and as a steady clock that can't."""

    set_by_us: int = 0

    def clocks(self) -> Clocks:
        return Clocks(wall=lambda: self.steady_us() + self.set_by_us, steady=self.steady_us)

    def steady_us(self) -> int:
        return round(trio.current_time() * S)


async def shake_hands(stream: trio.SocketStream, ws: WSConnection) -> None:
    ws.receive_data(await stream.receive_some())
    assert isinstance(next(ws.events()), Request)
    await stream.send_all(ws.send(AcceptConnection()))


async def silent_after_handshake(stream: trio.SocketStream, ws: WSConnection) -> None:
    await shake_hands(stream, ws)
    await trio.sleep_forever()


async def test_frames_are_stamped_and_handed_out_before_the_loss() -> None:
    """What was received before the peer closed is handed out first, then the loss says why."""

    async def behave(stream: trio.SocketStream, ws: WSConnection) -> None:
        await shake_hands(stream, ws)
        data = b"".join(ws.send(TextMessage(f"frame {n}")) for n in range(3000))
        await stream.send_all(data + ws.send(CloseConnection(1001, "maintenance")))
        await stream.receive_some()

    async with peer(behave) as url, connect(url) as transport:
        texts: list[tuple[int, str]] = []
        with pytest.raises(FeedLost, match="1001 maintenance") as caught:
            while True:
                texts += await transport.receive()
    assert texts == [(7, f"frame {n}") for n in range(3000)]
    assert caught.value.close_code == 1001


async def test_receive_times_when_the_wall_clock_is_set_back() -> None:
    """They continue as if nothing had happened; the step is reported once, with its size."""
    send_now = trio.Event()

    async def behave(stream: trio.SocketStream, ws: WSConnection) -> None:
        await shake_hands(stream, ws)
        for n in range(10):
            await stream.send_all(ws.send(TextMessage(f"before {n}")))
        await send_now.wait()
        for n in range(10):
            await stream.send_all(ws.send(TextMessage(f"after {n}")))
        await stream.receive_some()

    clock = SetClock()
    began_us = clock.steady_us()
    async with peer(behave) as url, connect(url, clock.clocks()) as transport:
        texts = [*await transport.receive()]
        while len(texts) < 10:
            texts += await transport.receive()
        assert transport.take_clock_steps() == []
        clock.set_by_us = -60 * S
        send_now.set()
        while len(texts) < 20:
            texts += await transport.receive()
        ended_us = clock.steady_us()
        (step,) = transport.take_clock_steps()
        assert transport.take_clock_steps() == []

    times_us = [us for us, _ in texts]
    assert times_us == sorted(times_us)
    assert began_us <= times_us[0] < times_us[10] <= ended_us
    assert times_us[9] <= step.at_us <= times_us[10]
    assert abs(step.size_us + 60 * S) < S / 10


async def test_a_ping_shows_that_the_clock_was_set() -> None:
    """In hours without a frame the clocks are still read."""
    ping_now = trio.Event()

    async def behave(stream: trio.SocketStream, ws: WSConnection) -> None:
        await shake_hands(stream, ws)
        await ping_now.wait()
        await stream.send_all(ws.send(Ping(b"heartbeat")))
        await stream.receive_some()

    clock = SetClock()
    async with peer(behave) as url, connect(url, clock.clocks()) as transport:
        clock.set_by_us = 3600 * S
        ping_now.set()
        while not (steps := transport.take_clock_steps()):
            await trio.sleep(0.001)
    (step,) = steps
    assert abs(step.size_us - 3600 * S) < S / 10


async def test_frames_that_were_read_together_share_a_receive_time() -> None:
    """The clocks are read once for each read of the socket, not for each frame."""
    readings = iter(range(10_000_000))

    async def behave(stream: trio.SocketStream, ws: WSConnection) -> None:
        await shake_hands(stream, ws)
        await stream.send_all(b"".join(ws.send(TextMessage(f"frame {n}")) for n in range(1000)))
        await stream.receive_some()

    clocks = Clocks(wall=lambda: 7, steady=lambda: next(readings))
    async with peer(behave) as url, connect(url, clocks) as transport:
        texts = [*await transport.receive()]
        while len(texts) < 1000:
            texts += await transport.receive()
        reads = next(readings)
    assert len({us for us, _ in texts}) <= reads < 100


async def test_clock_steps_that_nobody_takes_are_bounded() -> None:
    """If more steps wait than may, the newest one is the sum of those that did not fit."""
    ours, theirs = trio.testing.memory_stream_pair()
    sizes_us = cycle((3600 * S, 0, 60 * S))
    stream = websocket.ObservedStream(ours, Clocks(wall=lambda: next(sizes_us), steady=lambda: 0))
    for _ in range(3 * websocket.CLOCK_STEPS_MAX):
        await theirs.send_all(b"x")
        await stream.receive_some()
    steps = stream.take_clock_steps()
    assert len(steps) == websocket.CLOCK_STEPS_MAX
    assert steps[:2] == [ClockStep(3600 * S, -3600 * S), ClockStep(3600 * S, 60 * S)]
    assert sum(step.size_us for step in steps) == 0, "the clock shows the first of its times again"
    assert stream.take_clock_steps() == []


async def test_peer_that_accepts_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handshake that never comes ends at the deadline, which the library's own timeout would not."""
    monkeypatch.setattr(websocket, "CONNECT_S_MAX", 0.2)

    async def behave(stream: trio.SocketStream, ws: WSConnection) -> None:
        await trio.sleep_forever()

    async with peer(behave) as url:
        with pytest.raises(FeedLost, match=r"no connection within 0\.2 s"):
            async with connect(url):
                pytest.fail("it never answered")


async def test_peer_that_hangs_up_in_the_handshake() -> None:
    """A connection that closes before it stands is lost at once, not after a timeout."""

    async def behave(stream: trio.SocketStream, ws: WSConnection) -> None:
        await stream.receive_some()

    async with peer(behave) as url:
        with pytest.raises(FeedLost, match="hung up"):
            async with connect(url):
                pytest.fail("it hung up")


async def test_error_of_the_block_is_not_wrapped() -> None:
    """A FeedError that the block raises reaches the caller as the same object, not in an exception group."""
    error = MarketLimitExceeded("too many markets")
    async with peer(silent_after_handshake) as url:
        with pytest.raises(MarketLimitExceeded) as caught:
            async with connect(url):
                raise error
    assert caught.value is error


async def test_bug_beside_a_loss_is_not_hidden() -> None:
    """Any other exception of the block propagates, and no FeedError takes its place."""
    async with peer(silent_after_handshake) as url:
        with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
            async with connect(url), trio.open_nursery():
                raise ExceptionGroup("both", [FeedLost("gone"), ZeroDivisionError()])


@pytest.mark.parametrize(
    ("status", "expected"), [(401, FeedRefused), (403, FeedRefused), (429, FeedLost), (503, FeedLost)]
)
async def test_handshake_that_is_answered_with_a_status(status: int, expected: type[Exception]) -> None:
    """Client errors are refusals; too many requests and server errors are for now only."""

    async def behave(stream: trio.SocketStream, ws: WSConnection) -> None:
        ws.receive_data(await stream.receive_some())
        assert isinstance(next(ws.events()), Request)
        await stream.send_all(ws.send(RejectConnection(status_code=status)))

    async with peer(behave) as url:
        with pytest.raises(expected, match=str(status)):
            async with connect(url):
                pytest.fail("it said no")


async def test_nobody_listens(refusing_port: int) -> None:
    """A refused connection and a host without an address are losses like others."""
    for host in (f"127.0.0.1:{refusing_port}", "no-such-host.invalid"):
        with trio.fail_after(TEST_S_MAX):
            with pytest.raises(FeedLost):
                async with connect(f"ws://{host}/"):
                    pytest.fail("nobody is there")


async def test_ping_is_a_sign_of_life() -> None:
    """Pings reach no one above the transport, and yet show that the peer lives."""
    ping_now = trio.Event()

    async def behave(stream: trio.SocketStream, ws: WSConnection) -> None:
        await shake_hands(stream, ws)
        await ping_now.wait()
        await stream.send_all(ws.send(Ping(b"heartbeat")))
        await trio.sleep_forever()

    async with peer(behave) as url, connect(url) as transport:
        before_s = transport.last_activity_s
        await trio.sleep(0.01)
        ping_now.set()
        while transport.last_activity_s == before_s:
            await trio.sleep(0.001)
        assert transport.take_nowait() == []


async def test_ping_that_meets_our_closing() -> None:
    """A ping that crosses our close frame on the wire does not turn an orderly end into a crash."""

    async def behave(stream: trio.SocketStream, ws: WSConnection) -> None:
        await shake_hands(stream, ws)
        ping = ws.send(Ping(b"heartbeat"))
        await stream.receive_some()
        await stream.send_all(ping)
        await trio.sleep(0.2)

    async with peer(behave) as url:
        async with connect(url):
            await trio.sleep(0.01)


async def test_mute_peer_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that never answers our close frame costs a bounded time."""
    monkeypatch.setattr(websocket, "CLOSE_S_MAX", 0.2)
    async with peer(silent_after_handshake) as url:
        with trio.fail_after(2):
            async with connect(url):
                pass
