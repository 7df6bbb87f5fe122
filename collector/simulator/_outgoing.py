"""
The outgoing side of one connection: many small frames become few large writes.

Theory of operation: one task, `run_writer`, owns the sending half of the transport. Everything else only
queues: text frames of the session, and the bytes that the WebSocket library writes (the handshake, pongs,
the close frame), which come through `send_all` because this is the stream that the library was given. A
frame from a server is not masked, so that its header is a few bytes that depend on its length alone, and
both kinds mix freely as long as frames stay whole. After a close frame nothing more is sent.

Knows nothing of channels, numbers or faults but one: it can fall silent while the connection stays up.
"""

import collections

import attrs
import trio

from collector.simulator._sent_log import Account

# A write of this size costs few system calls, and its parts are joined in well under a millisecond.
CHUNK_BYTES_MAX = 256 * 2**10
# Whoever sends as fast as it is taken goes on when less than this waits.
ROOM_BYTES = 512 * 2**10
_CLOSE_HEADER = 0x88
_PING_HEADER = 0x89


@attrs.define(eq=False)
class _Raw:
    """Bytes that are sent as they are; `sent` is set when they are gone, or never will be."""

    data: bytes
    sent: trio.Event | None = None


@attrs.define(eq=False)
class _Silence:
    """From this place on nothing is sent any more."""


@attrs.define(eq=False)
class _End:
    """At this place the transport's sending half ends."""


_Item = bytes | _Raw | _Silence | _End


def text_header(length: int) -> bytes:
    """Return the header of an unmasked text frame of so many bytes."""
    if length < 126:
        return bytes((0x81, length))
    if length < 2**16:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")


class Wire(trio.abc.Stream):
    """A stream for the WebSocket library, and a queue of frames for the session, over one transport."""

    def __init__(self, transport: trio.SocketStream, connection: int, account: Account) -> None:
        self._transport = transport
        self._connection = connection
        self._account = account
        self._queue: collections.deque[_Item] = collections.deque()
        self._work = trio.Event()
        self._progress = trio.Event()
        self.queued_bytes = 0
        self._silent = False
        self._silence_reached = False
        self._taken_bytes = 0
        self._closing = False
        self._broken = False

    def post(self, payload: bytes) -> None:
        """Queue one text frame. After a close frame, or when the peer is gone, it is dropped."""
        if self._closing or self._broken:
            return
        self._queue.append(payload)
        self.queued_bytes += len(payload)
        self._work.set()

    def post_ping(self, body: bytes) -> None:
        """Queue a ping."""
        self._post_item(_Raw(bytes((_PING_HEADER, len(body))) + body))

    def post_silence(self) -> None:
        """Fall silent after what is queued now: nothing at all is sent after that."""
        self._post_item(_Silence())

    def post_end(self) -> None:
        """End the sending half of the transport after what is queued now, without a goodbye."""
        self._post_item(_End())
        self._closing = True

    def _post_item(self, item: _Item) -> None:
        if self._closing or self._broken:
            return
        self._queue.append(item)
        self._work.set()

    async def wait_room(self) -> None:
        """Wait until little is queued, or the peer is gone."""
        while self.queued_bytes > ROOM_BYTES and not self._broken:
            await self._progress.wait()

    async def wait_flushed(self) -> None:
        """Wait until nothing is queued, or the peer is gone."""
        while (self._queue or self.queued_bytes) and not self._broken:
            await self._progress.wait()

    async def run_writer(self) -> None:
        """Send what is queued, until the sending half ends or the peer is gone."""
        try:
            while await self._send_chunk():
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # The reading side sees the same and ends the session.
            pass
        finally:
            self._give_up()

    async def _send_chunk(self) -> bool:
        """Send the next part of the queue. False when there is nothing more to come."""
        while not self._queue:
            self._work = trio.Event()
            await self._work.wait()
        payloads, raws, parts, ended = self._take_chunk()
        if self._silent:
            payloads, parts = [], []
        if parts:
            await self._transport.send_all(b"".join(parts))
            self._account.record(self._connection, payloads)
        self._silent = self._silent or self._silence_reached
        for raw in raws:
            if raw.sent is not None:
                raw.sent.set()
        self.queued_bytes -= self._taken_bytes
        self._taken_bytes = 0
        self._tell_progress()
        if ended:
            await self._transport.send_eof()
        return not ended

    def _take_chunk(self) -> tuple[list[bytes], list[_Raw], list[bytes], bool]:
        payloads: list[bytes] = []
        raws: list[_Raw] = []
        parts: list[bytes] = []
        size = 0
        while self._queue and size < CHUNK_BYTES_MAX:
            item = self._queue.popleft()
            if isinstance(item, bytes):
                size += len(item)
                payloads.append(item)
                parts += (text_header(len(item)), item)
                self._taken_bytes += len(item)
            elif isinstance(item, _Raw):
                size += len(item.data)
                raws.append(item)
                parts.append(item.data)
            elif isinstance(item, _Silence):
                self._silence_reached = True
                break
            else:
                return payloads, raws, parts, True
        return payloads, raws, parts, False

    def _tell_progress(self) -> None:
        self._progress.set()
        self._progress = trio.Event()

    def _give_up(self) -> None:
        """Let nobody wait for what will not be sent."""
        self._broken = True
        for item in self._queue:
            if isinstance(item, _Raw) and item.sent is not None:
                item.sent.set()
        self._queue.clear()
        self.queued_bytes = 0
        self._tell_progress()

    # The stream that the WebSocket library sees.

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes of the library in their turn, and wait until they are sent."""
        whole = bytes(data)
        await trio.lowlevel.checkpoint()
        if self._broken or (self._closing and whole[:1] != bytes((_CLOSE_HEADER,))):
            raise trio.BrokenResourceError("the sending half has ended")
        raw = _Raw(whole, trio.Event())
        self._queue.append(raw)
        self._work.set()
        if whole[:1] == bytes((_CLOSE_HEADER,)):
            self._closing = True
        assert raw.sent is not None
        await raw.sent.wait()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until little is queued."""
        await self.wait_room()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive from the transport as it is."""
        return await self._transport.receive_some(max_bytes)

    async def aclose(self) -> None:
        """Close the transport at once."""
        await self._transport.aclose()
