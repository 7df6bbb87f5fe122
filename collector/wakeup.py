"""The one way to wake tasks that wait for something to change."""

import trio
from attrs import define, field


@define(eq=False)
class Wakeup:
    """
    Wakes the tasks that wait, as often as it is notified.

    A notification is not remembered for later waits. So a task looks whether there is anything to do, and
    waits without a checkpoint in between. A task that needs a checkpoint in between takes `next` first, then
    looks, then waits for that.
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
