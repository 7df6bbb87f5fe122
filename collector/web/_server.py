"""
Hypercorn as a child of our nursery.

The sockets are bound here and handed over: so all interfaces mean IPv4 and IPv6 alike, port 0 gives both the
same port, and what the machine refuses is one clear StartError instead of a nest of exception groups.

Hypercorn handles no signals here and runs nothing of ours but the app: whoever calls `serve_web` ends it with
the `shutdown` event, or at once by cancelling. An open WebSocket is told to go away first; what is left after
GRACEFUL_S is cut.
"""

import errno
import logging
import socket
from functools import partial
from typing import Final, cast

import hypercorn.trio
import hypercorn.trio.run
import trio
from hypercorn.config import Config
from hypercorn.logging import Logger
from hypercorn.typing import ASGIFramework

from collector.errors import StartError
from collector.observe import get_logger
from collector.web._app import WebApp
from collector.web._connections import SEND_S_MAX, DeadlineConnection, Sends, WebConfig

GRACEFUL_S: Final = 2.0
"""Answers take milliseconds; the writer needs the rest of the platform's patience."""
STARTUP_S_MAX: Final = 10.0
"""The app starts without waiting for anything."""
KEEP_ALIVE_S: Final = 30
"""Above the interval of most probes, so that they can keep their connection."""
DEAD_PEER_MS: Final = 60_000
"""A peer that has acknowledged nothing for so long is gone; its kernel would have answered."""
WS_MESSAGE_BYTES_MAX: Final = 64 * 1024
"""Clients have nothing to say; Hypercorn's own bound is 16 MB."""
BACKLOG: Final = 128
RESOLVE_S_MAX: Final = 10.0

_log = get_logger("web")


class _QuietLogger(Logger):
    """Hypercorn's log in ours: no access lines, no handlers, nothing on the root logger."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.access_logger = None
        self.error_logger = None

    async def exception(self, message: str, *args: object, **kwargs: object) -> None:
        """An error that even the app's own handlers did not catch."""
        _log.exception("server_error", message=message)

    async def log(self, level: int, message: str, *args: object, **kwargs: object) -> None:
        """Everything else is told by serve_web itself; warnings are kept."""
        if level >= logging.WARNING:
            _log.warning("server_warning", message=message)


async def serve_web(
    app: WebApp,
    host: str | None,
    port: int,
    *,
    shutdown: trio.Event,
    send_s_max: float = SEND_S_MAX,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """
    Serve until `shutdown`, then end within about GRACEFUL_S. Started with the bound URLs.

    Without a host, all interfaces. Raises StartError when the address can't be had.
    """
    sockets = await _bind(host, port)
    sends = Sends(send_s_max)
    # Hypercorn has no setting for the class of its connections, and takes it from this one place.
    hypercorn.trio.run.TCPServer = DeadlineConnection  # type: ignore[attr-defined]

    async def wait_for_shutdown() -> None:
        try:
            await shutdown.wait()
        finally:
            # When this server is cancelled, too: sends are shielded, and would hold it up.
            app.hub.close()
            sends.end_within(GRACEFUL_S)

    try:
        async with trio.open_nursery() as nursery:
            urls: list[str] = await nursery.start(
                partial(
                    # The library leaves the WSGI half of this signature untyped.
                    hypercorn.trio.serve,  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
                    cast("ASGIFramework", app),
                    _make_config(sockets, sends),
                    shutdown_trigger=wait_for_shutdown,
                    mode="asgi",
                )
            )
            task_status.started(urls)
    finally:
        app.hub.close()


def _make_config(sockets: list[socket.socket], sends: Sends) -> WebConfig:
    config = WebConfig(sends)
    # Hypercorn takes over the descriptors, and closes them when it ends.
    config.bind = [f"fd://{sock.detach()}" for sock in sockets]
    config.accesslog = None
    config.errorlog = None
    config.logger_class = _QuietLogger
    config.graceful_timeout = GRACEFUL_S
    config.startup_timeout = STARTUP_S_MAX
    config.shutdown_timeout = GRACEFUL_S
    config.keep_alive_timeout = KEEP_ALIVE_S
    # Its task would outlive the connection by up to an interval, and hold up the end of the server. The
    # statistics of each second keep proxies patient; dead peers are found by their kernels' silence.
    config.websocket_ping_interval = None
    config.websocket_max_message_size = WS_MESSAGE_BYTES_MAX
    config.backlog = BACKLOG
    config.include_server_header = False
    return config


async def _bind(host: str | None, port: int) -> list[socket.socket]:
    if host is None:
        return _bind_all_interfaces(port)
    addresses = await _resolve(host, port)
    sockets: list[socket.socket] = []
    problems: list[OSError] = []
    for family, address in addresses:
        # Port 0 is a free one, but the same for all addresses of the name.
        wanted = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_listen(family, address, wanted))
        except OSError as error:
            problems.append(error)
    # A name such as localhost can stand for addresses of which the machine has only some.
    if not sockets or any(problem.errno == errno.EADDRINUSE for problem in problems):
        _close_all(sockets)
        raise _start_error(host, port, problems[0]) from problems[0]
    return sockets


def _bind_all_interfaces(port: int) -> list[socket.socket]:
    try:
        sockets = [_listen(socket.AF_INET, "0.0.0.0", port)]  # noqa: S104 - what no HOST means
    except OSError as error:
        raise _start_error(None, port, error) from error
    try:
        sockets.append(_listen(socket.AF_INET6, "::", sockets[0].getsockname()[1]))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            _close_all(sockets)
            raise _start_error(None, port, error) from error
        # The machine has no IPv6, as many containers.
        _log.debug("no_ipv6", reason=str(error))
    return sockets


async def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    found = None
    try:
        with trio.move_on_after(RESOLVE_S_MAX):
            found = await trio.socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
    except OSError as error:
        raise StartError(f"can't listen on {host}: the name has no address ({error.strerror})") from error
    if found is None:
        raise StartError(f"can't listen on {host}: its address was not found within {RESOLVE_S_MAX:g} s")
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _listen(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit these.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_MS)
        if family == socket.AF_INET6:
            # Else it would claim the IPv4 port too, which has a socket of its own.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _close_all(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _start_error(host: str | None, port: int, error: OSError) -> StartError:
    where = f"port {port}" if host is None else f"{host} port {port}"
    match error.errno:
        case errno.EADDRINUSE:
            return StartError(
                f"can't listen on {where}: it is taken; set PORT (--port of a demo) to a free one"
            )
        case errno.EACCES | errno.EPERM:
            return StartError(f"can't listen on {where}: not permitted; set PORT to one above 1023")
        case errno.EADDRNOTAVAIL:
            return StartError(
                f"can't listen on {where}: this machine has no such address; change HOST (--host of a demo)"
            )
        case _:
            return StartError(f"can't listen on {where}: {error.strerror or error}")
