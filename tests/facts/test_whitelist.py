"""A book is exact only while every frame of its subscription has been understood completely."""

import json
from typing import Any

import pytest

from collector.facts import EventFact, FeedTracker, GapFact
from tests.frames import delta_text, error_text, ok_text, received, snapshot_text, subscribed_text, trade_text

BEFORE = (
    subscribed_text("orderbook_delta", 1),
    subscribed_text("trade", 2),
    snapshot_text("A", 1, yes={"0.4500": "10.00"}, clock=7),
    snapshot_text("B", 2, clock=8),
)
BOTH = ["A", "B"]


def changed(text: str, *, outside: dict[str, Any] | None = None, **content: object) -> str:
    """The same frame with other fields; a value of None removes the field."""
    frame: dict[str, Any] = json.loads(text)
    frame |= outside or {}
    frame["msg"] = {name: value for name, value in {**frame["msg"], **content}.items() if value is not None}
    return json.dumps({name: value for name, value in frame.items() if value is not None})


DELTA = delta_text("A", 3, "0.4500", "1.00", clock=9)

MEANINGS = {
    "a delta": (DELTA, [], None),
    "an additional field": (changed(DELTA, liquidity="deep", outside={"shard": 3}), [], None),
    "a delta without a clock": (delta_text("A", 3, "0.4500", "1.00"), [], None),
    "a clock of another market that is lower": (delta_text("B", 3, "0.4500", "1.00", clock=9), [], None),
    "a harmless error": (error_text(14, sid=1, seq=3), [], None),
    "an error without a subscription": (error_text(99), [], None),
    "an answer": (ok_text(BOTH, 3), [], None),
    "a trade on its subscription": (trade_text("A", 1), [], None),
    "an unknown type without a subscription": ('{"type":"weather","msg":{}}', [], None),
    "an unknown type on another subscription": ('{"type":"weather","sid":2,"seq":1,"msg":{}}', [], None),
    "no JSON": ("<html>", BOTH, "reject"),
    "no JSON object": ("[1]", BOTH, "reject"),
    "an envelope without a type": (changed(DELTA, outside={"type": None}), BOTH, "reject"),
    "a malformed envelope of another subscription": ('{"sid":2}', [], None),
    "a delta without a market": (changed(DELTA, market_ticker=None), BOTH, "reject"),
    "a delta under another name for its price": (
        changed(DELTA, price_dollars=None, cost="0.4500"), ["A"], "reject",
    ),
    "a delta with a number for its price": (changed(DELTA, price_dollars=0.45), ["A"], "reject"),
    "a delta with a price between ticks": (changed(DELTA, price_dollars="0.45005"), ["A"], "reject"),
    "a delta with an unknown side": (changed(DELTA, side="maybe"), ["A"], "reject"),
    "a delta with a clock of text": (changed(DELTA, clock="9"), ["A"], "reject"),
    "a delta with a clock of zero": (changed(DELTA, clock=0), ["A"], "reject"),
    "a delta with a time that is none": (changed(DELTA, ts_ms="soon"), ["A"], "reject"),
    "a delta without a number": (changed(DELTA, outside={"seq": None}), ["A"], "reject"),
    "a snapshot with a negative size": (snapshot_text("A", 3, yes={"0.4500": "-1.00"}), ["A"], "reject"),
    "a snapshot with its side under another name": (
        changed(snapshot_text("A", 3), yes_levels=[["0.4500", "1.00"]]), ["A"], "reject",
    ),
    "a delta on another subscription": (
        delta_text("A", 1, "0.4500", "1.00", sid=5), ["A"], "other_subscription",
    ),
    "a trade among the books": (trade_text("A", 3, sid=1), BOTH, "other_subscription"),
    "an unknown type among the books": ('{"type":"weather","sid":1,"seq":3,"msg":{}}', BOTH, "unknown_type"),
    "an unknown error": (error_text(99, sid=1, seq=3), BOTH, "unknown_error"),
    "an error that was terminal": (error_text(17, sid=1, seq=3), BOTH, "unknown_error"),
    "a delta of an unknown market": (delta_text("Z", 3, "0.4500", "1.00"), BOTH, "unknown_market"),
    "a number with another frame": (delta_text("B", 2, "0.4500", "1.00"), BOTH, "sequence_conflict"),
    "a clock that goes down": (delta_text("A", 3, "0.4500", "1.00", clock=6), ["A"], "clock_conflict"),
    "a clock that its snapshot had": (delta_text("A", 3, "0.4500", "1.00", clock=7), ["A"], "clock_conflict"),
    "another subscription of books": (subscribed_text("orderbook_delta", 6), BOTH, "other_subscription"),
}  # fmt: skip


