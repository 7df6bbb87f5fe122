"""
A Transport on trio-websocket.

One task, the reader, lives in a nursery of the connection and is cancelled with it. It takes frames from the
library as they come, stamps them, and puts them into a bounded memory channel, so that the socket is read
and pings are answered whatever the session is busy with. Only when the channel is full the reader waits, and
with it the exchange, which says so by error 25.

The stream under the library reads the clocks once for each read of the socket. A frame gets the receive time
of the newest read. This is never before its last byte arrived, and it leaves out the time that the library
needed for the frames before it. Pings are read too, so a step of the wall clock is noticed within 10 s while
there are no frames.

What the library needs to be told (found by trying, see docs/decisions): its connect timeout does not protect
against a silent peer, so the whole handshake stands under a scope of ours; sizes and timeouts are passed
explicitly; it does not tell of pings, so the stream under it notes every arrival of bytes.
"""

import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import cast
from urllib.parse import urlsplit

import certifi
import trio
from attrs import define, field
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)
from typing_extensions import override
from wsproto.utilities import LocalProtocolError

from collector.clock import Clocks, ClockStep, ReceiveClock
from collector.errors import FeedError, FeedLost, FeedRefused, translated_errors
from collector.exchange._transport import SIMULATED_HEADER, StampedText, Transport

CONNECT_S_MAX = 15.0
CLOSE_S_MAX = 2.0
REJECTION_S = 0.5
"""An answer that says no may be followed by a close at once: so long the library gets to read it."""
SEND_S_MAX = 10.0
MESSAGE_BYTES_MAX = 64 * 2**20
"""The exchange's own limit; an acknowledgement that lists all markets can be megabytes long."""
RECEIVE_BYTES = 2**16
LIBRARY_QUEUE_FRAMES = 256
ARRIVED_FRAMES_MAX = 50_000
"""Some seconds of the busiest flow seen (6,703 frames in one second), some 15 MB."""
BATCH_FRAMES_MAX = 1000
"""What the next task folds in one step: under 10 ms at less than 10 µs a frame."""
GATHER_S = 0.002
"""Least time between two batches: switching tasks costs more than the work on one frame."""
CLOCK_STEPS_MAX = 100
"""Maximum number of clock steps that wait to be taken. The sizes of later ones are added to the newest."""
REFUSAL_TEXT_MAX = 300
TOO_MANY_REQUESTS_S = 5.0
"""The exchange sends no Retry-After; its token buckets refill within three seconds."""


@asynccontextmanager
async def open_websocket(
    url: str, sign: Callable[[], Mapping[str, str]], clocks: Clocks
) -> AsyncGenerator["WebSocketTransport"]:
    """
    Connect, and close in the end, both in bounded time.

    `sign` makes the headers; it is called when TCP and TLS stand, since a signature is good for seconds only.
    """
    is_closing = False
    with trio.fail_after(CONNECT_S_MAX) as connecting:
        stream = ObservedStream(await _open_stream(url), clocks)
        try:
            async with trio.open_nursery() as nursery:
                connection = await _shake_hands(nursery, stream, url, sign())
                connecting.deadline = float("inf")
                transport = WebSocketTransport(connection, stream)
                nursery.start_soon(transport.read, name="reader")
                try:
                    yield transport
                finally:
                    is_closing = True
                    with trio.move_on_after(CLOSE_S_MAX, shield=True):
                        await connection.aclose()
                    nursery.cancel_scope.cancel(reason="connection closed")
        except BaseExceptionGroup as group:
            # A ping that crosses our close frame on the wire: the library tries to answer it, and may not.
            _, others = group.split(lambda error: is_closing and isinstance(error, LocalProtocolError))
            if others is not None:
                raise others from None
        finally:
            with trio.move_on_after(CLOSE_S_MAX, shield=True):
                await trio.aclose_forcefully(stream)


