"""
Generated order flow: plausible, endless, and the same again for the same seed.

Messages come in bursts (a Poisson process of bursts, each on one market), markets are as unequal as real
ones (Zipf), books are never crossed and never negative, some markets tick in tenths of a cent, some sizes
are fractions, a trade comes right after the delta that it filled, and an order that is amended moves between
two levels with two deltas. Pure: the random source and, for writing, the wall time are passed in.
"""

import bisect
import functools
import itertools
import random
import typing
import uuid
from datetime import UTC, datetime

import attrs
import msgspec

from collector.simulator._books import DOLLAR_E4, Book, LevelChange, Side, flip, format_price, format_size
from collector.simulator._exchange_clock import with_clock

# Messages of a burst follow each other this closely; real ones come within the same millisecond or the next.
BURST_GAP_NS_MEAN = 400_000
BURST_CONTINUES = 0.75  # a burst has 1 / (1 - 0.75) = 4 messages on average
TRADE_SHARE = 0.08
AMEND_SHARE = 0.04
LEVELS_LOW = 4
LEVELS_HIGH = 30
ZIPF_EXPONENT = 1.1
SECOND_NS = 1_000_000_000
SECOND_US = 1_000_000


@attrs.frozen
class FlowSettings:
    """How much flow, over how many markets."""

    markets: int
    rate_per_s: float
    messages_max: int | None = None


@attrs.frozen
class FlowTrade:
    """A trade: the taker's side, the price on the yes scale, and how much."""

    trade_id: str
    taker_side: Side
    yes_price_e4: int
    count_e2: int


@attrs.frozen
class FlowEvent:
    """
    One generated message before it is written down.

    `same_action`: the action that caused the event before this one caused this one too.
    """

    offset_ns: int
    ticker: str
    market_id: str
    content: LevelChange | FlowTrade
    same_action: bool = False

    @property
    def kind(self) -> str:
        """The message type on the wire."""
        return "orderbook_delta" if isinstance(self.content, LevelChange) else "trade"


@attrs.define(eq=False)
class FlowMarket:
    """One generated market: its book is what all events so far add up to."""

    ticker: str
    market_id: str
    tick_e4: int
    fair_e4: int
    volume_e2: int
    book: Book = attrs.Factory(Book)


