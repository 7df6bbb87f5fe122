"""
Whether the service does its job, from the recorder's state alone.

The answer is for a machine that restarts what is not healthy, and for a person who asks why. So `failed`
means that something which should be recorded is not; `degraded` that it is, with a reserve in use.

    component    ok                                degraded                      failed
    feeds        connected; starting up; briefly   -                             refused; not connected for
                 reconnecting                                                    long; waiting for the store
    store        available; starting up            away, memory still takes      refuses what is written
                                                   frames
    partitions   present, or not looked at yet     missing                       -
    event_loop   ticks in time                     ticks late                    -
    spool        empty                             records wait for the          full; the disk does not
                                                   database; damaged files       take what it should
    message_age  messages come as old as ever      get older and older           -
    clock        goes evenly                       was set; is behind the        -
                                                   exchange's
    books        exact, or lost just now; no       lost for over a minute; an    -
                 first snapshot yet                audit found a wrong one

A quiet market is healthy: silence of a connection that lives is the exchange's business. Pure.
"""

from typing import Final, Literal

from attrs import frozen

from collector.facts import Cause
from collector.observe import FeedPhase, FeedStatus, RecorderState, SessionStats, StorePhase
from collector.web._current_books import UnknownBooks, recent_mismatches, unknown_books
from collector.web._times import iso_utc

Verdict = Literal["ok", "degraded", "failed"]

STARTING_S_MAX: Final = 120
"""Embedded PostgreSQL needs up to half a minute for its first start, a platform's network as long again."""
RECONNECTING_S_MAX: Final = 60
"""The exchange's own restarts take seconds; a minute without data is worth waking somebody."""
LOOP_LAG_MS_MAX: Final = 500.0
"""Half a tick: receive times would be off by as much."""

CLOCK_STEP_S: Final = 600
"""Long enough for somebody to see it; rows of that time have receive times by both clocks."""

BOOKS_LOST_S_MAX: Final = 60
"""A lost book is asked for at once, three times ten seconds if need be."""
MISMATCH_S: Final = 3600
"""Long enough for somebody to see it and to verify the session."""

_RANKS: Final[dict[Verdict, int]] = {"ok": 0, "degraded": 1, "failed": 2}


@frozen
class Component:
    """One part of the service: how it is, why, and since when (microseconds since 1970, 0 when unknown)."""

    name: str
    verdict: Verdict
    why: str
    since_us: int = 0

    def as_json(self) -> dict[str, object]:
        """The component as the health routes show it."""
        return {
            "name": self.name,
            "status": self.verdict,
            "why": self.why,
            "since": iso_utc(self.since_us),
        }


@frozen
class Health:
    """The verdict on the whole, and its parts."""

    verdict: Verdict
    components: tuple[Component, ...]
    feeds: tuple[Component, ...]

    @property
    def status_code(self) -> int:
        """What an HTTP probe is told."""
        return 503 if self.verdict == "failed" else 200


def assess(state: RecorderState, now_us: int) -> Health:
    """Judge the state at a moment."""
    feeds = tuple(_assess_feed(state, feed, now_us) for feed in state.feeds)
    components = (
        _sum_up_feeds(state, feeds, now_us),
        _assess_store(state, now_us),
        _assess_partitions(state),
        _assess_event_loop(state),
        _assess_spool(state),
        _assess_message_age(state),
        _assess_clock(state, now_us),
        _assess_books(state, now_us),
    )
    return Health(_worst(components), components, feeds)


def health_json(state: RecorderState, now_us: int) -> tuple[int, dict[str, object]]:
    """The status code and the JSON of the health routes."""
    health = assess(state, now_us)
    body: dict[str, object] = {
        "status": health.verdict,
        "components": {component.name: component.as_json() for component in health.components},
        "feeds": [feed.as_json() for feed in health.feeds],
        "uptime_seconds": max(0, now_us - state.started_us) // 1_000_000,
        "version": state.code_version,
        "environment": state.environment,
        "is_simulated": state.is_simulated,
    }
    return health.status_code, body


def _is_starting(state: RecorderState, now_us: int) -> bool:
    return now_us - state.started_us < STARTING_S_MAX * 1_000_000


def _worst(components: tuple[Component, ...]) -> Verdict:
    worst: Verdict = "ok"
    for component in components:
        if _RANKS[component.verdict] > _RANKS[worst]:
            worst = component.verdict
    return worst


