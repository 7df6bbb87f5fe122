"""The one retry loop, and how long to wait before the next try."""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from attrs import define, field

from collector.errors import leaves_of

T = TypeVar("T")


async def retry(
    attempt: Callable[[], Awaitable[T]],
    on: type[Exception] | tuple[type[Exception], ...],
    pause: Callable[[Exception], Awaitable[None]],
) -> T:
    """
    Call `attempt` until it returns, and return what it returns.

    The errors `on`, alone or in an exception group of nothing else, are answered by `pause`, which logs what
    is worth it and waits. It gets the first error of a group. All other errors propagate. Cancelled, it ends
    where it waits.
    """
    while True:
        failure: Exception | None = None
        try:
            return await attempt()
        except* on as group:
            failure = cast("Exception", leaves_of(group)[0])
        await pause(failure)


@define(eq=False)
class Backoff:
    """
    Delays of an exponential backoff with full jitter: uniform between 0 and a bound that doubles with each
    delay.

    The jitter keeps many clients that lost the same server from coming back at the same instant.
    """

    rng: random.Random
    first_s: float
    s_max: float
    _bound_s: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._bound_s = self.first_s

    def next_delay_s(self) -> float:
        """How long to wait now, in seconds."""
        delay_s = self.rng.uniform(0, self._bound_s)
        self._bound_s = min(self._bound_s * 2, self.s_max)
        return delay_s

    def reset(self) -> None:
        """Start again with short delays: the last attempt succeeded."""
        self._bound_s = self.first_s
