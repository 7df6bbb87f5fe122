"""
The recorder's account of itself.

One `RecorderState` for the process. The supervisor writes `feeds`, each session's tasks write their own
`SessionStats`, the writers and the partition keeper write `store`; web and logs only read. Numbers are counts
since the process began or since the session began, never estimates; times are microseconds since 1970 UTC.
"""

from collections import deque
from enum import Enum
from uuid import UUID

from attrs import define, evolve, field, frozen

from collector.clock import WallClock
from collector.errors import StoreError, StoreRejected
from collector.facts import AuditFact, FeedTracker, FrameBatch, FrameCounts, GapFact, MarketState, RejectFact
from collector.observe._latency import SLOT_TICKS, AgeTrend, MessageAges, TrendChange, quantile_us, sum_counts
from collector.observe._series import SeriesRing, SeriesTotals

SESSIONS_KEPT = 100
"""Sessions that stay visible. One that is not safe in the database yet stays in any case."""
RECENT_EVENTS_KEPT = 50
REJECT_TEXT_KEPT = 1000
RATE_WINDOW_S = 10
CLOCK_STEP_US_MAX = 500_000
"""By how much the wall clock may part from the monotonic one in a second; NTP that slews stays far below."""


class FeedPhase(Enum):
    """Where one connection to the exchange stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    BACKING_OFF = "backing_off"
    REFUSED = "refused"
    WAITING_FOR_STORE = "waiting_for_store"
    STOPPED = "stopped"


class StorePhase(Enum):
    """Whether PostgreSQL takes what is written."""

    STARTING = "starting"
    AVAILABLE = "available"
    AWAY = "away"


@define(eq=False)
class FeedStatus:
    """One connection slot: the markets that it is for, and how it fares. Written by the supervisor."""

    name: str
    market_tickers: tuple[str, ...]
    phase: FeedPhase = FeedPhase.CONNECTING
    since_us: int = 0
    reason: str = ""
    attempts: int = 0
    connections: int = 0
    ever_connected: bool = False


@define(eq=False)
class DiscoveryStatus:
    """
    What is found of the exchange's markets, where it is not told by the settings. Written by the discovery.

    `reason` says why the last look failed, and is empty when it did not; `last_us` is when one succeeded, 0
    before the first.
    """

    is_on: bool = False
    open_markets: int = 0
    followed: int = 0
    last_us: int = 0
    reason: str = ""


@define(eq=False)
class StoreStatus:
    """PostgreSQL, as the writers and the partition keeper see it."""

    phase: StorePhase = StorePhase.STARTING
    since_us: int = 0
    reason: str = "not connected yet"
    partitions_until: str | None = None
    partitions_missing: bool = False
    clock_ahead_us: int = 0
    """How far the recorder's clock is ahead of the database's, where they differ by more than an hour."""
    retention_hold: str = ""
    """Why retention drops nothing though something is old enough; empty while it is as it should be."""
    write_failures: int = 0
    is_refusing: bool = False
    """Whether it answers, and refuses what is written: that does not pass without somebody's help."""
    database: str = ""
    """Which one it is, as the newest connection of a writer has found."""
    repeated_batches: int = 0
    """Batches that were written again after the database had lost some."""
    losses: int = 0
    """How often batches that it had confirmed, or refused, turned out to be lost."""
    chain_head: str = ""
    """The newest hash of the database's chain that is known, in hexadecimal."""

    def turn(self, phase: StorePhase, now_us: int, reason: str = "") -> bool:
        """Note how it is, and tell whether the phase is another; the time of an unchanged one stays."""
        is_other = phase is not self.phase
        if is_other:
            self.phase = phase
            self.since_us = now_us
        self.reason = reason
        self.is_refusing = self.is_refusing and phase is StorePhase.AWAY
        return is_other

    def note_failure(self, now_us: int, failure: Exception) -> bool:
        """Note that a write failed. Returns whether that is news."""
        # No answer in time says nothing about a refusal that is known.
        is_refusing = isinstance(failure, StoreRejected) or (
            self.is_refusing and not isinstance(failure, StoreError)
        )
        is_other = self.note_away(now_us, str(failure)) or is_refusing != self.is_refusing
        self.is_refusing = is_refusing
        return is_other

    def note_away(self, now_us: int, reason: str) -> bool:
        """Note that it was not reached, and tell whether that is news. A known reason outlives none."""
        known = self.reason if self.phase is StorePhase.AWAY else ""
        return self.turn(StorePhase.AWAY, now_us, reason or known or "no answer in time")


