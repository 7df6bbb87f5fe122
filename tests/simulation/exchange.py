"""
The exchange in virtual time: the simulator's own markets, numbers and answers, without sockets.

Faults strike the frames of a connection by a seeded chance, and each one is on the account, with what it took
away. What a client has received is compared with `Line.sent`, what is missing with `Line.lost`.
"""

import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import trio
from attrs import define, field
from typing_extensions import override

from collector.clock import ClockStep, ReceiveClock, WallClock
from collector.errors import FeedError, FeedLost, FeedRefused
from collector.exchange import StampedText, Transport
from collector.simulator._exchange import Answer, ConnectionState
from collector.simulator._exchange_clock import ExchangeClock
from collector.simulator._faults import Faults
from collector.simulator._flow import Flow, FlowSettings
from collector.simulator._markets import Floor, Outlet
from collector.simulator._player import FlowSource, Player
from collector.simulator._subscription import Subscription, with_sending_time

PING_S = 10.0


@define
class Chances:
    """How often what happens: shares of data frames, and of connections."""

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    garble: float = 0.0
    cut: float = 0.0
    silence: float = 0.0
    mute: float = 0.0
    end_subscription: float = 0.0
    refuse: float = 0.0


def steady_us() -> int:
    """The steady clock of the virtual machine."""
    return int(trio.current_time() * 1e6)


