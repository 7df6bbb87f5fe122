"""
Hypercorn's connections, with an end to every send.

Hypercorn shields each send from cancellation and gives it no deadline: a client that keeps its connection
open and reads nothing would hold its task for ever, and with it the end of the server. Here a send that takes
too long ends the connection, and when the server stops all sends under way get the same short deadline.

`DeadlineConnection` changes nothing for a server whose configuration is not a `WebConfig`.
"""

from typing import Final

import trio
from attrs import define, field
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.tcp_server import TCPServer

SEND_S_MAX: Final = 20.0
"""Longer than a phone needs to come out of a tunnel; what its mailbox holds meanwhile is bounded."""


@define(eq=False)
class Sends:
    """The sends under way in one server, and how long each may take."""

    s_max: float = SEND_S_MAX
    _scopes: set[trio.CancelScope] = field(factory=set[trio.CancelScope], init=False)
    _ends_s: float | None = field(default=None, init=False)

    def new_scope(self) -> trio.CancelScope:
        """A shielded scope for one send; `done` must follow."""
        deadline_s = trio.current_time() + self.s_max
        if self._ends_s is not None:
            deadline_s = min(deadline_s, self._ends_s)
        scope = trio.CancelScope(deadline=deadline_s, shield=True)
        self._scopes.add(scope)
        return scope

    def done(self, scope: trio.CancelScope) -> None:
        """Forget a send."""
        self._scopes.discard(scope)

    def end_within(self, seconds: float) -> None:
        """Let no send, of now or later, outlast this."""
        self._ends_s = trio.current_time() + seconds
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, self._ends_s)


class WebConfig(Config):
    """A configuration whose connections have deadlines."""

    def __init__(self, sends: Sends) -> None:
        super().__init__()
        self.sends = sends


class DeadlineConnection(TCPServer):
    """One connection. Owned by Hypercorn's nursery; `protocol_send` is called by its tasks."""

    async def protocol_send(self, event: Event) -> None:
        """Send under a deadline; when it passes, the connection is gone for both sides."""
        if not isinstance(event, RawData) or not isinstance(self.config, WebConfig):
            await super().protocol_send(event)
            return
        sends = self.config.sends
        async with self.send_lock:
            is_sent = False
            scope = sends.new_scope()
            try:
                with scope:
                    await self.stream.send_all(event.data)
                    is_sent = True
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                sends.done(scope)
        if not is_sent:
            # Half a frame may be out, so nothing can follow. Closing also ends the task that reads.
            await trio.aclose_forcefully(self.stream)
            await self.protocol.handle(Closed())