def _assess_feed(state: RecorderState, feed: FeedStatus, now_us: int) -> Component:
    def component(verdict: Verdict, why: str, since_us: int = feed.since_us) -> Component:
        return Component(feed.name, verdict, why, since_us)

    match feed.phase:
        case FeedPhase.CONNECTED:
            return component("ok", "connected")
        case FeedPhase.REFUSED:
            return component("failed", f"the exchange refuses the connection: {feed.reason}")
        case FeedPhase.WAITING_FOR_STORE if state.store.phase is StorePhase.STARTING and _is_starting(
            state, now_us
        ):
            return component("ok", "starting: waits for PostgreSQL")
        case FeedPhase.WAITING_FOR_STORE:
            return component("failed", "nothing is recorded: the feed waits for PostgreSQL")
        case FeedPhase.STOPPED:
            why = "the service is stopping" if state.stopping else feed.reason or "stopped"
            return component("failed", why)
        case FeedPhase.CONNECTING | FeedPhase.BACKING_OFF:
            return _assess_absence(state, feed, now_us)


def _assess_absence(state: RecorderState, feed: FeedStatus, now_us: int) -> Component:
    """A feed that is on its way: fine for a while, counted from when its last session ended."""
    reason = f": {feed.reason}" if feed.reason else ""
    if not feed.ever_connected:
        if _is_starting(state, now_us):
            return Component(feed.name, "ok", f"starting: connects{reason}", state.started_us)
        return Component(feed.name, "failed", f"never connected since the start{reason}", state.started_us)
    left_us = _left_us(state, feed)
    if now_us - left_us < RECONNECTING_S_MAX * 1_000_000:
        return Component(feed.name, "ok", f"reconnects{reason}", left_us)
    return Component(feed.name, "failed", f"not connected for over {RECONNECTING_S_MAX} s{reason}", left_us)


def _left_us(state: RecorderState, feed: FeedStatus) -> int:
    # The phase's own time starts anew with every attempt, so the end of the last session is what counts.
    ends = [
        session.ended_us
        for session in state.sessions
        if session.feed_name == feed.name and session.ended_us is not None
    ]
    return max(ends, default=feed.since_us)


def _sum_up_feeds(state: RecorderState, feeds: tuple[Component, ...], now_us: int) -> Component:
    if not feeds:
        reason = f" ({state.discovery.reason})" if state.discovery.reason else ""
        if _is_starting(state, now_us):
            return Component("feeds", "ok", f"starting: no feed yet{reason}", state.started_us)
        why = f"there is no market to record: nothing is recorded{reason}"
        return Component("feeds", "failed", why, state.started_us)
    verdict = _worst(feeds)
    concerned = [feed for feed in feeds if feed.verdict == verdict]
    if verdict == "ok":
        starting = [feed for feed in feeds if feed.why != "connected"]
        why = "; ".join(f"{feed.name}: {feed.why}" for feed in starting) or "connected"
        return Component("feeds", "ok", why, max(feed.since_us for feed in feeds))
    why = "; ".join(f"{feed.name}: {feed.why}" for feed in concerned)
    return Component("feeds", verdict, why, min(feed.since_us for feed in concerned))


def _assess_store(state: RecorderState, now_us: int) -> Component:
    store = state.store
    match store.phase:
        case StorePhase.AVAILABLE:
            return Component("store", "ok", "PostgreSQL takes what is written", store.since_us)
        case StorePhase.AWAY if store.is_refusing:
            why = f"PostgreSQL refuses what is written ({store.reason}): {_refuge(state)}"
            return Component("store", "failed", why, store.since_us)
        case StorePhase.AWAY:
            why = f"PostgreSQL is away ({store.reason}): {_refuge(state)}"
            return Component("store", "degraded", why, store.since_us)
        case StorePhase.STARTING if _is_starting(state, now_us):
            return Component("store", "ok", f"starting: {store.reason}", state.started_us)
        case StorePhase.STARTING:
            return Component(
                "store", "failed", f"PostgreSQL was never reached: {store.reason}", state.started_us
            )


def _refuge(state: RecorderState) -> str:
    """Where frames wait while PostgreSQL is away."""
    spool = state.spool
    queued = sum(session.queued_frames for session in state.sessions)
    if spool.bytes and not spool.is_full and not spool.failure:
        return f"recording goes on into the spool, {queued} frames wait"
    return f"{queued} frames wait, not all of them on the disk"