@define(eq=False)
class Line(Transport, Outlet):
    """One connection, both ends of it: a Transport for the recorder, an Outlet for the exchange."""

    exchange: "TwinExchange"
    number: int
    sent: list[str] = field(factory=list[str])
    lost: list[str] = field(factory=list[str])
    """What each fault did, in words, for whoever reads a failure."""
    activity_s: float = 0.0
    state: ConnectionState = field(init=False)
    _arrived: list[StampedText] = field(factory=list[StampedText])
    _news: trio.Event = field(factory=trio.Event)
    _end: FeedLost | None = None
    _is_silent: bool = False
    _held: tuple[Subscription, bytes] | None = None
    _receive_clock: ReceiveClock = field(init=False)
    _clock_steps: list[ClockStep] = field(factory=list[ClockStep])

    def __attrs_post_init__(self) -> None:
        self.activity_s = trio.current_time()
        self._receive_clock = ReceiveClock(self.exchange.clock(), steady_us())
        self.state = ConnectionState(self.exchange.floor, self, self.exchange.no_faults)

    # For the recorder.

    @property
    @override
    def last_activity_s(self) -> float:
        return self.activity_s

    @override
    def now_us(self) -> int:
        received_us, step = self._receive_clock.stamp(self.exchange.clock(), steady_us())
        if step is not None:
            self._clock_steps.append(step)
        return received_us

    @override
    def take_clock_steps(self) -> Sequence[ClockStep]:
        taken, self._clock_steps = self._clock_steps, []
        return taken

    @override
    async def receive(self) -> Sequence[StampedText]:
        await trio.lowlevel.checkpoint()
        while not self._arrived:
            if self._end is not None:
                raise self._end
            self._news = trio.Event()
            await self._news.wait()
        return self.take_nowait()

    @override
    def take_nowait(self) -> Sequence[StampedText]:
        taken, self._arrived = self._arrived, []
        return taken

    @override
    async def send(self, text: str) -> None:
        await trio.sleep(self.exchange.rng.uniform(0.001, 0.05))
        if self._end is not None:
            raise self._end
        for answer in self.state.answer(text):
            self._send_answer(answer)

    # For the exchange.

    @override
    def deliver(self, subscription: Subscription, kind: str, msg: bytes) -> None:
        self._send_data(subscription, subscription.data_frame(kind, msg))

    @override
    def release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._arrive(*held)

    @override
    def end(self, code: int, reason: str) -> None:
        self.cut(f"closed by the exchange with {code} {reason}")

    @override
    async def wait_room(self) -> None:
        await trio.lowlevel.checkpoint()

    def cut(self, reason: str = "connection lost without a closing handshake") -> None:
        """End the connection; what has arrived can still be taken."""
        if self._end is None:
            self.state.drop_all()
            self._end = FeedLost(reason, close_code=1006)
            self._news.set()

    async def run_pings(self) -> None:
        """Give signs of life for as long as the connection is not silent."""
        while not self._is_silent:
            self.activity_s = trio.current_time()
            await trio.sleep(PING_S)

    # Frames on their way.

    def _send_answer(self, answer: Answer) -> None:
        if answer.of is None:
            self._arrive(None, answer.frame)
        elif answer.data:
            self._send_data(answer.of, answer.frame)
        else:
            self._arrive(answer.of, answer.frame)

    def _send_data(self, subscription: Subscription, frame: bytes) -> None:
        act = self.exchange.strike()
        if act is not None:
            self.lost.append(f"{act} {frame[:60].decode()}")
        match act:
            case "drop":
                return
            case "garble":
                self._arrive(subscription, self.exchange.no_faults.garble(frame))
            case "reorder" if self._held is None:
                self._held = (subscription, frame)
                return
            case "duplicate":
                self._arrive(subscription, frame)
                self._arrive(subscription, frame)
            case _:
                self._arrive(subscription, frame)
        self.release()
        self._strike_line(act, subscription)

    def _strike_line(self, act: str | None, subscription: Subscription) -> None:
        if act == "cut":
            self.cut()
        elif act == "silence":
            self._is_silent = True
        elif act == "mute":
            subscription.muted = True
        elif act == "end_subscription" and subscription.sid in self.state.subscriptions:
            self.state.drop(subscription)
            self._arrive(subscription, subscription.error_frame(self.exchange.rng.choice((10, 25))))

    def _arrive(self, subscription: Subscription | None, frame: bytes) -> None:
        if self._is_silent or self._end is not None or (subscription is not None and subscription.muted):
            return
        text = with_sending_time(frame, self.exchange.clock() // 1000).decode()
        self.sent.append(text)
        self.activity_s = trio.current_time()
        self._arrived.append((self.now_us(), text))
        self._news.set()


@define(eq=False)
class TwinExchange:
    """The exchange with all its connections, past ones too."""

    rng: random.Random
    clock: WallClock
    markets: int
    rate_per_s: float
    messages_max: int
    chances: Chances = field(factory=Chances)
    lines: list[Line] = field(factory=list[Line])
    player: Player = field(init=False)
    floor: Floor = field(init=False)
    no_faults: Faults = field(init=False)

    def __attrs_post_init__(self) -> None:
        flow = Flow(FlowSettings(self.markets, self.rate_per_s, self.messages_max), self.rng)
        source = FlowSource(flow, self.clock, ExchangeClock(self.rng))
        self.no_faults = Faults((), self.rng)
        self.player = Player((source,), self.no_faults, 0.05)
        self.floor = Floor(source.markets, self.player.on_audience)

    @property
    def tickers(self) -> tuple[str, ...]:
        """All markets."""
        return tuple(self.floor.markets)

    def strike(self) -> str | None:
        """What happens to the next data frame, if anything."""
        point = self.rng.random()
        for act in ("drop", "duplicate", "reorder", "garble", "cut", "silence", "mute", "end_subscription"):
            point -= getattr(self.chances, act)
            if point < 0:
                return act
        return None

    async def play(self) -> None:
        """Send what is due, until cancelled."""
        await self.player.play_by_clock(self.floor, 1.0)

    @asynccontextmanager
    async def open_transport(self) -> AsyncGenerator[Transport]:
        """Connect as the real one would: it takes a moment, and may be refused."""
        await trio.sleep(self.rng.uniform(0.01, 0.3))
        if self.rng.random() < self.chances.refuse:
            refusals: tuple[FeedError, ...] = (FeedLost("network: refused"), FeedRefused(401, "NOT_FOUND"))
            raise self.rng.choice(refusals)
        line = Line(self, len(self.lines) + 1)
        self.lines.append(line)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.run_pings)
            try:
                yield line
            finally:
                line.cut("the recorder has gone")
            nursery.cancel_scope.cancel(reason="the connection is over")
