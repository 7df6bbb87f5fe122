"""
A recorder's state to look at, with what changes it: sessions that fold real frames, and a clock to set.

`open_web` serves the app over it on a real socket, and `open_client` reads the live stream.
"""

import json
import socket
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import trio
from attrs import define, field
from trio_websocket import WebSocketConnection, wrap_client_stream

from collector.facts import FeedTracker, FrameBatch, ReceivedFrame
from collector.live import LiveHub
from collector.observe import FeedPhase, FeedStatus, RecorderState, SessionStats, StorePhase
from collector.recording import Recording
from collector.web import make_app, serve_web

NOW_US = 1_750_000_000_000_000
TOKEN = "a-token-of-the-operator"
ORIGIN = "https://front.example"
WAIT_S = 10.0
NO_PAGES = Path(__file__).parent / "no-such-folder"
"""Where no pages were built, whatever this machine has built otherwise."""


@define(eq=False)
class Recorder:
    """The state and the hub, and the book task's part in filling them."""

    state: RecorderState
    hub: LiveHub
    now_us: int = NOW_US
    _frames: dict[uuid.UUID, int] = field(factory=dict[uuid.UUID, int])

    def add_feed(self, name: str, *tickers: str) -> FeedStatus:
        feed = FeedStatus(name, tickers, FeedPhase.CONNECTED, self.now_us, connections=1, ever_connected=True)
        self.state.feeds.append(feed)
        return feed

    def add_session(self, feed_name: str, *tickers: str, session_id: int | None = 17) -> SessionStats:
        session = SessionStats(
            uuid.uuid4(), feed_name, FeedTracker.of_markets(tickers), self.now_us, session_id=session_id
        )
        self.state.sessions.append(session)
        return session

    def fold(self, session: SessionStats, *texts: str) -> FrameBatch:
        """Do with some frames what the session's book task does."""
        first = self._frames.get(session.key, 0) + 1
        self._frames[session.key] = first + len(texts) - 1
        frames = [ReceivedFrame(number, self.now_us, text) for number, text in enumerate(texts, first)]
        batch = session.tracker.process(frames)
        self.state.note_batch(session, batch)
        self.hub.publish(session, batch)
        return batch


def new_recorder(*tickers: str, is_simulated: bool = False) -> Recorder:
    """A recorder that has just started, for these markets."""
    state = RecorderState(lambda: recorder.now_us, "demo", "1.2.3", 1, tickers, NOW_US, is_simulated)
    recorder = Recorder(state, LiveHub(state))
    return recorder


def running_recorder(*tickers: str) -> tuple[Recorder, SessionStats]:
    """A recorder that has recorded these markets for an hour, and its session; each book has one snapshot."""
    recorder = new_recorder(*tickers)
    recorder.state.started_us = NOW_US - 3_600_000_000
    recorder.state.store.turn(StorePhase.AVAILABLE, recorder.state.started_us)
    recorder.add_feed("feed-1", *tickers)
    session = recorder.add_session("feed-1", *tickers)
    for seq, ticker in enumerate(tickers, 1):
        recorder.fold(session, snapshot(ticker, seq))
    return recorder, session


def snapshot(
    ticker: str,
    seq: int,
    yes: dict[str, str] | None = None,
    no: dict[str, str] | None = None,
) -> str:
    """A snapshot frame of the exchange; by default 45 cents bid and 55 asked on YES."""
    message: dict[str, object] = {
        "market_ticker": ticker,
        "yes_dollars_fp": [list(level) for level in ({"0.4500": "100.00"} if yes is None else yes).items()],
        "no_dollars_fp": [list(level) for level in ({"0.4500": "150.00"} if no is None else no).items()],
    }
    return json.dumps({"type": "orderbook_snapshot", "sid": 1, "seq": seq, "msg": message})


