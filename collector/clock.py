"""
The wall clock, as a value that is passed in, and paces on Trio's own clock.

Receive times come from a WallClock. Waiting and deadlines use Trio's clock, so that tests in virtual time
move both only on purpose.
"""

import time
from collections.abc import Callable
from typing import TypeAlias

import trio

WallClock: TypeAlias = Callable[[], int]
"""Microseconds since 1970 UTC."""


def system_clock() -> int:
    """The machine's own UTC clock."""
    return time.time_ns() // 1000


async def wait_for_tick(began_s: float, period_s: float) -> None:
    """
    Wait for the next multiple of a period since `began_s`, by Trio's clock.

    Ticks do not drift; those that a slow step has missed are skipped.
    """
    now_s = trio.current_time()
    tick_s = began_s + (int((now_s - began_s) // period_s) + 1) * period_s
    # The division may round to just below a whole number at the very instant of a tick.
    await trio.sleep_until(tick_s if tick_s > now_s else tick_s + period_s)