def _assess_spool(state: RecorderState) -> Component:
    spool = state.spool
    if spool.is_full:
        why = "spool full: what comes waits in memory, and receiving stops when that is full too"
        return Component("spool", "failed", why, spool.since_us)
    if spool.failure:
        return Component("spool", "failed", f"disk: {spool.failure}", spool.since_us)
    whys: list[str] = []
    if spool.bytes:
        sessions = "1 session" if spool.sessions == 1 else f"{spool.sessions} sessions"
        whys.append(f"{spool.bytes / 1e6:.1f} MB of {sessions} wait for the database")
    if spool.damaged_files:
        whys.append(f"{spool.damaged_files} damaged files were kept: see the log for which")
    if spool.refused_batches:
        whys.append(f"{spool.refused_batches} batches are refused and were set aside: see the log for which")
    if spool.keep_failure:
        whys.append(f"written batches are not kept for the rewrite window: {spool.keep_failure}")
    if whys:
        return Component("spool", "degraded", "; ".join(whys), spool.since_us)
    return Component("spool", "ok", "empty", spool.since_us)


def _assess_message_age(state: RecorderState) -> Component:
    whys = [
        f"messages of {session.feed_name} are getting older:"
        f" {_seconds(session.age_trend.age_us)} behind, {_seconds(session.age_trend.best_us)} at best"
        for session in _active(state)
        if session.age_trend.is_alarming
    ]
    if whys:
        return Component("message_age", "degraded", "; ".join(whys))
    return Component("message_age", "ok", "messages do not get older")


def _assess_clock(state: RecorderState, now_us: int) -> Component:
    ahead_us = max((session.age_trend.ahead_us for session in _active(state)), default=0)
    if ahead_us:
        why = f"the exchange's times are ahead of ours by {_seconds(ahead_us)}: check NTP"
        return Component("clock", "degraded", why)
    clock = state.wall_clock
    if clock.steps and abs(now_us - clock.last_step_us) < CLOCK_STEP_S * 1_000_000:
        why = f"the clock was set by {clock.last_size_us / 1e6:+.1f} s: check NTP"
        return Component("clock", "degraded", why, clock.last_step_us)
    return Component("clock", "ok", "goes evenly")


def is_lost_for_long(books: UnknownBooks, now_us: int) -> bool:
    """Whether books should have come back by now. A market that is over never gets its first snapshot."""
    if books.cause == Cause.NO_SNAPSHOT_YET:
        return False
    return books.since_us is None or now_us - books.since_us >= BOOKS_LOST_S_MAX * 1_000_000


def _assess_books(state: RecorderState, now_us: int) -> Component:
    lost = [books for books in unknown_books(state) if is_lost_for_long(books, now_us)]
    whys = [f"{len(books.tickers)} books are unknown: {books.cause}" for books in lost]
    times_us = [books.since_us for books in lost if books.since_us is not None]
    mismatches = recent_mismatches(state, now_us, MISMATCH_S)
    if mismatches:
        newest = mismatches[-1]
        whys.append(f"an audit found a wrong book: {newest.market_ticker}, {newest.first_difference}")
        times_us.append(mismatches[0].received_us)
    if whys:
        return Component("books", "degraded", "; ".join(whys), min(times_us, default=0))
    return Component("books", "ok", f"{state.exact_markets} of {len(state.tickers)} are exact")


def _active(state: RecorderState) -> list[SessionStats]:
    return [session for session in state.sessions if session.status == "active"]


def _seconds(age_us: int | None) -> str:
    return f"{(age_us or 0) / 1e6:.1f} s"


def _assess_partitions(state: RecorderState) -> Component:
    store = state.store
    if store.partitions_missing:
        until = f" after {store.partitions_until}" if store.partitions_until else ""
        return Component("partitions", "degraded", f"partitions are missing{until}: see the log for why")
    if store.clock_ahead_us:
        return Component("partitions", "degraded", _clock_difference(store.clock_ahead_us))
    if store.retention_hold:
        return Component("partitions", "degraded", f"retention is held up: {store.retention_hold}")
    if store.partitions_until is None:
        return Component("partitions", "ok", "not looked at yet")
    return Component("partitions", "ok", f"present until {store.partitions_until}")


def _clock_difference(ahead_us: int) -> str:
    side = "ahead of" if ahead_us > 0 else "behind"
    return (
        f"the recorder's clock is {abs(ahead_us) / 3.6e9:.1f} hours {side} the database's: retention drops"
        " nothing until the wrong clock is corrected"
    )


def _assess_event_loop(state: RecorderState) -> Component:
    lag_ms = state.loop_lag_ms
    if lag_ms > LOOP_LAG_MS_MAX:
        return Component("event_loop", "degraded", f"the last tick came {lag_ms:.0f} ms late")
    return Component("event_loop", "ok", "ticks come in time")
