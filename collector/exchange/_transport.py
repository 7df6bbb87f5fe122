"""
The narrow interface between a session and whatever carries its frames.

Batches of stamped text frames come in, commands go out, and one time tells when the peer last gave a sign of
life. Nothing of WebSockets shows through, so that another transport can take the place of this one.
"""

from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

from collector.clock import ClockStep

StampedText: TypeAlias = tuple[int, str]
"""
Receive time in microseconds since 1970 UTC, and the text of one frame. Within a connection receive times
never decrease; frames that were read together may share one.
"""
SIMULATED_HEADER: Final = b"x-simulated-exchange"
"""By this header of its answer to the handshake our simulator says what it is; the exchange sends none."""


class Transport(Protocol):
    """An open connection. Owned by the task that opened it."""

    @property
    def last_activity_s(self) -> float:
        """When the peer last sent a byte of any kind, pings included, on Trio's clock."""
        ...

    @property
    def is_simulated(self) -> bool:
        """Whether the peer says of itself that nothing it sends is real."""
        return False

    def now_us(self) -> int:
        """The receive time of what would arrive now."""
        ...

    async def receive(self) -> Sequence[StampedText]:
        """
        All frames that have arrived, at least one, in order. A checkpoint; loses nothing when cancelled.

        Raises FeedLost once the connection is gone and every frame of it was handed out.
        """
        ...

    def take_nowait(self) -> Sequence[StampedText]:
        """What has arrived and was not handed out yet; may be nothing."""
        ...

    def take_clock_steps(self) -> Sequence[ClockStep]:
        """
        Steps of the wall clock that this connection has noticed since the last call, in order; may be none.

        Receive times do not step with the wall clock: see `ReceiveClock`. A bounded number of steps is kept
        until they are taken.
        """
        return ()

    async def send(self, text: str) -> None:
        """Send one command. Raises FeedLost when the connection is gone."""
        ...