@pytest.mark.parametrize("name", MEANINGS)
def test_what_a_frame_does_to_the_books(name: str) -> None:
    """Each frame that is not understood completely makes books unknown, and the gap says which and why."""
    text, lost, cause = MEANINGS[name]
    tracker = FeedTracker.of_markets(BOTH)
    tracker.process(received(*BEFORE))

    batch = tracker.process(received(text, first=5))

    gaps = [fact for fact in batch.facts if isinstance(fact, GapFact)]
    assert [ticker for ticker in BOTH if not tracker.is_exact(ticker)] == lost
    assert [gap.cause for gap in gaps] == ([] if cause is None else [cause])
    assert {market.unknown_cause for market in tracker.markets.values() if market.ticker in lost} <= {cause}
    assert [gap.market_ticker for gap in gaps] == (
        [] if cause is None else [lost[0] if len(lost) == 1 else None]
    )


def test_a_repeated_frame_is_harmless_whenever_it_was_sent() -> None:
    """The same frame again differs in its sending time only. After 4,096 others it can't be told any more."""
    tracker = FeedTracker.of_markets(["A"])
    first = delta_text("A", 2, "0.4500", "1.00", sending_ts_ms=1)
    again = delta_text("A", 2, "0.4500", "1.00", sending_ts_ms=2)
    tracker.process(received(snapshot_text("A", 1), first, again))
    assert tracker.is_exact("A")

    tracker.process(received(*(delta_text("A", seq, "0.4500", "1.00") for seq in range(3, 4098)), again))
    assert tracker.is_exact("A")
    tracker.process(received(delta_text("A", 4098, "0.4500", "1.00"), again))
    assert tracker.markets["A"].unknown_cause == "sequence_conflict"


def test_the_first_cause_stays_until_the_book_is_exact() -> None:
    """What made a book unknown is what an operator looks for, not what followed from it."""
    tracker = FeedTracker.of_markets(BOTH)
    tracker.process(received(*BEFORE, "<html>", delta_text("A", 4, "0.4500", "1.00")))
    assert tracker.markets["A"].unknown_cause == "reject"

    tracker.process(received(snapshot_text("A", 5, command_id=3), first=7))
    assert (tracker.is_exact("A"), tracker.is_exact("B")) == (True, False)


def test_a_snapshot_may_lower_the_clock_and_says_so() -> None:
    """The exchange may lower clocks in maintenance: the book is exact, and an event keeps both clocks."""
    tracker = FeedTracker.of_markets(BOTH)
    batch = tracker.process(received(*BEFORE, snapshot_text("A", 3, clock=2)))

    (event,) = [fact for fact in batch.facts if isinstance(fact, EventFact)]
    assert (event.event_type, json.loads(event.event)) == ("clock_lowered", {"from": 7, "to": 2})
    assert tracker.is_exact("A")


def test_an_audit_compares_clocks() -> None:
    """Equal levels under another clock are another book."""
    tracker = FeedTracker.of_markets(["A"])
    tracker.process(received(snapshot_text("A", 1, clock=7), snapshot_text("A", 2, clock=8, command_id=3)))
    assert tracker.markets["A"].unknown_cause == "audit_mismatch"
