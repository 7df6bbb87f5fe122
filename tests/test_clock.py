"""Receive times: never decreasing, close to a wall clock that is kept right, and independent of its steps."""

import time
from collections.abc import Iterable

import pytest
from attrs import astuple, define, field
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector import clock as module
from collector.clock import (
    AGREEMENT_US,
    DRIFT_PPM_MAX,
    FAR_STAYS_US,
    FAR_US,
    SLEW_PPM,
    STEP_US,
    Clocks,
    ClockStep,
    ReceiveClock,
    steady_us,
    system_clock,
)

S = 1_000_000
HOUR_US = 3_600 * S
DAY_US = 24 * HOUR_US
FIRST_US = 1_786_410_000_000_000
BOOTED_US = 77 * S

advances_us = st.one_of(
    st.integers(0, 50), st.integers(0, S), st.integers(0, 2 * FAR_STAYS_US), st.integers(0, 10 * DAY_US)
)
walls_us = st.one_of(
    st.integers(-(2**62), 2**62),
    st.integers(FIRST_US - 2 * HOUR_US, FIRST_US + 2 * HOUR_US),
    st.integers(FIRST_US - 2 * FAR_US, FIRST_US + 2 * FAR_US),
)
readings = st.lists(st.tuples(advances_us, walls_us), max_size=50)


@define
class Machine:
    """A steady clock, a wall clock that can be set, and the receive times that are made of both."""

    wall_us: int = FIRST_US
    steady_us: int = BOOTED_US
    steps: list[ClockStep] = field(factory=list[ClockStep])
    clock: ReceiveClock = field(init=False)
    received_us: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.clock = ReceiveClock(self.wall_us, self.steady_us)
        self.received_us = self.wall_us

    @property
    def ahead_us(self) -> int:
        """By how much the wall clock is ahead of receive times."""
        return self.wall_us - self.received_us

    def advance(self, elapsed_us: int, drift_us: int = 0) -> int:
        """Let time pass, and take a stamp. Returns by how much receive times advanced."""
        self.steady_us += elapsed_us
        self.wall_us += elapsed_us + drift_us
        return self.stamp()

    def stamp(self) -> int:
        """Take a stamp now. Returns by how much receive times advanced."""
        before_us = self.received_us
        self.received_us, step = self.clock.stamp(self.wall_us, self.steady_us)
        if step is not None:
            assert step.at_us == self.received_us
            self.steps.append(step)
        return self.received_us - before_us

    def run(self, duration_us: int, interval_us: int) -> None:
        """Take stamps at equal intervals."""
        for _ in range(duration_us // interval_us):
            self.advance(interval_us)


def all_stamps(clock: ReceiveClock, following: Iterable[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """For each reading the steady time since the one before, the wall clock and the receive time."""
    now_us = BOOTED_US
    stamps: list[tuple[int, int, int]] = []
    for elapsed_us, wall_us in following:
        now_us += elapsed_us
        received_us, _ = clock.stamp(wall_us, now_us)
        stamps.append((elapsed_us, wall_us, received_us))
    return stamps


# ---------------------------------------------------------------- for every wall clock


@settings(deadline=None)
@given(walls_us, readings)
@example(FIRST_US, [(0, FIRST_US - 2), (1, FIRST_US - HOUR_US), (FAR_STAYS_US, 0), (1, 0), (1, 0), (0, 0)])
def test_receive_times_never_decrease(first_us: int, following: list[tuple[int, int]]) -> None:
    """Whatever the wall clock does, receive times advance by half of the steady time or more."""
    before_us = first_us
    for elapsed_us, wall_us, received_us in all_stamps(ReceiveClock(first_us, BOOTED_US), following):
        assert received_us - before_us >= elapsed_us // 2
        # They move towards the wall clock, and never past it.
        steady_only_us = before_us + elapsed_us
        assert min(steady_only_us, wall_us) <= received_us <= max(steady_only_us, wall_us)
        before_us = received_us


@pytest.mark.parametrize("first_us", [0, -HOUR_US, FIRST_US, 2**62])
def test_the_first_receive_time_is_that_of_the_wall_clock(first_us: int) -> None:
    """Also of one that was never set, or that is far in the future."""
    clock = ReceiveClock(first_us, BOOTED_US)
    assert clock.stamp(first_us, BOOTED_US) == (first_us, None)
    assert clock.stamp(first_us + 5 * S, BOOTED_US + 5 * S) == (first_us + 5 * S, None)


@settings(deadline=None)
@given(readings, readings)
def test_stored_integers_continue_the_clock(
    first: list[tuple[int, int]], then: list[tuple[int, int]]
) -> None:
    """A clock is a few integers; one that is made of them again gives the same receive times."""
    clock = ReceiveClock(FIRST_US, BOOTED_US)
    all_stamps(clock, first)
    state = astuple(clock)
    assert all(type(value) is int for value in state)
    assert all_stamps(ReceiveClock(*state), then) == all_stamps(clock, then)


@pytest.mark.parametrize("set_us", [0, -HOUR_US])
def test_a_steady_clock_that_starts_over_is_no_time(set_us: int) -> None:
    """After a reboot a stored clock continues from its last receive time, and follows the wall clock."""
    machine = Machine()
    machine.wall_us += set_us
    machine.run(3 * S, S)
    machine.steady_us = 0
    assert machine.stamp() == 0
    assert machine.advance(S) == S
    machine.run(2 * HOUR_US, 10 * S)
    assert abs(machine.ahead_us) <= FAR_US


# ---------------------------------------------------------------- a wall clock that is kept right


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 1000), st.integers(0, 10 * S), st.integers(0, 1000 * S)),
            st.integers(-500, 500),
        ),
        max_size=100,
    )
)
@example([(10 * S, 500)] * 10_000)
@example([(1, -500)] * 10_000)
def test_a_clock_that_is_slewed_is_followed(slews: list[tuple[int, int]]) -> None:
    """At up to 500 ppm, and whatever the intervals are, receive times stay within a millisecond."""
    machine = Machine()
    not_drifted = 0
    for elapsed_us, rate_ppm in slews:
        drift_us, not_drifted = divmod(elapsed_us * rate_ppm + not_drifted, S)
        machine.advance(elapsed_us, drift_us)
        assert abs(machine.ahead_us) <= AGREEMENT_US + 1
    assert machine.steps == []