def delta(
    ticker: str,
    seq: int,
    side: str = "yes",
    price: str = "0.4500",
    size: str = "50.00",
    *,
    is_timed: bool = True,
) -> str:
    """A delta frame of the exchange."""
    message: dict[str, object] = {
        "market_ticker": ticker,
        "price_dollars": price,
        "delta_fp": size,
        "side": side,
    }
    if is_timed:
        message["ts_ms"] = 1_750_000_000_123
    return json.dumps({"type": "orderbook_delta", "sid": 1, "seq": seq, "msg": message})


@define
class Web:
    """The app on a socket."""

    url: str
    http: httpx2.AsyncClient
    shutdown: trio.Event

    def ws_url(self, query: str = "", path: str = "/rl/ws") -> str:
        return f"{self.url.replace('http', 'ws', 1)}{path}{query}"


async def _flush_nothing() -> int:
    await trio.lowlevel.checkpoint()
    return 0


@asynccontextmanager
async def open_web(
    recorder: Recorder,
    *,
    admin_token: str | None = TOKEN,
    flush: Callable[[], Awaitable[int]] = _flush_nothing,
    send_s_max: float = 20.0,
    recording: Recording | None = None,
    pages_folder: Path = NO_PAGES,
) -> AsyncGenerator[Web]:
    """Serve the app on a free port of the loopback interface."""
    app = make_app(
        recorder.state,
        recorder.hub,
        admin_token=admin_token,
        allowed_origins=(ORIGIN,),
        flush=flush,
        recording=recording,
        pages_folder=pages_folder,
    )
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        urls: list[str] = await nursery.start(
            partial(serve_web, app, "127.0.0.1", 0, shutdown=shutdown, send_s_max=send_s_max)
        )
        async with httpx2.AsyncClient(base_url=urls[0], timeout=WAIT_S) as http:
            yield Web(urls[0], http, shutdown)
        shutdown.set()


async def wait_for_clients(hub: LiveHub, count: int) -> None:
    """Wait until the hub has so many clients."""
    with trio.fail_after(WAIT_S):
        while hub.clients != count:
            await trio.sleep(0.01)


def connect_deaf(web: Web) -> socket.socket:
    """A client of the live stream that never reads, with as small a buffer as the system allows."""
    host, port = web.url.removeprefix("http://").split(":")
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.connect((host, int(port)))
    deaf.sendall(
        b"GET /rl/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    return deaf


def deep_levels() -> dict[str, str]:
    """A side of two thousand levels: books of it fill a deaf client's buffers quickly."""
    return {f"0.{cents:02d}{rest:02d}": "1.00" for cents in range(1, 45) for rest in range(0, 100, 2)}


@define
class Client:
    """A client of the live stream."""

    ws: WebSocketConnection

    async def next(self) -> tuple[str, dict[str, object]]:
        """The type and the data of the next message."""
        with trio.fail_after(WAIT_S):
            message = json.loads(await self.ws.get_message())
        return message["type"], message["data"]

    async def skip_to(self, kind: str) -> dict[str, object]:
        """The data of the next message of a type."""
        while True:
            found, data = await self.next()
            if found == kind:
                return data


@asynccontextmanager
async def open_client(url: str, headers: tuple[tuple[str, str], ...] = ()) -> AsyncGenerator[Client]:
    """Connect to the live stream."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    extra_headers = [(name.encode(), value.encode()) for name, value in headers]
    # The stream is ours, because the library leaves it open when the server closes first.
    async with (
        await trio.open_tcp_stream(parts.hostname, parts.port) as stream,
        trio.open_nursery() as nursery,
    ):
        with trio.fail_after(WAIT_S):
            ws = await wrap_client_stream(
                nursery,
                stream,
                parts.netloc,
                f"{parts.path}?{parts.query}",
                extra_headers=extra_headers,
                message_queue_size=10_000,
            )
        yield Client(ws)
        with trio.move_on_after(1):
            await ws.aclose()
        nursery.cancel_scope.cancel(reason="the client leaves")


async def handshake_status(url: str, origin: str) -> int:
    """How the server answers the handshake of a page of some origin."""
    headers = {
        "Origin": origin,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    async with httpx2.AsyncClient(timeout=WAIT_S) as http, http.stream("GET", url, headers=headers) as answer:
        return answer.status_code
