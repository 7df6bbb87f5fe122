"""
A TCP proxy that stands between the collector and a server, and misbehaves on demand.

`open_proxy` listens on a free port of 127.0.0.1 and forwards each connection to a target: a host and port, or
a Unix socket. A test can cut everything, refuse new connections, stall one direction, or name the byte at
which the wire is cut: before or after a sequence of bytes, or after a number of them. Everything runs in the
test's own Trio run; leaving the block closes every socket.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

import attrs
import trio
from psycopg.conninfo import conninfo_to_dict

Direction = Literal["to_server", "to_client"]
Target = tuple[str, int] | Path

_CHUNK_BYTES_MAX = 65_536


@attrs.define
class Trap:
    """Where the wire is cut: at a sequence, before or after it is passed on, or after a number of bytes."""

    sequence: bytes = b""
    before: bool = True
    bytes_left: int = 0
    sprung: trio.Event = attrs.field(factory=trio.Event)

    def allowed(self, chunk: bytes) -> bytes | None:
        """What of a chunk may still pass before the cut; None if the cut is not in it."""
        if self.sequence:
            place = chunk.find(self.sequence)
            if place < 0:
                return None
            return chunk[: place if self.before else place + len(self.sequence)]
        if len(chunk) < self.bytes_left:
            self.bytes_left -= len(chunk)
            return None
        return chunk[: self.bytes_left]


@attrs.define(eq=False)
class TcpProxy:
    """Made by `open_proxy`. `bytes_passed` counts what went through, each way."""

    target: Target
    port: int = 0
    refusing: bool = False
    connections: int = 0
    bytes_passed: dict[Direction, int] = attrs.field(factory=lambda: {"to_server": 0, "to_client": 0})
    _open: set[trio.CancelScope] = attrs.field(factory=set)
    _gates: dict[Direction, trio.Event | None] = attrs.field(
        factory=lambda: {"to_server": None, "to_client": None}
    )
    _traps: dict[Direction, Trap | None] = attrs.field(factory=lambda: {"to_server": None, "to_client": None})

    def cut(self) -> None:
        """Close every connection that is open now, both sides."""
        for scope in tuple(self._open):
            scope.cancel(reason="the proxy was told to cut")

    def refuse(self, refusing: bool = True) -> None:
        """Close new connections as soon as they are accepted; with False, let them in again."""
        self.refusing = refusing

    def stall(self, direction: Direction) -> None:
        """Stop forwarding in a direction, on old and new connections, without closing anything."""
        self._gates[direction] = self._gates[direction] or trio.Event()

    def resume(self) -> None:
        """End every stall; what has been held back goes on its way."""
        for direction, gate in self._gates.items():
            if gate is not None:
                gate.set()
            self._gates[direction] = None

    def cut_before(self, sequence: bytes, direction: Direction = "to_server") -> Trap:
        """Cut everything when `sequence` is about to be forwarded; it and what follows never arrive."""
        return self._set_trap(direction, Trap(sequence, before=True))

    def cut_after(self, sequence: bytes, direction: Direction = "to_server") -> Trap:
        """Cut everything as soon as `sequence` has been forwarded."""
        return self._set_trap(direction, Trap(sequence, before=False))

    def cut_after_bytes(self, number: int, direction: Direction = "to_server") -> Trap:
        """Cut everything when `number` more bytes have been forwarded."""
        return self._set_trap(direction, Trap(bytes_left=number))

    def _set_trap(self, direction: Direction, trap: Trap) -> Trap:
        self._traps[direction] = trap
        return trap

    async def _serve(self, client: trio.SocketStream) -> None:
        self.connections += 1
        if self.refusing:
            return
        with trio.CancelScope() as scope:
            self._open.add(scope)
            try:
                async with await connect_target(self.target) as server, trio.open_nursery() as nursery:
                    nursery.start_soon(self._forward, client, server, "to_server")
                    nursery.start_soon(self._forward, server, client, "to_client")
            except OSError:
                return  # the target refuses: the client sees its connection close
            finally:
                self._open.discard(scope)

    async def _forward(
        self, source: trio.SocketStream, sink: trio.SocketStream, direction: Direction
    ) -> None:
        try:
            while chunk := await source.receive_some(_CHUNK_BYTES_MAX):
                while (gate := self._gates[direction]) is not None:
                    await gate.wait()
                await self._pass_on(bytes(chunk), sink, direction)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # One side is gone without a word: the other side learns it the same way.
            await sink.aclose()

    async def _pass_on(self, chunk: bytes, sink: trio.SocketStream, direction: Direction) -> None:
        trap = self._traps[direction]
        allowed = None if trap is None else trap.allowed(chunk)
        if trap is None or allowed is None:
            await sink.send_all(chunk)
            self.bytes_passed[direction] += len(chunk)
            return
        await sink.send_all(allowed)
        self.bytes_passed[direction] += len(allowed)
        self._traps[direction] = None
        trap.sprung.set()
        self.cut()


async def connect_target(target: Target) -> trio.SocketStream:
    """A stream to a server that listens on a port or on a Unix socket."""
    if isinstance(target, Path):
        socket = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        try:
            await socket.connect(str(target))
        except BaseException:
            socket.close()
            raise
        return trio.SocketStream(socket)
    return await trio.open_tcp_stream(*target)


@asynccontextmanager
async def open_proxy(target: Target) -> AsyncGenerator[TcpProxy]:
    """A proxy in front of `target`, listening on `127.0.0.1`, `proxy.port`."""
    proxy = TcpProxy(target)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    proxy.port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, proxy._serve, listeners)
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel(reason="the test is over")


def server_target(url: str) -> Target:
    """Where the server of a database URL listens: host and port, or its Unix socket."""
    params = conninfo_to_dict(url)
    host, port = str(params.get("host") or "localhost"), int(params.get("port") or 5432)
    return Path(host, f".s.PGSQL.{port}") if host.startswith("/") else (host, port)


def through_port(url: str, port: int) -> str:
    """The same database as seen through a proxy on this port; without TLS, so that the proxy can read."""
    return change_url(url, host="127.0.0.1", port=port, sslmode="disable")


def change_url(url: str, **changes: str | int) -> str:
    """A database URL with other parameters; all of them stand behind the question mark."""
    params = {**conninfo_to_dict(url), **changes}
    return "postgresql://?" + urlencode({name: str(value) for name, value in params.items()})
