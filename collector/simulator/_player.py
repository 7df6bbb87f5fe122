"""
Playing: which frame comes next, and when it goes out.

A source is a cursor over a copy of a tape or over the generated flow. The messages of one action of the
exchange are sent without a pause, so that no snapshot shows half of it. There are two paces. By the clock:
one task for all sources sends what is due, whether anybody listens or not. As fast as it is taken: one task
for each source sends in batches, waits for room in every connection that follows it, and stands still while
nobody does, so that nothing is lost across a reconnection.
"""

import abc
import heapq
import itertools
import math

import attrs
import trio

from collector.clock import WallClock
from collector.simulator._books import Depth, LevelChange
from collector.simulator._exchange_clock import ExchangeClock, with_clock
from collector.simulator._faults import Faults
from collector.simulator._flow import Flow, FlowEvent, render_event
from collector.simulator._markets import Audience, Floor, Market, Opening, Published
from collector.simulator._tape import Tape, TapeFrame, TapeMarket, copy_msg, copy_ticker

# A batch of this many frames is built in about a millisecond.
BATCH_FRAMES = 256
# By the clock, frames may be late by this much; it bounds how often the player wakes.
TICK_S = 0.002
NANOSECONDS = 1_000_000_000
# The close code of a server that goes away.
GOING_AWAY = 1001


class Source(abc.ABC):
    """Where frames come from. Invariant: `due_ns` is the offset of the action that `take` gives next."""

    def __init__(self) -> None:
        self.audience = Audience()
        self.finished = trio.Event()
        self.due_ns: int | None = None
        self.markets: tuple[Market, ...] = ()
        # By Trio's clock; None before anybody listened.
        self.started_s: float | None = None

    @abc.abstractmethod
    def take(self) -> tuple[Published, ...]:
        """Return the messages of the next action, as they are to be sent now, and move on."""

    def cut_is_next(self) -> bool:
        """Say once that the recorded connection had ended before the next frame."""
        return False


class TapeSource(Source):
    """
    One copy of a tape.

    Without an exchange clock every `msg` keeps its recorded bytes. With one, book messages that were recorded
    without `clock` get one.
    """

    def __init__(
        self, tape: Tape, copy: int, delay_ns: int, exchange_clock: ExchangeClock | None = None
    ) -> None:
        super().__init__()
        self._exchange_clock = exchange_clock
        self._tape = tape
        self._copy = copy
        self._delay_ns = delay_ns
        self._cursor = 0
        self._cut_told = 0
        self._opening_indexes = {
            market.opening_index for market in tape.markets if market.opening_index is not None
        }
        self._last_opening = self._count_first_snapshots()
        self._by_ticker = {noted.ticker: self._open_market(noted) for noted in tape.markets}
        self.markets = tuple(self._by_ticker.values())
        self._aim()

    def _count_first_snapshots(self) -> int:
        """Return how many snapshots the tape begins with: they are not delayed."""
        frames = self._tape.frames
        return next((n for n, f in enumerate(frames) if f.kind != "orderbook_snapshot"), len(frames))

    def _open_market(self, noted: TapeMarket) -> Market:
        market = Market(
            ticker=copy_ticker(noted.ticker, self._copy),
            market_id=noted.market_id,
            tick_e4=noted.tick_e4,
            volume_e2=noted.volume_e2,
            audience=self.audience,
        )
        if noted.has_clock or self._exchange_clock is not None:
            market.clock = 0
        if noted.opening_index is not None:
            frame = self._tape.frames[noted.opening_index]
            assert isinstance(frame.effect, Depth)
            clock = self._clock_of(frame, market)
            market.opening = Opening(self._write(frame, clock), frame.effect, clock)
        return market

    def _aim(self) -> None:
        if self._cursor >= len(self._tape.frames):
            self.due_ns = None
            return
        delay_ns = 0 if self._cursor < self._last_opening else self._delay_ns
        self.due_ns = self._tape.frames[self._cursor].offset_ns + delay_ns

    def take(self) -> tuple[Published, ...]:
        """Return the next recorded frame with its bytes as they were recorded."""
        frame = self._tape.frames[self._cursor]
        opens = self._cursor in self._opening_indexes
        self._cursor += 1
        self._aim()
        clock = self._clock_of(frame, self._by_ticker.get(frame.ticker))
        published = Published(
            kind=frame.kind,
            ticker=copy_ticker(frame.ticker, self._copy) if frame.ticker else "",
            msg=self._write(frame, clock),
            effect=frame.effect,
            opens=opens,
            clock=clock,
        )
        return (published,)

    def _write(self, frame: TapeFrame, clock: int | None) -> bytes:
        msg = copy_msg(frame.msg, frame.ticker, self._copy)
        return msg if clock is None or frame.clock is not None else with_clock(msg, clock)

    def _clock_of(self, frame: TapeFrame, market: Market | None) -> int | None:
        """Return the recorded clock, or that of the exchange clock for a frame that has none."""
        if self._exchange_clock is None or frame.clock is not None or frame.effect is None or market is None:
            return frame.clock
        # A snapshot that clears the book, as at the close, comes without a change. Any other snapshot that
        # differs from the book includes changes that the tape lacks.
        if isinstance(frame.effect, Depth) and frame.effect in (Depth(), market.book.depth()):
            return market.clock
        return self._exchange_clock.advance()

    def cut_is_next(self) -> bool:
        """Say once that the recorded connection had ended before the next frame."""
        if self._cursor not in self._tape.cuts or self._cut_told == self._cursor:
            return False
        self._cut_told = self._cursor
        return True


