"""The one way to wake tasks that wait for something to change."""

import trio
from attrs import define, field


@define(eq=False)
class Wakeup:
    """
    Wakes all waiting tasks each time it is notified.

    `wait` ignores earlier notifications. So a task must not have a checkpoint between its check for work and
    `wait`, or it can miss a notification. A task that needs one there takes `next` first, then checks for
    work, then waits for that event.
    """

    _event: trio.Event | None = field(default=None, init=False)
    # Made only when somebody is going to wait: on the hot path most notifications find nobody.

    @property
    def next(self) -> trio.Event:
        """The event that the next notification sets."""
        if self._event is None:
            self._event = trio.Event()
        return self._event

    def notify(self) -> None:
        """Wake the tasks that wait. Never a checkpoint."""
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self) -> None:
        """Wait for the next notification."""
        await self.next.wait()
