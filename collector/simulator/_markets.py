"""
The trading floor: every served market with its book, and who listens to it.

Everything here happens at once, between two checkpoints: a snapshot and the place in the sequence from
which its market's changes follow belong together. Knows nothing of sockets, commands or pace.
"""

import collections
import typing

import attrs

from collector.simulator._books import Book, Depth, LevelChange, on_yes_scale, snapshot_msg
from collector.simulator._subscription import BOOK_CHANNEL, CHANNEL_OF_KIND, LIFECYCLE_CHANNEL, Subscription

# What REST tells of past trades; older ones are gone.
TRADES_KEPT = 1_000


class Outlet(typing.Protocol):
    """Where frames go: one connection."""

    def deliver(self, subscription: Subscription, kind: str, msg: bytes) -> None:
        """Number one message and send it on its way."""
        ...

    def release(self) -> None:
        """Send what a fault has held back."""
        ...

    def end(self, code: int, reason: str) -> None:
        """End the connection, after what is already on its way."""
        ...

    async def wait_room(self) -> None:
        """Wait until the client has taken most of what is on its way, or is gone."""
        ...


@attrs.define(eq=False)
class Audience:
    """Who follows one source of frames. `size` counts pairs of a subscription and a market that it named."""

    size: int = 0


@attrs.frozen
class Opening:
    """A market's recorded first snapshot: its `msg`, the book in it, and the clock that it carries."""

    msg: bytes
    depth: Depth
    clock: int | None


@attrs.define(eq=False)
class Market:
    """One market as the exchange has it at this moment."""

    ticker: str
    market_id: str
    tick_e4: int
    volume_e2: int
    audience: Audience
    book: Book = attrs.Factory(Book)
    # The exchange's clock of the newest change in the book, 0 before the first; None: no clock in snapshots.
    clock: int | None = None
    # Until it was sent or played: it opens the market for the first subscriber.
    opening: Opening | None = None
    # As REST tells it; the feed says nothing of a market that is not open yet, as nobody trades it.
    opened: bool = True
    closed: bool = False
    settled: bool = False
    trades: collections.deque[bytes] = attrs.Factory(lambda: collections.deque(maxlen=TRADES_KEPT))
    listeners: dict[str, dict[Subscription, Outlet]] = attrs.Factory(dict[str, dict[Subscription, Outlet]])

    @property
    def status(self) -> str:
        """The market's status in its REST record."""
        if self.settled:
            return "finalized"
        if self.closed:
            return "closed"
        return "active" if self.opened else "initialized"

    def snapshot(self, *, yes_scale: bool) -> bytes:
        """Return the `msg` of a snapshot of this moment."""
        depth = self.book.depth()
        return snapshot_msg(self.ticker, self.market_id, depth, clock=self.clock, yes_scale=yes_scale)

    def open_with_snapshot(self, *, yes_scale: bool) -> bytes:
        """Return the `msg` for a new subscriber: the recorded first snapshot if it is still to come, once."""
        if self.opening is None:
            return self.snapshot(yes_scale=yes_scale)
        opening, self.opening = self.opening, None
        self.book.replace(opening.depth)
        self.clock = opening.clock
        return self.snapshot(yes_scale=True) if yes_scale else opening.msg


@attrs.frozen
class Published:
    """
    One message at the moment that it is sent.

    `opens`: it is its market's first snapshot. `clock` is the exchange's clock in its `msg`, if there is one.
    """

    kind: str
    ticker: str
    msg: bytes
    effect: LevelChange | Depth | None
    opens: bool = False
    clock: int | None = None


class Floor:
    """Owns the markets and the lists of listeners; sessions and players call it from their tasks."""

    def __init__(
        self, markets: typing.Iterable[Market], on_audience: typing.Callable[[Audience], None]
    ) -> None:
        self.markets = {market.ticker: market for market in markets}
        self._on_audience = on_audience
        self._everything: dict[str, dict[Subscription, Outlet]] = {}
        # Commands that a session is still answering: half a subscription is no reason to start.
        self.commands_in_hand = 0
        # When the last command was answered, by Trio's clock.
        self.commanded_at_s = 0.0

    def join(self, outlet: Outlet, subscription: Subscription, ticker: str) -> None:
        """Let a subscription hear one market. An unknown market is never heard of."""
        market = self.markets.get(ticker)
        if market is None:
            return
        market.listeners.setdefault(subscription.channel, {})[subscription] = outlet
        market.audience.size += 1
        self._on_audience(market.audience)

    def join_everything(self, outlet: Outlet, subscription: Subscription) -> None:
        """Let a subscription hear all markets of its channel. It starts no tape: it named no market."""
        self._everything.setdefault(subscription.channel, {})[subscription] = outlet

    def leave(self, subscription: Subscription, tickers: typing.Iterable[str]) -> None:
        """End the hearing of these markets."""
        for ticker in tickers:
            market = self.markets.get(ticker)
            listeners = None if market is None else market.listeners.get(subscription.channel)
            if market is not None and listeners and subscription in listeners:
                del listeners[subscription]
                market.audience.size -= 1
                self._on_audience(market.audience)

    def leave_everything(self, subscription: Subscription) -> None:
        """End all hearing of a subscription."""
        self._everything.get(subscription.channel, {}).pop(subscription, None)
        self.leave(subscription, tuple(subscription.tickers or ()))

    def snapshot(self, ticker: str, *, yes_scale: bool) -> bytes | None:
        """Return the `msg` of a snapshot of this moment, None for an unknown market."""
        market = self.markets.get(ticker)
        return None if market is None else market.snapshot(yes_scale=yes_scale)

    def opening(self, ticker: str, *, yes_scale: bool) -> bytes | None:
        """Return the `msg` of a new subscriber's snapshot, None for an unknown market."""
        market = self.markets.get(ticker)
        return None if market is None else market.open_with_snapshot(yes_scale=yes_scale)

    def publish(self, published: Published) -> None:
        """Let one message take effect and go to everyone who listens."""
        market = self.markets.get(published.ticker)
        channel = CHANNEL_OF_KIND.get(published.kind, published.kind)
        if market is not None:
            if published.opens and market.opening is None:
                return
            self._take_effect(market, published)
            listeners = market.listeners.get(channel)
            if listeners:
                self._deliver(listeners, published)
        everything = self._everything.get(channel)
        if everything and (market is not None or channel == LIFECYCLE_CHANNEL):
            self._deliver(everything, published)

    def _take_effect(self, market: Market, published: Published) -> None:
        effect = published.effect
        if isinstance(effect, LevelChange):
            market.book.apply(effect)
        elif isinstance(effect, Depth):
            market.book.replace(effect)
            market.opening = None
        elif published.kind == "trade":
            market.trades.append(published.msg)
        if published.clock is not None:
            market.clock = published.clock

    def _deliver(self, listeners: dict[Subscription, Outlet], published: Published) -> None:
        # A copy: a full buffer or a fault may end a subscription in the middle of this.
        for subscription, outlet in tuple(listeners.items()):
            msg = published.msg
            if subscription.use_yes_price and subscription.channel == BOOK_CHANNEL:
                msg = on_yes_scale(published.kind, msg)
            outlet.deliver(subscription, published.kind, msg)

    def outlets(self, tickers: typing.Iterable[str]) -> set[Outlet]:
        """Return the connections that named one of these markets."""
        return {
            outlet
            for ticker in tickers
            for listeners in self.markets[ticker].listeners.values()
            for outlet in listeners.values()
        }