class FlowSource(Source):
    """The generated flow over all its markets. Without an exchange clock its messages have no `clock`."""

    def __init__(self, flow: Flow, clock: WallClock, exchange_clock: ExchangeClock | None = None) -> None:
        super().__init__()
        self._clock = clock
        self._exchange_clock = exchange_clock
        self._events = flow.events()
        self._next: FlowEvent | None = None
        self.markets = tuple(
            Market(
                ticker=market.ticker,
                market_id=market.market_id,
                tick_e4=market.tick_e4,
                volume_e2=market.volume_e2,
                audience=self.audience,
            )
            for market in flow.markets
        )
        for market, origin in zip(self.markets, flow.markets, strict=True):
            market.book.replace(origin.book.depth())
            # The orders in the book came with actions before the flow.
            market.clock = self._next_clock()
        self._aim()

    def _next_clock(self) -> int | None:
        return None if self._exchange_clock is None else self._exchange_clock.advance()

    def _aim(self) -> None:
        self._next = next(self._events, None)
        self.due_ns = None if self._next is None else self._next.offset_ns

    def take(self) -> tuple[Published, ...]:
        """Write the messages of the next generated action with the time of now."""
        wall_us, clock = self._clock(), self._next_clock()
        return tuple(self._write(event, wall_us, clock) for event in self._take_action())

    def _take_action(self) -> list[FlowEvent]:
        events: list[FlowEvent] = []
        while self._next is not None and (not events or self._next.same_action):
            events.append(self._next)
            self._aim()
        return events

    def _write(self, event: FlowEvent, wall_us: int, clock: int | None) -> Published:
        effect = event.content if isinstance(event.content, LevelChange) else None
        return Published(
            kind=event.kind,
            ticker=event.ticker,
            msg=render_event(event, wall_us, clock),
            effect=effect,
            clock=None if effect is None else clock,
        )