@pytest.mark.parametrize("rate_ppm", [500, -500])
@pytest.mark.parametrize("interval_us", [10 * S, HOUR_US, 31 * DAY_US])
def test_a_month_of_slewing_is_no_step(rate_ppm: int, interval_us: int) -> None:
    """Not even when the clocks were not read in it; the next readings bring receive times close again."""
    machine = Machine()
    for _ in range(31 * DAY_US // interval_us):
        machine.advance(interval_us, interval_us * rate_ppm // S)
    assert machine.steps == []
    machine.run(2 * HOUR_US, 10 * S)
    assert abs(machine.ahead_us) <= AGREEMENT_US


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10 * S), st.integers(-AGREEMENT_US, AGREEMENT_US))))
def test_noise_of_the_readings_does_not_show(noise: list[tuple[int, int]]) -> None:
    """Differences of up to a millisecond come from reading one clock after the other."""
    clock = ReceiveClock(FIRST_US, BOOTED_US)
    passed_us = 0
    for elapsed_us, noise_us in noise:
        passed_us += elapsed_us
        received_us = FIRST_US + passed_us
        assert clock.stamp(received_us + noise_us, BOOTED_US + passed_us) == (received_us, None)


# ---------------------------------------------------------------- a wall clock that is set


@pytest.mark.parametrize("size_us", [2 * S, HOUR_US, -2 * S, -HOUR_US])
@pytest.mark.parametrize("interval_us", [10_000, 700_000])
def test_a_step_that_is_taken_back_does_not_show(size_us: int, interval_us: int) -> None:
    """A clock that is set right again within 5 s changes no receive time; both steps are reported."""
    machine = Machine()
    machine.run(60 * S, interval_us)
    machine.wall_us += size_us
    machine.run(FAR_STAYS_US, interval_us)
    machine.wall_us -= size_us
    machine.run(60 * S, interval_us)
    assert machine.ahead_us == 0
    assert [step.size_us for step in machine.steps] == [size_us, -size_us]


