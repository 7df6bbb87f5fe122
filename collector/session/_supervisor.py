"""
Keeps connections up: which markets on which connection, and when to try again.

One task for each connection slot. Within a slot, sessions follow each other; a past one may still be writing
when the next one is receiving. One kind of error is answered here, FeedError; anything else ends the process.
"""

from functools import partial
from typing import Final

import trio
from attrs import define, field

from collector.errors import FeedError, FeedLost, FeedRefused, MarketLimitExceeded
from collector.observe import FeedPhase, FeedStatus, SessionStats, get_logger
from collector.retry import Backoff, retry
from collector.session._backlog import FRAMES_MAX, BacklogFull
from collector.session._session import FeedEnd, Follow, SessionContext, run_session

BACKOFF_FIRST_S: Final = 0.5
BACKOFF_S_MAX: Final = 10.0
STABLE_S: Final = 60.0
"""Seconds after which a connection counts as stable: its loss resets the backoff."""
REFUSED_S: Final = 60.0
"""Seconds between attempts after a refusal. A person has to act, and frequent attempts may be penalized."""
STORE_POLL_S: Final = 0.1
MARKETS_MAX: Final = 1000
"""Maximum number of markets on one connection. The exchange accepted 5,000 in one subscription."""

Tickers = tuple[str, ...]

_log = get_logger("supervisor")


async def run_supervisor(
    context: SessionContext, tickers: Tickers, changes: trio.MemoryReceiveChannel[Tickers] | None = None
) -> None:
    """
    Record these markets until the service stops; returns when every session's last row is kept.

    Each of the `changes` is the whole set of markets to record from then on. Does not wait for the database:
    what comes before it is there waits in the spool.
    """
    async with trio.open_nursery() as nursery:
        slots = _Slots(context, nursery)
        slots.follow(tickers)
        if changes is not None:
            await _follow_changes(slots, changes, context.stopping)


async def _follow_changes(
    slots: "_Slots", changes: trio.MemoryReceiveChannel[Tickers], stopping: trio.Event
) -> None:
    async def listen() -> None:
        # The channel stays open: closing it would raise BrokenResourceError in the sender during a stop.
        async for tickers in changes:
            slots.follow(tickers)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, name="changes")
        await stopping.wait()
        nursery.cancel_scope.cancel(reason="the service stops")


