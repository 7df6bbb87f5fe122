"""
Time: the clocks of the machine, the receive times of a session, and paces on Trio's clock.

This is the only module that reads the machine's clocks. Other modules are given them as values, so that tests
in virtual time move both only on purpose. Waiting and deadlines use Trio's clock.

The wall clock (UTC) may be set while a session runs. The steady clock counts the same time without steps.
`ReceiveClock` makes receive times from both: they are UTC, and within a session they never decrease.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias

import trio
from attrs import define, frozen

WallClock: TypeAlias = Callable[[], int]
"""Microseconds since 1970 UTC."""
SteadyClock: TypeAlias = Callable[[], int]
"""Microseconds since an arbitrary instant. It is never set and never decreases."""

AGREEMENT_US: Final = 1_000
"""
Maximum difference between receive time and wall clock that is left alone. The two clocks are read one after
the other, so their difference has microseconds of noise, and more on a busy machine.
"""
SLEW_PPM: Final = 5_000
"""
Rate at which receive times follow a difference of up to FAR_US. Ten times the rate of adjtime (500 ppm), so a
wall clock that a time service slews is followed without lag. An interval is wrong by 0.5% at most.
"""
FAR_US: Final = 1_000_000
"""A larger difference is not slewed. It means that the wall clock was set."""
FAR_STAYS_US: Final = 5_000_000
"""
Steady time for which the wall clock must stay far ahead, or far behind, before receive times follow it. When
a wrong time is corrected within this time, receive times are not affected.
"""
CATCH_UP_PPM: Final = 500_000
"""
Rate at which receive times lose their lead over a wall clock that stays far behind: they advance at half
speed. They must not decrease, and at half speed later frames still have later times.
"""
STEP_US: Final = 500_000
"""
Maximum difference between the advances of the two clocks that is not a step. Well above the delay between the
readings of the two clocks; a leap second (1 s) is still reported.
"""
DRIFT_PPM_MAX: Final = 1_000
"""
Added to STEP_US for the time between two readings. Twice the rate of adjtime, so that hours without a reading
add up to no step.
"""

_MILLION: Final = 1_000_000


def system_clock() -> int:
    """The machine's own UTC clock."""
    return time.time_ns() // 1000


def _best_steady_clock() -> Callable[[], int]:
    """CLOCK_BOOTTIME in nanoseconds where the system has it: it counts while the machine is suspended."""
    clock_id: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    if clock_id is not None:
        # Python may know a clock that the running kernel or sandbox refuses.
        with suppress(OSError):
            time.clock_gettime_ns(clock_id)
            return partial(time.clock_gettime_ns, clock_id)
    return time.monotonic_ns


_steady_ns: Final = _best_steady_clock()


def steady_us() -> int:
    """
    Microseconds since an arbitrary instant, by a clock that is never set.

    CLOCK_BOOTTIME where the system has it, else Python's monotonic clock. The latter may stop while the
    machine is suspended. The wall clock then seems to step forward, and `ReceiveClock` reports a step.
    """
    return _steady_ns() // 1000


@frozen
class Clocks:
    """The two clocks that receive times are made of."""

    wall: WallClock
    steady: SteadyClock = steady_us


@frozen
class ClockStep:
    """
    The wall clock was set.

    `at_us` is the receive time at which it was noticed. `size_us` is the size of the step, negative if the
    clock was set back. It includes what the two clocks drifted apart since the reading before.
    """

    at_us: int
    size_us: int


@define
class ReceiveClock:
    """
    The receive times of one session, from readings of the wall clock and of the steady clock. Does no I/O.

    The first receive time is the wall clock's. After that receive times advance with the steady clock:

    - They never decrease. Between two readings they advance by at least half of the steady time.
    - A difference of up to 1 s from the wall clock is slewed away, at 0.5% of the steady time.
    - If the wall clock stays more than 1 s ahead for 5 s, they jump forward to it.
    - If it stays more than 1 s behind for 5 s, they advance at half speed until the difference is 1 s, and
      this is slewed away. After the wall clock was set back by an hour, this takes about two hours.

    The arguments are first readings of the wall clock and of the steady clock. All attributes are integers:
    `ReceiveClock(*attrs.astuple(clock))` continues where `clock` was.
    """

    _received_us: int
    _steady_us: int
    _ahead_us: int = 0
    """By how much the wall clock was ahead of the receive time at the last reading."""
    _side: int = 0
    """1: the wall clock was far ahead at the last reading, -1: far behind, 0: neither."""
    _side_since_us: int = 0
    """Steady time of the first reading that showed this side."""
    _rest: int = 0
    """Millionths of a microsecond that slewing has not used yet: readings may be only microseconds apart."""

    def stamp(self, wall_us: int, steady_us: int) -> tuple[int, ClockStep | None]:
        """
        Return the receive time of what has just arrived, and the step of the wall clock since the last call.

        The arguments are readings of both clocks in microseconds, taken one right after the other. The step
        is None if there was none; each step is returned once. If steady time decreases, no time has passed.
        """
        elapsed_us = steady_us - self._steady_us
        if elapsed_us < 0:
            elapsed_us, self._side = 0, 0
        received_us = self._received_us + elapsed_us
        ahead_us = wall_us - received_us
        stepped_us = ahead_us - self._ahead_us
        self._steady_us = steady_us
        if -AGREEMENT_US <= ahead_us <= AGREEMENT_US:
            self._side = 0
        else:
            correction_us = self._correction_us(ahead_us, elapsed_us)
            received_us += correction_us
            ahead_us -= correction_us
        self._received_us = received_us
        self._ahead_us = ahead_us
        if -STEP_US <= stepped_us <= STEP_US:
            return received_us, None
        if abs(stepped_us) <= STEP_US + elapsed_us * DRIFT_PPM_MAX // _MILLION:
            return received_us, None
        return received_us, ClockStep(received_us, stepped_us)

    def _correction_us(self, ahead_us: int, elapsed_us: int) -> int:
        """How far receive times move towards a wall clock that is ahead by `ahead_us`, negative if behind."""
        side = 1 if ahead_us > FAR_US else -1 if ahead_us < -FAR_US else 0
        if side != self._side:
            self._side, self._side_since_us = side, self._steady_us
        if side:
            if self._steady_us - self._side_since_us < FAR_STAYS_US:
                return 0
            if side > 0:
                self._side = 0
                return ahead_us
        # `_rest` is less than 1 µs, so at either rate this is at most the time that has passed.
        rate_ppm = CATCH_UP_PPM if side else SLEW_PPM
        limit_us, self._rest = divmod(elapsed_us * rate_ppm + self._rest, _MILLION)
        return min(ahead_us, limit_us) if ahead_us > 0 else max(ahead_us, -limit_us)


async def wait_for_tick(began_s: float, period_s: float) -> None:
    """
    Wait for the next multiple of a period since `began_s`, by Trio's clock.

    Ticks do not drift; those that a slow step has missed are skipped.
    """
    now_s = trio.current_time()
    tick_s = began_s + (int((now_s - began_s) // period_s) + 1) * period_s
    # The division may round to just below a whole number at the very instant of a tick.
    await trio.sleep_until(tick_s if tick_s > now_s else tick_s + period_s)
