"""The tick: once a second the recorder's state is sampled, and statistics go to those who want them."""

from typing import Final

import trio

from collector.clock import wait_for_tick
from collector.live._broadcast import LiveHub
from collector.observe import RecorderState, SessionStats, get_logger

TICK_S: Final = 1.0

_log = get_logger("ticks")


async def run_ticks(state: RecorderState, hub: LiveHub) -> None:
    """
    Once a second, sample rates and series, check the wall clock, and publish statistics.

    Runs until cancelled.
    """
    began_s = trio.current_time()
    active: list[SessionStats] = []
    while True:
        due_s = began_s + ((trio.current_time() - began_s) // TICK_S + 1) * TICK_S
        await wait_for_tick(began_s, TICK_S)
        state.loop_lag_ms = max(0.0, trio.current_time() - due_s) * 1000
        state.note_tick()
        state.note_series(trio.current_time())
        _watch_times(state)
        for session in active:
            if session.status != "active":
                # Its books are unknown from now on, and no message of the exchange says so.
                hub.refresh(session.tracker.markets)
        active = [session for session in state.sessions if session.status == "active"]
        hub.publish_stats()


def _watch_times(state: RecorderState) -> None:
    """Log each step of the wall clock, and when a session's latency starts or stops growing."""
    now_s = trio.current_time()
    # The clock first: when it was set, latencies that seem to grow have not grown.
    size_us = state.note_clock(now_s)
    if size_us:
        _log.warning("clock_was_set", seconds=round(size_us / 1e6, 3))
    for session, change in state.note_trends(now_s):
        trend = session.age_trend
        _log.warning(
            f"growing_age_{change}", feed=session.feed_name, session=session.session_id,
            age_us=trend.age_us, best_us=trend.best_us,
        )  # fmt: skip