@define(eq=False)
class SpoolStatus:
    """
    What waits on disk for PostgreSQL. Written by the spool.

    `bytes` and `sessions` are what waits now, `records` what of this process; `kept_bytes` is what was
    written to the database and may have to be written again. The others count since it began. `failure` is
    the disk's reason for not taking what it should take, `keep_failure` the reason why written batches are
    not kept. `since_us` is when the first second passed in which anything waited or failed, 0 while nothing
    does.
    """

    bytes: int = 0
    bytes_max: int = 0
    kept_bytes: int = 0
    records: int = 0
    sessions: int = 0
    torn_records: int = 0
    damaged_files: int = 0
    refused_batches: int = 0
    drained_records: int = 0
    is_full: bool = False
    failure: str = ""
    keep_failure: str = ""
    since_us: int = 0

    def note_tick(self, now_us: int) -> None:
        """See whether the spool is in use."""
        needs_care = self.is_full or self.failure or self.keep_failure or self.damaged_files
        is_in_use = bool(self.bytes or needs_care or self.refused_batches)
        self.since_us = (self.since_us or now_us) if is_in_use else 0


@define(eq=False)
class SessionStats:
    """One session's numbers. What the ledger holds of it is `written`, `batches` and `rows_written`."""

    key: UUID
    feed_name: str
    tracker: FeedTracker
    started_us: int
    session_id: int | None = None
    ended_us: int | None = None
    status: str = "active"
    end_reason: str | None = None
    close_code: int | None = None
    received: FrameCounts = field(factory=FrameCounts)
    written: FrameCounts = field(factory=FrameCounts)
    batches: int = 0
    rows_written: int = 0
    gaps: int = 0
    audits: int = 0
    audit_mismatches: int = 0
    unanswered_audits: int = 0
    queued_frames: int = 0
    """Frames that are not in the database yet, in memory and on the disk."""
    spooled_frames: int = 0
    """Those of them that are on the disk."""
    last_message_us: int | None = None
    write_ms_last: float | None = None
    write_ms_max: float | None = None
    ages: MessageAges = field(factory=MessageAges)
    age_trend: AgeTrend = field(factory=AgeTrend)
    is_safe: bool = False
    """Whether the session has ended and everything of it is in the database."""
    is_spooled: bool = False
    """Whether it has ended and everything of it is at least on the disk."""

    @property
    def memory_frames(self) -> int:
        """Frames that are in memory alone."""
        return max(0, self.queued_frames - self.spooled_frames)

    @property
    def is_kept(self) -> bool:
        """Whether nothing of it can get lost any more."""
        return self.is_safe or self.is_spooled

    def note_batch(self, batch: FrameBatch, now_us: int) -> None:
        """Count what has been received, and folded just now."""
        self.received = self.received + batch.counts
        self.last_message_us = batch.frames[-1].received_us
        for fact in batch.facts:
            if isinstance(fact, GapFact):
                self.gaps += 1
            elif isinstance(fact, AuditFact):
                self.audits += 1
                self.audit_mismatches += not fact.is_match
        self.age_trend.note(self.ages.note_folded(batch, now_us))


@define(eq=False)
class ClockStatus:
    """
    Whether the wall clock goes evenly: what sets it shows beside the monotonic clock. Written by the tick.

    `last_step_us` is when it was last set, by the new time, and `last_size_us` by how much, with a sign.
    """

    steps: int = 0
    last_step_us: int = 0
    last_size_us: int = 0
    _seen: tuple[int, float] | None = field(default=None, init=False)

    def note(self, now_us: int, monotonic_s: float) -> int:
        """Compare the clocks' advance since the last call; by how many microseconds it was set, else 0."""
        seen, self._seen = self._seen, (now_us, monotonic_s)
        if seen is None:
            return 0
        size_us = now_us - seen[0] - round((monotonic_s - seen[1]) * 1_000_000)
        if abs(size_us) <= CLOCK_STEP_US_MAX:
            return 0
        self.steps += 1
        self.last_step_us, self.last_size_us = now_us, size_us
        return size_us


