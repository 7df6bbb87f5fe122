"""
The recorder's account of itself.

One `RecorderState` for the process. The supervisor writes `feeds`, each session's tasks write their own
`SessionStats`, the writers and the partition keeper write `store`; web and logs only read. Numbers are counts
since the process began or since the session began, never estimates; times are microseconds since 1970 UTC.
"""

from collections import deque
from enum import Enum
from uuid import UUID

from attrs import define, evolve, field

from collector.clock import WallClock
from collector.protocol.facts import FrameBatch, FrameCounts, GapFact, RejectFact
from collector.protocol.tracker import FeedTracker, MarketState

SESSIONS_KEPT = 100
"""Sessions that stay visible. One that is not safe in the database yet stays in any case."""
RECENT_EVENTS_KEPT = 50
REJECT_TEXT_KEPT = 1000
RATE_WINDOW_S = 10


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
class StoreStatus:
    """PostgreSQL, as the writers and the partition keeper see it."""

    phase: StorePhase = StorePhase.STARTING
    since_us: int = 0
    reason: str = "not connected yet"
    partitions_until: str | None = None
    partitions_missing: bool = False
    write_failures: int = 0

    def turn(self, phase: StorePhase, now_us: int, reason: str = "") -> None:
        """Note a change; the time of an unchanged phase stays."""
        if phase is not self.phase:
            self.phase = phase
            self.since_us = now_us
        self.reason = reason


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
    queued_frames: int = 0
    last_message_us: int | None = None
    write_ms_last: float | None = None
    write_ms_max: float | None = None
    is_safe: bool = False
    """Whether the session has ended and everything of it is in the database."""

    def note_batch(self, batch: FrameBatch) -> None:
        """Count what has been received and folded."""
        self.received = self.received + batch.counts
        self.last_message_us = batch.frames[-1].received_us
        self.gaps += sum(isinstance(fact, GapFact) for fact in batch.facts)


@define(eq=False)
class RecorderState:
    """All that there is to know about the running service."""

    clock: WallClock
    environment: str
    code_version: str
    is_simulated: bool
    sample_rate: int
    market_tickers: tuple[str, ...]
    started_us: int
    store: StoreStatus = field(factory=StoreStatus)
    feeds: list[FeedStatus] = field(factory=list[FeedStatus])
    sessions: list[SessionStats] = field(factory=list[SessionStats])
    received: FrameCounts = field(factory=FrameCounts)
    gaps: int = 0
    rows_written: int = 0
    stopping: bool = False
    loop_lag_ms: float = 0.0
    """By how much the last second's tick was late: what the event loop was busy with. Written by the web."""
    recent_gaps: deque[GapFact] = field(factory=lambda: deque[GapFact](maxlen=RECENT_EVENTS_KEPT))
    recent_rejects: deque[RejectFact] = field(factory=lambda: deque[RejectFact](maxlen=RECENT_EVENTS_KEPT))
    _frames_by_tick: deque[int] = field(factory=lambda: deque[int](maxlen=RATE_WINDOW_S + 1))

    def add_session(self, session: SessionStats) -> None:
        """Let a session be seen, and forget old ones of which everything is in the database."""
        self.sessions.append(session)
        safe = [old for old in self.sessions if old.is_safe]
        for old in safe[: max(0, len(self.sessions) - SESSIONS_KEPT)]:
            self.sessions.remove(old)

    def note_batch(self, session: SessionStats, batch: FrameBatch) -> None:
        """Count a batch for the process and for its session."""
        session.note_batch(batch)
        self.received = self.received + batch.counts
        for fact in batch.facts:
            if isinstance(fact, GapFact):
                self.gaps += 1
                self.recent_gaps.append(fact)
            elif isinstance(fact, RejectFact):
                self.recent_rejects.append(evolve(fact, text=fact.text[:REJECT_TEXT_KEPT]))

    def note_tick(self) -> None:
        """Take the sample that the message rate is made of; called once a second."""
        self._frames_by_tick.append(self.received.total)

    @property
    def messages_per_second(self) -> float:
        """The mean over the last ten seconds."""
        if len(self._frames_by_tick) < 2:
            return 0.0
        return (self._frames_by_tick[-1] - self._frames_by_tick[0]) / (len(self._frames_by_tick) - 1)

    @property
    def current_session(self) -> SessionStats | None:
        """The newest session that is active, else the newest."""
        active = [session for session in self.sessions if session.status == "active"]
        if active:
            return active[-1]
        return self.sessions[-1] if self.sessions else None

    @property
    def tickers(self) -> tuple[str, ...]:
        """Every market that the service is for or has seen, in a stable order."""
        tickers = dict.fromkeys(self.market_tickers)
        for feed in self.feeds:
            tickers.update(dict.fromkeys(feed.market_tickers))
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
