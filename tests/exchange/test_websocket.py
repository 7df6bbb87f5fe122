"""The WebSocket transport against peers that misbehave, over real sockets."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, RejectConnection, Request, TextMessage

from collector.errors import FeedLost, FeedRefused, MarketLimitExceeded
from collector.exchange import Transport, open_transport
from collector.exchange import _websocket as websocket

TEST_S_MAX = 10
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


def connect(url: str) -> AbstractAsyncContextManager[Transport]:
    return open_transport(url, lambda: {"KALSHI-ACCESS-KEY": "key"}, lambda: 7)


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