@asynccontextmanager
async def open_transport(
    url: str, sign: Callable[[], Mapping[str, str]], clocks: Clocks
) -> AsyncGenerator["WebSocketTransport"]:
    """
    `open_websocket` with the network's and the library's errors turned into FeedError.

    Raises (never in an exception group):
        FeedRefused: the handshake was answered with 401, 403 or another client error.
        FeedLost: anything else that ends a connection, also out of the body.
    """
    with translated_errors(_feed_error):
        async with open_websocket(url, sign, clocks) as transport:
            yield transport


@define(eq=False)
class ObservedStream(trio.abc.Stream):
    """A byte stream that notes when bytes last came in, and that no more will come."""

    _stream: trio.abc.Stream
    _clocks: Clocks
    last_activity_s: float = float("-inf")
    received_us: int = field(init=False)
    """Receive time of the bytes that were read last."""
    ended: trio.Event = field(factory=trio.Event)
    _receive_clock: ReceiveClock = field(init=False)
    _clock_steps: list[ClockStep] = field(factory=list[ClockStep], init=False)

    def __attrs_post_init__(self) -> None:
        self.received_us = self._clocks.wall()
        self._receive_clock = ReceiveClock(self.received_us, self._clocks.steady())

    @override
    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self.ended.set()
            raise
        if data:
            self.last_activity_s = trio.current_time()
            self._read_clocks()
        else:
            self.ended.set()
        return data

    @override
    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    @override
    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    @override
    async def aclose(self) -> None:
        await self._stream.aclose()

    def now_us(self) -> int:
        """Read the clocks. Returns the receive time of what would arrive now."""
        self._read_clocks()
        return self.received_us

    def take_clock_steps(self) -> list[ClockStep]:
        """Steps of the wall clock that readings have shown since the last call."""
        steps, self._clock_steps = self._clock_steps, []
        return steps

    def _read_clocks(self) -> None:
        # A process that is stopped just between the two readings shows two steps that add up to nothing.
        self.received_us, step = self._receive_clock.stamp(self._clocks.wall(), self._clocks.steady())
        if step is None:
            return
        if len(self._clock_steps) == CLOCK_STEPS_MAX:
            step = ClockStep(step.at_us, self._clock_steps.pop().size_us + step.size_us)
        self._clock_steps.append(step)


class WebSocketTransport(Transport):
    """A Transport on an open WebSocket connection."""

    def __init__(self, connection: WebSocketConnection, stream: ObservedStream) -> None:
        self._connection = connection
        self._stream = stream
        self._frames_out, self._frames_in = trio.open_memory_channel[StampedText](ARRIVED_FRAMES_MAX)
        self._taken_s = float("-inf")

    @property
    @override
    def last_activity_s(self) -> float:
        return self._stream.last_activity_s

    @property
    @override
    def is_simulated(self) -> bool:
        return any(name == SIMULATED_HEADER for name, _ in self._connection.handshake_headers)

    @override
    def now_us(self) -> int:
        return self._stream.now_us()

    async def read(self) -> None:
        """The reader: stamp frames and put them into the channel until the connection is gone."""
        with self._frames_out:
            while True:
                try:
                    message = await self._connection.get_message()
                except ConnectionClosed:
                    return
                if isinstance(message, bytes):
                    # The exchange sends text only; whatever this is, it is kept and rejected.
                    message = message.decode(errors="backslashreplace")
                stamped = (self._stream.received_us, message)
                try:
                    self._frames_out.send_nowait(stamped)
                except trio.WouldBlock:
                    await self._frames_out.send(stamped)

    @override
    async def receive(self) -> Sequence[StampedText]:
        if self._frames_in.statistics().current_buffer_used < BATCH_FRAMES_MAX:
            await trio.sleep_until(self._taken_s + GATHER_S)
        batch = self.take_nowait()
        if not batch:
            try:
                first = await self._frames_in.receive()
            except trio.EndOfChannel:
                raise self._loss() from None
            batch = [first, *self.take_nowait(BATCH_FRAMES_MAX - 1)]
        self._taken_s = trio.current_time()
        return batch

    @override
    def take_nowait(self, frames_max: int = BATCH_FRAMES_MAX) -> list[StampedText]:
        batch: list[StampedText] = []
        while len(batch) < frames_max:
            try:
                batch.append(self._frames_in.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        return batch

    @override
    def take_clock_steps(self) -> list[ClockStep]:
        return self._stream.take_clock_steps()

    @override
    async def send(self, text: str) -> None:
        try:
            with trio.fail_after(SEND_S_MAX):
                await self._connection.send_message(text)
        except trio.TooSlowError as error:
            raise FeedLost(f"a command could not be sent within {SEND_S_MAX:g} s") from error
        except ConnectionClosed as error:
            raise self._loss() from error

    def _loss(self) -> FeedLost:
        closed = self._connection.closed
        if closed is None or closed.code == 1006:
            return FeedLost("connection lost without a closing handshake", close_code=1006)
        reason = f"closed by the exchange with {closed.code} {closed.reason or closed.name}"
        return FeedLost(reason[:REFUSAL_TEXT_MAX], close_code=closed.code)


async def _open_stream(url: str) -> trio.abc.Stream:
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_tls = parts.scheme == "wss"
    stream = await trio.open_tcp_stream(host, parts.port or (443 if is_tls else 80))
    if not is_tls:
        return stream
    secured = trio.SSLStream(stream, _tls_context(), server_hostname=host, https_compatible=True)
    try:
        await secured.do_handshake()
    except BaseException:
        with trio.move_on_after(CLOSE_S_MAX, shield=True):
            await trio.aclose_forcefully(stream)
        raise
    return secured


@cache
def _tls_context() -> ssl.SSLContext:
    """The machine's own certificates, and a bundle for machines that have none. Made once: it takes 36 ms."""
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=certifi.where())
    return context