@attrs.define(eq=False)
class Player:
    """Plays all sources on one floor. Owned by the server; `on_audience` is called from the floor."""

    sources: tuple[Source, ...]
    faults: Faults
    # A client's several subscribe commands belong together: play begins when none has come for this long.
    settle_s: float
    _by_audience: dict[Audience, Source] = attrs.field(init=False)
    _changed: trio.Event = attrs.Factory(trio.Event)
    _fresh: list[Source] = attrs.Factory(list[Source])

    def __attrs_post_init__(self) -> None:
        self._by_audience = {source.audience: source for source in self.sources}

    def on_audience(self, audience: Audience) -> None:
        """Wake whoever waits for listeners; a source that is followed for the first time starts."""
        source = self._by_audience[audience]
        if source.started_s is None:
            source.started_s = trio.current_time()
            self._fresh.append(source)
        self._changed.set()
        self._changed = trio.Event()

    async def wait_finished(self) -> None:
        """Wait until every source is at its end."""
        for source in self.sources:
            await source.finished.wait()

    # By the clock.

    async def play_by_clock(self, floor: Floor, speed: float) -> None:
        """Send every frame when it is due, `speed` times as fast as recorded."""
        numbers = itertools.count()
        agenda: list[tuple[float, int, Source]] = []

        def plan(source: Source) -> None:
            if source.due_ns is None:
                self._finish(floor, source)
                return
            assert source.started_s is not None
            due_s = source.started_s + source.due_ns / NANOSECONDS / speed
            heapq.heappush(agenda, (due_s, next(numbers), source))

        while True:
            while self._fresh:
                plan(self._fresh.pop())
            now_s = trio.current_time()
            sent = 0
            while agenda and agenda[0][0] <= now_s and sent < BATCH_FRAMES:
                source = heapq.heappop(agenda)[2]
                sent += self._send_next(floor, source)
                plan(source)
            if sent >= BATCH_FRAMES:
                await trio.lowlevel.checkpoint()
                continue
            until_s = max(agenda[0][0], now_s + TICK_S) if agenda else math.inf
            if self._fresh:
                continue
            with trio.move_on_at(until_s):
                await self._changed.wait()

    def _send_next(self, floor: Floor, source: Source) -> int:
        """Send the messages of one action, and return their number."""
        if source.cut_is_next():
            self._end_connections(floor, source)
        return self._publish(floor, source)

    def _publish(self, floor: Floor, source: Source) -> int:
        messages = source.take()
        for published in messages:
            floor.publish(published)
        return len(messages)

    def _end_connections(self, floor: Floor, source: Source) -> None:
        for outlet in floor.outlets(market.ticker for market in source.markets):
            outlet.end(GOING_AWAY, "the recorded connection ended here")

    def _finish(self, floor: Floor, source: Source) -> None:
        """Close the source's markets; the connections stay, and their markets are quiet."""
        if source.finished.is_set():
            return
        for market in source.markets:
            if self.faults.empty_at_close():
                # The levels go without a change: the snapshot keeps the clock of the last one.
                market.book.replace(Depth())
                msg = market.snapshot(yes_scale=False)
                floor.publish(Published("orderbook_snapshot", market.ticker, msg, Depth()))
            market.closed = True
        for outlet in floor.outlets(market.ticker for market in source.markets):
            outlet.release()
        source.finished.set()

    # As fast as it is taken.

    async def play_as_taken(self, floor: Floor, source: Source) -> None:
        """Send one source in batches, each when the one before it has mostly been taken."""
        while source.due_ns is not None:
            await self._wait_audience(floor, source)
            self._send_batch(floor, source)
            for outlet in floor.outlets(market.ticker for market in source.markets):
                await outlet.wait_room()
            await trio.lowlevel.checkpoint()
        self._finish(floor, source)

    async def _wait_audience(self, floor: Floor, source: Source) -> None:
        if source.audience.size and not floor.commands_in_hand:
            return
        while not source.audience.size:
            await self._changed.wait()
        while True:
            now_s = trio.current_time()
            commanded_at_s = now_s if floor.commands_in_hand else floor.commanded_at_s
            if commanded_at_s + self.settle_s <= now_s:
                return
            await trio.sleep_until(commanded_at_s + self.settle_s)

    def _send_batch(self, floor: Floor, source: Source) -> None:
        sent = 0
        while sent < BATCH_FRAMES:
            if source.due_ns is None or not source.audience.size:
                return
            if source.cut_is_next():
                self._end_connections(floor, source)
                return
            sent += self._publish(floor, source)
