"""Generated flow: repeatable, plausible, and never below zero."""

import json
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.simulator._books import DOLLAR_E4, Book, LevelChange
from collector.simulator._flow import Flow, FlowEvent, FlowSettings, FlowTrade, render_event, rfc3339


def flow_of(seed: int, markets: int = 5, messages: int = 2000, rate_per_s: float = 1000.0) -> Flow:
    return Flow(FlowSettings(markets, rate_per_s, messages), random.Random(seed))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 20))
def test_books_are_never_negative_nor_crossed(seed: int, markets: int) -> None:
    """Folding any flow from its first books takes no level below zero and never crosses the sides."""
    flow = flow_of(seed, markets, messages=600)
    books: dict[str, Book] = {}
    for market in flow.markets:
        book = books[market.ticker] = Book()
        book.replace(market.book.depth())
    for event in flow.events():
        if not isinstance(event.content, LevelChange):
            continue
        book, change = books[event.ticker], event.content
        levels = book.yes if change.side == "yes" else book.no
        assert levels.get(change.price_e4, 0) + change.delta_e2 >= 0
        assert change.delta_e2 != 0
        assert 0 < change.price_e4 < DOLLAR_E4
        book.apply(change)
        assert max(book.yes, default=0) + max(book.no, default=0) < DOLLAR_E4


@pytest.mark.parametrize("seed", [1, 7, 2026])
def test_the_same_seed_gives_the_same_flow(seed: int) -> None:
    """Two flows of one seed are the same to the last event, and another seed gives another."""
    first, second = list(flow_of(seed).events()), list(flow_of(seed).events())
    assert first == second
    assert first != list(flow_of(seed + 1).events())


def test_a_trade_follows_the_delta_that_it_filled() -> None:
    """Right before each trade the same market loses as much on the other side at the same price."""
    events = list(flow_of(3, messages=5000).events())
    trades = 0
    for before, event in pairwise(events):
        if isinstance(event.content, FlowTrade):
            trades += 1
            fill = before.content
            assert isinstance(fill, LevelChange)
            assert before.ticker == event.ticker
            assert fill.side != event.content.taker_side
            assert fill.delta_e2 == -event.content.count_e2
            yes_price_e4 = fill.price_e4 if fill.side == "yes" else DOLLAR_E4 - fill.price_e4
            assert event.content.yes_price_e4 == yes_price_e4
    assert trades > 100


def test_an_amended_order_moves_between_two_levels() -> None:
    """Two changes of one action: what one level of a side loses, another level of that side gains."""
    events = list(flow_of(3, messages=5000).events())
    moves = 0
    for before, event in pairwise(events):
        if not event.same_action or isinstance(event.content, FlowTrade):
            continue
        moves += 1
        taken, added = before.content, event.content
        assert isinstance(taken, LevelChange)
        assert (before.ticker, before.offset_ns, taken.side) == (event.ticker, event.offset_ns, added.side)
        assert taken.price_e4 != added.price_e4
        assert taken.delta_e2 == -added.delta_e2 < 0
    assert 50 < moves < 500


def test_the_flow_is_plausible() -> None:
    """It has the asked rate, unequal markets, bursts, sub-cent prices and fractional sizes."""
    flow = flow_of(5, markets=20, messages=20_000)
    events = list(flow.events())
    seconds = events[-1].offset_ns / 1e9
    assert 850 < len(events) / seconds < 1150
    shares = [sum(event.ticker == market.ticker for event in events) for market in flow.markets]
    assert shares[0] > 5 * shares[-1] > 0
    gaps = [after.offset_ns - before.offset_ns for before, after in pairwise(events)]
    assert min(gaps) >= 0
    assert sum(gap < 500_000 for gap in gaps) > len(gaps) / 2
    changes = [event.content for event in events if isinstance(event.content, LevelChange)]
    assert any(change.price_e4 % 100 for change in changes)
    assert any(change.delta_e2 % 100 for change in changes)


def test_messages_have_the_fields_of_the_exchange() -> None:
    """A delta and a trade are written with every field, and with the time at which they are sent."""
    wall_us = 1_786_410_915_566_270
    delta = FlowEvent(0, "SIM-0001", "id", LevelChange("no", 4800, -4000))
    assert json.loads(render_event(delta, wall_us)) == {
        "market_ticker": "SIM-0001",
        "market_id": "id",
        "price_dollars": "0.4800",
        "delta_fp": "-40.00",
        "side": "no",
        "ts": "2026-08-11T01:15:15.56627Z",
        "ts_ms": 1_786_410_915_566,
    }
    trade = FlowEvent(0, "SIM-0001", "id", FlowTrade("t", "yes", 3500, 10))
    assert json.loads(render_event(trade, wall_us)) == {
        "trade_id": "t",
        "market_ticker": "SIM-0001",
        "yes_price_dollars": "0.3500",
        "no_price_dollars": "0.6500",
        "count_fp": "0.10",
        "taker_side": "yes",
        "taker_outcome_side": "yes",
        "taker_book_side": "bid",
        "ts": 1_786_410_915,
        "ts_ms": 1_786_410_915_566,
        "is_block_trade": False,
    }


def test_a_whole_second_has_no_fraction() -> None:
    """A time without a fraction is written without a point."""
    assert rfc3339(1_786_410_915_000_000) == "2026-08-11T01:15:15Z"