async def _shake_hands(
    nursery: trio.Nursery, stream: ObservedStream, url: str, headers: Mapping[str, str]
) -> WebSocketConnection:
    parts = urlsplit(url)
    # The library names two concrete stream types where it only uses what every stream has.
    any_stream = cast("trio.SocketStream", stream)
    async with trio.open_nursery() as racing:
        racing.start_soon(_give_up_on_hangup, stream)
        connection = await wrap_client_stream(
            nursery,
            any_stream,
            parts.netloc.rpartition("@")[2],
            parts.path or "/",
            extra_headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            message_queue_size=LIBRARY_QUEUE_FRAMES,
            max_message_size=MESSAGE_BYTES_MAX,
            receive_buffer_size=RECEIVE_BYTES,
        )
        racing.cancel_scope.cancel(reason="the handshake is done")
    return connection


async def _give_up_on_hangup(stream: ObservedStream) -> None:
    """The library waits on for a handshake whose connection is closed already."""
    await stream.ended.wait()
    await trio.sleep(REJECTION_S)
    raise FeedLost("the exchange hung up in the handshake")


def _feed_error(error: BaseException) -> FeedError | None:
    """The FeedError that stands for an error of the network or the library; None for anything else."""
    match error:
        case FeedError():
            return error
        case trio.TooSlowError():
            return FeedLost(f"no connection within {CONNECT_S_MAX:g} s")
        case ConnectionRejected():
            return _refusal(error)
        case HandshakeError() | ConnectionClosed():
            return FeedLost(f"handshake failed: {error}"[:REFUSAL_TEXT_MAX])
        case OSError() | trio.BrokenResourceError():
            return FeedLost(f"network: {error}"[:REFUSAL_TEXT_MAX])
        case _:
            return None


def _refusal(rejected: ConnectionRejected) -> FeedError:
    """What an HTTP answer to the handshake means: a client error is for good, all else for now."""
    status = rejected.status_code
    body = " ".join((rejected.body or b"").decode(errors="replace").split())[:REFUSAL_TEXT_MAX]
    if status == 429 or status >= 500 or status < 400:
        retry_after_s = TOO_MANY_REQUESTS_S if status == 429 else 0.0
        return FeedLost(f"handshake answered with HTTP {status} {body}".strip(), retry_after_s=retry_after_s)
    return FeedRefused(status, body or "no reason given")