@frozen
class AgeSum:
    """One of the ages over all sessions: counts by bucket, of all time and of the last minute."""

    counts: list[int]
    recent: list[int]
    sum_us: int
    ahead: int

    def recent_ms(self, share: float) -> float | None:
        """A quantile of the last minute in milliseconds; None when there were no messages."""
        return as_ms(quantile_us(self.recent, share))


def as_ms(age_us: float | None) -> float | None:
    """Microseconds as rounded milliseconds."""
    return None if age_us is None else round(age_us / 1000, 3)


@define(eq=False)
class RecorderState:
    """All that there is to know about the running service."""

    clock: WallClock
    environment: str
    code_version: str
    sample_rate: int
    market_tickers: tuple[str, ...]
    started_us: int
    memory_frames_max: int = 0
    """So many frames may wait in memory alone; then receiving stops."""
    is_simulated: bool = False
    """Whether any connection was one to our simulator. Written by the sessions."""
    store: StoreStatus = field(factory=StoreStatus)
    spool: SpoolStatus = field(factory=SpoolStatus)
    discovery: DiscoveryStatus = field(factory=DiscoveryStatus)
    wall_clock: ClockStatus = field(factory=ClockStatus)
    feeds: list[FeedStatus] = field(factory=list[FeedStatus])
    sessions: list[SessionStats] = field(factory=list[SessionStats])
    received: FrameCounts = field(factory=FrameCounts)
    gaps: int = 0
    audits: int = 0
    audit_mismatches: int = 0
    rows_written: int = 0
    stopping: bool = False
    loop_lag_ms: float = 0.0
    """By how much the last second's tick was late: what the event loop was busy with. Written by the web."""
    recent_gaps: deque[GapFact] = field(factory=lambda: deque[GapFact](maxlen=RECENT_EVENTS_KEPT))
    recent_rejects: deque[RejectFact] = field(factory=lambda: deque[RejectFact](maxlen=RECENT_EVENTS_KEPT))
    recent_audits: deque[AuditFact] = field(factory=lambda: deque[AuditFact](maxlen=RECENT_EVENTS_KEPT))
    recent_mismatches: deque[AuditFact] = field(factory=lambda: deque[AuditFact](maxlen=RECENT_EVENTS_KEPT))
    """Those audits that found a difference: audits that match don't push them out."""
    series: SeriesRing = field(factory=SeriesRing)
    _frames_by_tick: deque[int] = field(factory=lambda: deque[int](maxlen=RATE_WINDOW_S + 1))
    _ticks: int = field(default=0, init=False)
    # Of sessions that are no longer listed: what Prometheus reads must never become less.
    _forgotten_ages: MessageAges = field(factory=MessageAges, init=False, repr=False)

    def add_session(self, session: SessionStats) -> None:
        """Let a session be seen, and forget old ones of which everything is in the database."""
        self.sessions.append(session)
        safe = [old for old in self.sessions if old.is_safe]
        for old in safe[: max(0, len(self.sessions) - SESSIONS_KEPT)]:
            self.sessions.remove(old)
            self._forgotten_ages.add(old.ages)

    def note_batch(self, session: SessionStats, batch: FrameBatch) -> None:
        """Count a batch for the process and for its session."""
        session.note_batch(batch, self.clock())
        self.received = self.received + batch.counts
        for fact in batch.facts:
            if isinstance(fact, GapFact):
                self.gaps += 1
                self.recent_gaps.append(fact)
            elif isinstance(fact, AuditFact):
                self.audits += 1
                self.recent_audits.append(fact)
                if not fact.is_match:
                    self.audit_mismatches += 1
                    self.recent_mismatches.append(fact)
            elif isinstance(fact, RejectFact):
                self.recent_rejects.append(evolve(fact, text=fact.text[:REJECT_TEXT_KEPT]))

    def note_tick(self) -> None:
        """Take the sample that the message rate is made of, and let ages become old; once a second."""
        self._frames_by_tick.append(self.received.total)
        self.spool.note_tick(self.clock())
        self._ticks += 1
        if self._ticks % SLOT_TICKS == 0:
            for session in self.sessions:
                session.ages.rotate()

    def note_series(self, monotonic_s: float) -> None:
        """Take the sample that charts are made of; once a second, by a clock that is never set."""
        counts: dict[str, list[int]] = {}
        for name in ("receive_to_commit", "exchange_to_receive"):
            listed = [session.ages.by_name[name].all() for session in self.sessions]
            counts[name] = sum_counts([self._forgotten_ages.by_name[name].all(), *listed])
        totals = SeriesTotals(self.received.total, counts["receive_to_commit"], counts["exchange_to_receive"])
        self.series.note(monotonic_s, self.clock(), totals, self.exact_markets)

    def note_clock(self, monotonic_s: float) -> int:
        """Look whether the wall clock was set, and by how many microseconds; ages begin anew then."""
        size_us = self.wall_clock.note(self.clock(), monotonic_s)
        if size_us:
            for session in self.sessions:
                session.age_trend.reset()
        return size_us

    def note_trends(self, monotonic_s: float) -> list[tuple[SessionStats, TrendChange]]:
        """Let the sessions' trends go on, and tell whose alarm has begun or ended."""
        changes: list[tuple[SessionStats, TrendChange]] = []
        for session in self.sessions:
            if session.status == "active":
                change = session.age_trend.tick(monotonic_s)
                if change is not None:
                    changes.append((session, change))
            elif session.age_trend.is_alarming:
                session.age_trend.reset()
                changes.append((session, "ended"))
        return changes

    def age_sums(self) -> dict[str, AgeSum]:
        """The ages of all messages of the process, by name."""
        sums: dict[str, AgeSum] = {}
        for name, forgotten in self._forgotten_ages.by_name.items():
            listed = [session.ages.by_name[name] for session in self.sessions]
            histograms = [forgotten, *listed]
            sums[name] = AgeSum(
                counts=sum_counts(histogram.all() for histogram in histograms),
                recent=sum_counts(histogram.recent() for histogram in listed),
                sum_us=sum(histogram.sum_us for histogram in histograms),
                ahead=sum(histogram.ahead for histogram in histograms),
            )
        return sums

    @property
    def messages_per_second(self) -> float:
        """The mean over the last ten seconds."""
        if len(self._frames_by_tick) < 2:
            return 0.0
        return (self._frames_by_tick[-1] - self._frames_by_tick[0]) / (len(self._frames_by_tick) - 1)

    @property
    def exact_markets(self) -> int:
        """How many markets have an exact book in an active session."""
        return sum(session.tracker.exact_count() for session in self.sessions if session.status == "active")

    @property
    def current_session(self) -> SessionStats | None:
        """The newest session that is active, else the newest."""
        active = [session for session in self.sessions if session.status == "active"]
        if active:
            return active[-1]
        return self.sessions[-1] if self.sessions else None

    @property
    def followed_tickers(self) -> tuple[str, ...]:
        """Every market that is to be recorded now."""
        followed = (ticker for feed in self.feeds for ticker in feed.market_tickers)
        return tuple(dict.fromkeys((*self.market_tickers, *followed)))

    @property
    def tickers(self) -> tuple[str, ...]:
        """Every market that the service is for or has seen, in a stable order."""
        tickers = dict.fromkeys(self.followed_tickers)
        for session in self.sessions:
            tickers.update(dict.fromkeys(session.tracker.markets))
        return tuple(tickers)

    def forget_books(self, feed_name: str) -> None:
        """Let go of the books of a feed's ended sessions, which a new session is about to replace."""
        for session in self.sessions:
            if session.feed_name == feed_name and session.status != "active":
                session.tracker = FeedTracker({})

    def market(self, ticker: str) -> MarketState | None:
        """The newest book of a market, or None; whether its session still lives is told by `is_live`."""
        for session in reversed(self.sessions):
            market = session.tracker.markets.get(ticker)
            if market is not None and (market.snapshots or market.deltas):
                return market
        return None

    def is_live(self, ticker: str) -> bool:
        """Whether a session that is active follows this market."""
        return any(
            session.status == "active" and ticker in session.tracker.markets for session in self.sessions
        )