@define(eq=False)
class _Slots:
    """The connection slots; grows when the exchange takes fewer markets on one connection."""

    context: SessionContext
    nursery: trio.Nursery
    _count: int = field(default=0, init=False)
    _markets_max: int = field(default=MARKETS_MAX, init=False)
    _followers: dict[str, Follow] = field(factory=dict[str, Follow], init=False)

    def follow(self, wanted: Tickers) -> None:
        """
        Record these markets from now on, and no others.

        A market stays on its connection; new ones go to connections that have room, and then to new ones.
        """
        taken = {ticker for feed in self._feeds for ticker in feed.market_tickers}
        free = [ticker for ticker in wanted if ticker not in taken]
        kept = frozenset(wanted)
        # Connected ones first: a slot that is refused records nothing.
        for feed in sorted(self._feeds, key=lambda feed: feed.phase is not FeedPhase.CONNECTED):
            tickers = tuple(ticker for ticker in feed.market_tickers if ticker in kept)
            room = max(0, self._markets_max - len(tickers))
            self._turn_to(feed, tickers + tuple(free[:room]))
            free = free[room:]
        for first in range(0, len(free), self._markets_max):
            self._add(tuple(free[first : first + self._markets_max]))

    @property
    def _feeds(self) -> list[FeedStatus]:
        return self.context.state.feeds

    def _turn_to(self, feed: FeedStatus, tickers: Tickers) -> None:
        if tickers != feed.market_tickers:
            feed.market_tickers = tickers
            if feed.name in self._followers:
                self._followers[feed.name](tickers)

    def _add(self, tickers: Tickers) -> None:
        self._count += 1
        feed = FeedStatus(f"feed-{self._count}", tickers, since_us=self.context.clock())
        self._feeds.append(feed)
        self.nursery.start_soon(self._keep_connected, feed, name=feed.name)

    def _split(self, feed: FeedStatus) -> None:
        """Give half of a slot's markets to a slot of their own (error 26)."""
        half = len(feed.market_tickers) // 2
        self._markets_max = max(1, min(self._markets_max, half))
        moved = feed.market_tickers[half:]
        self._turn_to(feed, feed.market_tickers[:half])
        _log.warning("markets_split", feed=feed.name, kept=half, moved=len(moved))
        self._add(moved)

    async def _keep_connected(self, feed: FeedStatus) -> None:
        context = self.context
        backoff = Backoff(context.rng, BACKOFF_FIRST_S, BACKOFF_S_MAX)
        async with trio.open_nursery() as sessions:
            await retry(
                partial(self._connect_once, feed, sessions, backoff),
                FeedError,
                partial(self._answer, feed, backoff),
            )
            if not context.stopping.is_set():
                # All its markets have left. At once, so that no other one is given to it.
                self._feeds.remove(feed)
                self._followers.pop(feed.name, None)
        if not feed.market_tickers:
            context.state.forget_books(feed.name)
        self._turn(feed, FeedPhase.STOPPED, "the service stops")

    async def _connect_once(self, feed: FeedStatus, sessions: trio.Nursery, backoff: Backoff) -> None:
        """
        Run one session until its connection ends. Returns when no further one is wanted.

        Raises the FeedError that ended the connection.
        """
        if feed.market_tickers:
            await self._wait_for_store(feed)
        if not feed.market_tickers or self.context.stopping.is_set():
            return
        began_s = trio.current_time()
        error = await self._run_connection(feed, sessions)
        if error is None:
            return
        if trio.current_time() - began_s >= STABLE_S:
            backoff.reset()
        raise error

    async def _answer(self, feed: FeedStatus, backoff: Backoff, error: Exception) -> None:
        """Wait, or split the markets, before the next connection."""
        assert isinstance(error, FeedError)
        if isinstance(error, MarketLimitExceeded) and len(feed.market_tickers) > 1:
            self._split(feed)
        else:
            await self._pause(feed, error, backoff.next_delay_s())

    async def _run_connection(self, feed: FeedStatus, sessions: trio.Nursery) -> FeedError | None:
        """
        Run one session until its connection ends. Returns the reason; None when the service stops.
        """
        if feed.phase is not FeedPhase.REFUSED:
            self._turn(feed, FeedPhase.CONNECTING, feed.reason)
        feed.attempts += 1
        end = FeedEnd()

        def on_connected(stats: SessionStats, follow: Follow) -> None:
            self._followers[feed.name] = follow
            feed.attempts = 0
            feed.connections += 1
            feed.ever_connected = True
            self._turn(feed, FeedPhase.CONNECTED, "")
            _log.info("connected", feed=feed.name, markets=len(feed.market_tickers), session=str(stats.key))

        sessions.start_soon(run_session, self.context, feed, end, on_connected, name=f"session:{feed.name}")
        return await end.wait()

    async def _wait_for_store(self, feed: FeedStatus) -> None:
        """Wait while there is nowhere to put what would be received."""
        context = self.context
        while self._is_backlog_high() and not context.stopping.is_set():
            self._turn(feed, FeedPhase.WAITING_FOR_STORE, context.store_trouble)
            with trio.move_on_after(STORE_POLL_S):
                await context.stopping.wait()

    def _is_backlog_high(self) -> bool:
        return self.context.waiting_frames > FRAMES_MAX // 2

    async def _pause(self, feed: FeedStatus, error: FeedError, delay_s: float) -> None:
        if isinstance(error, BacklogFull):
            return
        if isinstance(error, FeedRefused):
            delay_s = REFUSED_S * (0.75 + delay_s / BACKOFF_S_MAX / 2)
            self._turn(feed, FeedPhase.REFUSED, str(error))
        else:
            if isinstance(error, FeedLost):
                delay_s = max(delay_s, error.retry_after_s)
            self._turn(feed, FeedPhase.BACKING_OFF, str(error))
        _log.warning("feed_down", feed=feed.name, reason=str(error), retry_s=round(delay_s, 1))
        with trio.move_on_after(delay_s):
            await self.context.stopping.wait()

    def _turn(self, feed: FeedStatus, phase: FeedPhase, reason: str) -> None:
        """Set phase and reason. `since_us` changes when the feed connects, disconnects or stops."""
        was_up = feed.phase is FeedPhase.CONNECTED
        is_up = phase is FeedPhase.CONNECTED
        if was_up != is_up or phase is FeedPhase.STOPPED:
            feed.since_us = self.context.clock()
        feed.phase = phase
        feed.reason = reason