class Flow:
    """The source of one generated flow. Its events change the books that `markets` shows."""

    def __init__(self, settings: FlowSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self.markets = tuple(self._open_market(rank) for rank in range(1, settings.markets + 1))
        weights = (1.0 / rank**ZIPF_EXPONENT for rank in range(1, settings.markets + 1))
        self._shares = list(itertools.accumulate(weights))

    def events(self) -> typing.Iterator[FlowEvent]:
        """Yield events in the order of their offsets, without end unless the settings give one."""
        endless = self._endless()
        return itertools.islice(endless, self._settings.messages_max)

    def _endless(self) -> typing.Iterator[FlowEvent]:
        rate_per_s = self._settings.rate_per_s
        burst_rate = rate_per_s * (1.0 - BURST_CONTINUES) / (1.0 + TRADE_SHARE + AMEND_SHARE)
        # A burst is over before the next begins, on average, however dense the flow is.
        gap_ns_mean = min(BURST_GAP_NS_MEAN, SECOND_NS * 0.25 / rate_per_s)
        burst_ns = 0
        offset_ns = 0
        while True:
            burst_ns += int(self._rng.expovariate(burst_rate) * SECOND_NS)
            offset_ns = max(offset_ns, burst_ns)
            market = self._pick_market()
            while True:
                yield from self._act(market, offset_ns)
                if self._rng.random() >= BURST_CONTINUES:
                    break
                offset_ns += int(self._rng.expovariate(1.0) * gap_ns_mean)

    def _pick_market(self) -> FlowMarket:
        point = self._rng.random() * self._shares[-1]
        return self.markets[min(bisect.bisect(self._shares, point), len(self.markets) - 1)]

    def _open_market(self, rank: int) -> FlowMarket:
        rng = self._rng
        tick_e4 = 10 if rank % 4 == 0 else 100
        market = FlowMarket(
            ticker=f"SIM-{rank:04d}",
            market_id=_random_uuid(rng),
            tick_e4=tick_e4,
            fair_e4=rng.randrange(2_000, 8_001, tick_e4),
            # What was traded before our day began: the busiest market has traded most.
            volume_e2=int(50_000_000 / rank**ZIPF_EXPONENT),
        )
        sides: tuple[Side, Side] = ("yes", "no")
        for side in sides:
            for _ in range(rng.randint(LEVELS_LOW, LEVELS_LOW + 8)):
                market.book.apply(_addition(market, side, rng))
        return market

    def _act(self, market: FlowMarket, offset_ns: int) -> typing.Iterator[FlowEvent]:
        rng = self._rng
        side: Side = "yes" if rng.random() < 0.5 else "no"
        levels = market.book.yes if side == "yes" else market.book.no
        drift = rng.random()
        if drift < 0.02:
            step_e4 = market.tick_e4 if drift < 0.01 else -market.tick_e4
            market.fair_e4 = min(max(market.fair_e4 + step_e4, 500), DOLLAR_E4 - 500)
        if len(levels) >= LEVELS_LOW and rng.random() < TRADE_SHARE:
            yield from self._trade(market, side, levels, offset_ns)
            return
        if len(levels) >= LEVELS_LOW and rng.random() < AMEND_SHARE:
            yield from self._amend(market, side, levels, offset_ns)
            return
        grow_share = 0.9 if len(levels) < LEVELS_LOW else 0.52 if len(levels) < LEVELS_HIGH else 0.2
        if not levels or rng.random() < grow_share:
            change = _addition(market, side, rng)
        else:
            change = _withdrawal(side, levels, rng)
        market.book.apply(change)
        yield FlowEvent(offset_ns, market.ticker, market.market_id, change)

    def _trade(
        self, market: FlowMarket, side: Side, levels: dict[int, int], offset_ns: int
    ) -> typing.Iterator[FlowEvent]:
        """A taker of the other side meets the best bid of `side`: first the delta, then the trade."""
        price_e4 = max(levels)
        count_e2 = min(_random_size(self._rng), levels[price_e4])
        change = LevelChange(side, price_e4, -count_e2)
        market.book.apply(change)
        market.volume_e2 += count_e2
        yield FlowEvent(offset_ns, market.ticker, market.market_id, change)
        trade = FlowTrade(
            trade_id=_random_uuid(self._rng),
            taker_side="no" if side == "yes" else "yes",
            yes_price_e4=price_e4 if side == "yes" else flip(price_e4),
            count_e2=count_e2,
        )
        yield FlowEvent(offset_ns, market.ticker, market.market_id, trade, same_action=True)

    def _amend(
        self, market: FlowMarket, side: Side, levels: dict[int, int], offset_ns: int
    ) -> typing.Iterator[FlowEvent]:
        """An order gets another price: one action takes its size from one level and adds it to another."""
        taken = _withdrawal(side, levels, self._rng)
        market.book.apply(taken)
        yield FlowEvent(offset_ns, market.ticker, market.market_id, taken)
        added = attrs.evolve(_addition(market, side, self._rng), delta_e2=-taken.delta_e2)
        # The same price again is no amendment: the order is canceled.
        if added.price_e4 != taken.price_e4:
            market.book.apply(added)
            yield FlowEvent(offset_ns, market.ticker, market.market_id, added, same_action=True)


def _addition(market: FlowMarket, side: Side, rng: random.Random) -> LevelChange:
    tick_e4 = market.tick_e4
    fair_e4 = market.fair_e4 if side == "yes" else flip(market.fair_e4)
    other = market.book.no if side == "yes" else market.book.yes
    # A bid may not meet the other side's best bid: that would be a trade.
    top_e4 = min(fair_e4 - tick_e4, flip(max(other)) - tick_e4 if other else DOLLAR_E4)
    distance = min(int(rng.expovariate(1 / 6)), 40)
    price_e4 = max(top_e4 - distance * tick_e4, tick_e4)
    price_e4 -= price_e4 % tick_e4
    return LevelChange(side, price_e4, _random_size(rng))


def _withdrawal(side: Side, levels: dict[int, int], rng: random.Random) -> LevelChange:
    price_e4 = rng.choice(list(levels))
    size_e2 = levels[price_e4]
    part_e2 = size_e2 if rng.random() < 0.6 else rng.randint(1, size_e2)
    return LevelChange(side, price_e4, -part_e2)


def _random_size(rng: random.Random) -> int:
    """Sizes are mostly round and small, seldom large, and one in four has a fraction."""
    contracts = rng.choice((1, 5, 10, 20, 25, 50, 100, 100, 200, 250, 500, 1000))
    if rng.random() < 0.25:
        return max(1, contracts * 100 - rng.randint(1, 99))
    return contracts * 100


def _random_uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def render_event(event: FlowEvent, wall_us: int, clock: int | None = None) -> bytes:
    """
    Write an event as the `msg` that the exchange would send at that wall time.

    `clock` is the exchange's clock of the action; None leaves it out. A trade never carries it.
    """
    content = event.content
    if isinstance(content, LevelChange):
        delta = (
            f'{{"market_ticker":"{event.ticker}","market_id":"{event.market_id}",'
            f'"price_dollars":"{format_price(content.price_e4)}","delta_fp":"{format_size(content.delta_e2)}",'
            f'"side":"{content.side}","ts":"{rfc3339(wall_us)}","ts_ms":{wall_us // 1_000}}}'
        ).encode()
        return delta if clock is None else with_clock(delta, clock)
    return msgspec.json.encode(
        {
            "trade_id": content.trade_id,
            "market_ticker": event.ticker,
            "yes_price_dollars": format_price(content.yes_price_e4),
            "no_price_dollars": format_price(flip(content.yes_price_e4)),
            "count_fp": format_size(content.count_e2),
            "taker_side": content.taker_side,
            "taker_outcome_side": content.taker_side,
            "taker_book_side": "bid" if content.taker_side == "yes" else "ask",
            "ts": wall_us // SECOND_US,
            "ts_ms": wall_us // 1_000,
            "is_block_trade": False,
        }
    )


def rfc3339(wall_us: int) -> str:
    """Write a time as the exchange does: microseconds, with trailing zeros trimmed."""
    second, rest_us = divmod(wall_us, SECOND_US)
    whole = _whole_second(second)
    fraction = f"{rest_us:06d}".rstrip("0")
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"


@functools.lru_cache(maxsize=64)
def _whole_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