@pytest.mark.parametrize("interval_us", [1_000, 700_000, 10 * S])
def test_a_clock_that_stays_ahead_is_followed(interval_us: int) -> None:
    """For 5 s receive times advance with the steady clock; then they are those of the wall clock."""
    machine = Machine()
    machine.advance(interval_us)
    machine.wall_us += HOUR_US
    since_us = machine.steady_us + interval_us
    while machine.ahead_us or machine.steady_us < since_us:
        assert machine.steady_us - since_us < FAR_STAYS_US + interval_us
        advance_us = machine.advance(interval_us)
        if machine.steady_us - since_us < FAR_STAYS_US:
            assert advance_us == interval_us
    machine.run(HOUR_US, max(S, interval_us))
    assert machine.ahead_us == 0
    assert [step.size_us for step in machine.steps] == [HOUR_US]


def test_being_ahead_must_last() -> None:
    """Each reading that is not far ahead begins the 5 s again; so does one that is far behind."""
    machine = Machine()
    for size_us in (HOUR_US, 0, HOUR_US, FAR_US // 4, HOUR_US, -HOUR_US, HOUR_US, FAR_US // 4):
        machine.wall_us = FIRST_US + machine.steady_us - BOOTED_US + size_us
        machine.stamp()
        machine.run(FAR_STAYS_US - S, S)
        assert 0 <= machine.received_us - (FIRST_US + machine.steady_us - BOOTED_US) < FAR_US // 4


def test_a_second_step_must_last_too() -> None:
    """When receive times have followed one step forward, the next one must also last for 5 s."""
    machine = Machine()
    for _ in range(2):
        machine.wall_us += HOUR_US
        machine.stamp()
        machine.run(FAR_STAYS_US - S, S)
        assert machine.ahead_us == HOUR_US
        assert machine.advance(S) == HOUR_US + S


@pytest.mark.parametrize("interval_us", [1, 70, 10_000, S])
@pytest.mark.parametrize("sign", [1, -1])
def test_small_differences_are_slewed_away(interval_us: int, sign: int) -> None:
    """At 0.5% of the time that passes, however often the clocks are read."""
    machine = Machine()
    machine.wall_us += sign * FAR_US
    readings = max(4, S // 10 // interval_us)
    machine.run(readings * interval_us, interval_us)
    slewed_us = readings * interval_us * SLEW_PPM // S
    assert machine.ahead_us == sign * (FAR_US - slewed_us)


@pytest.mark.parametrize("interval_us", [1_000, 30_000, 10 * S])
def test_a_clock_that_stays_behind_is_waited_for(interval_us: int) -> None:
    """Receive times advance at half speed until the difference is 1 s, which is slewed away in 200 s."""
    size_us = 60 * S
    machine = Machine()
    machine.wall_us -= size_us
    machine.stamp()
    machine.run(FAR_STAYS_US - 1, interval_us)
    assert machine.ahead_us == -size_us, "not followed yet"

    at_half_speed_us = 2 * (size_us - FAR_US) + 2 * interval_us
    while machine.ahead_us < -FAR_US:
        assert machine.advance(interval_us) == interval_us // 2 or machine.ahead_us >= -FAR_US
        at_half_speed_us -= interval_us
        assert at_half_speed_us >= 0
    machine.run(200 * S + interval_us, interval_us)
    assert -AGREEMENT_US <= machine.ahead_us <= 0
    assert [step.size_us for step in machine.steps] == [-size_us]


def test_an_hour_back_takes_two_hours() -> None:
    """After one hour half of the lead over a wall clock that was set back is gone, and then all of it."""
    machine = Machine()
    machine.wall_us -= HOUR_US
    machine.run(HOUR_US, 100_000)
    assert machine.ahead_us == pytest.approx(-HOUR_US / 2, abs=FAR_STAYS_US)
    machine.run(HOUR_US + 2 * FAR_STAYS_US, 100_000)
    assert machine.ahead_us >= -FAR_US
    machine.run(200 * S, 100_000)
    assert machine.ahead_us >= -AGREEMENT_US


def test_an_hour_back_and_forth_within_a_session() -> None:
    """Receive times wait at half speed while the clock is behind, and continue when it is right again."""
    machine = Machine()
    machine.wall_us -= HOUR_US
    machine.run(100 * S, S)
    machine.wall_us += HOUR_US
    machine.run(FAR_STAYS_US - S, S)
    assert machine.ahead_us == pytest.approx((100 * S - FAR_STAYS_US) / 2, abs=S), "not followed yet"
    machine.run(2 * S, S)
    assert machine.ahead_us == 0
    assert [step.size_us for step in machine.steps] == [-HOUR_US, HOUR_US]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 20 * S),
            st.one_of(
                st.just(0),
                st.integers(-DAY_US, DAY_US).filter(lambda size_us: abs(size_us) > STEP_US + 30_000),
            ),
            st.integers(-1000, 1000),
        ),
        max_size=30,
    )
)
def test_each_step_is_reported_once(acts: list[tuple[int, int, int]]) -> None:
    """With its size and sign, to within what the clocks drifted, whatever receive times do at the time."""
    machine = Machine()
    expected: list[int] = []
    for elapsed_us, size_us, drift_us in acts:
        machine.advance(elapsed_us, size_us + drift_us)
        if size_us:
            expected.append(size_us)
        machine.stamp()
    assert len(machine.steps) == len(expected)
    for step, size_us in zip(machine.steps, expected, strict=True):
        assert abs(step.size_us - size_us) <= 1000


@pytest.mark.parametrize("elapsed_us", [0, S, HOUR_US])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_bound_of_a_step_grows_with_time(elapsed_us: int, sign: int) -> None:
    """Half a second, and one thousandth of the time between two readings."""
    bound_us = STEP_US + elapsed_us * DRIFT_PPM_MAX // S
    machine = Machine()
    machine.advance(elapsed_us, sign * bound_us)
    assert machine.steps == []
    machine.run(HOUR_US, S)
    assert abs(machine.ahead_us) <= AGREEMENT_US
    machine.advance(elapsed_us, sign * (bound_us + 1))
    assert [step.size_us for step in machine.steps] == [sign * (bound_us + 1)]


def test_a_suspension_is_a_step_only_where_the_steady_clock_stops() -> None:
    """CLOCK_BOOTTIME counts it; with a clock that stops, the wall clock steps forward."""
    counting, stopping = Machine(), Machine()
    counting.advance(8 * HOUR_US)
    stopping.advance(0, 8 * HOUR_US)
    assert counting.steps == []
    assert stopping.steps == [ClockStep(FIRST_US, 8 * HOUR_US)]


# ---------------------------------------------------------------- the machine's clocks


def test_the_steady_clock_counts_suspensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is CLOCK_BOOTTIME where the system knows it and allows it, else the monotonic clock."""
    monkeypatch.setattr(time, "CLOCK_BOOTTIME", 7, raising=False)
    monkeypatch.setattr(time, "clock_gettime_ns", lambda clock_id: clock_id * 1000, raising=False)
    monkeypatch.setattr(time, "monotonic_ns", lambda: 5000)
    assert module._best_steady_clock()() == 7000

    def refuse(clock_id: int) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(time, "clock_gettime_ns", refuse)
    assert module._best_steady_clock()() == 5000
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert module._best_steady_clock()() == 5000


def test_clocks_of_the_machine_are_in_microseconds() -> None:
    """Both advance alike, and the steady one is the default."""
    clocks = Clocks(system_clock)
    assert clocks.steady is steady_us
    began_s = time.monotonic()
    first = (clocks.wall(), clocks.steady())
    time.sleep(0.02)
    last = (clocks.wall(), clocks.steady())
    ended_s = time.monotonic()
    for before_us, after_us in zip(first, last, strict=True):
        assert 0.015 * S < after_us - before_us < (ended_s - began_s) * S + 0.005 * S
