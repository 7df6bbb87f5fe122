"""Each book that becomes exact or unknown is stated as a fact, with the frame after which it holds."""

import random
from collections.abc import Iterable

import pytest

from collector.facts import BookStateFact, Cause, Fact, FeedTracker
from tests.frames import delta_text, error_text, ok_text, received, snapshot_text, subscribed_text


def states(facts: Iterable[Fact]) -> list[tuple[str, int, Cause | None]]:
    return [
        (fact.market_ticker, fact.frame_number, fact.cause)
        for fact in facts
        if isinstance(fact, BookStateFact)
    ]


def states_of(*texts: str, markets: Iterable[str] = ("A", "B")) -> list[tuple[str, int, Cause | None]]:
    return states(FeedTracker.of_markets(markets).process(received(*texts)).facts)


def test_book_is_exact_from_its_snapshot_on() -> None:
    """Deltas after it state nothing."""
    assert states_of(snapshot_text("A", 1), delta_text("A", 2, "0.4500", "1.00")) == [("A", 1, None)]


def test_every_snapshot_states_what_the_book_is_then() -> None:
    """Also when nothing changes: a reader who lacks the facts before it learns the state here."""
    again = snapshot_text("A", 2, command_id=7)

    assert states_of(snapshot_text("A", 1), again) == [("A", 1, None), ("A", 2, None)]


def test_hole_states_each_book_once_with_its_first_cause() -> None:
    """A book that was unknown before stays so for the cause that it had."""
    hole = delta_text("A", 5, "0.4500", "1.00")
    another = delta_text("A", 9, "0.4500", "1.00")

    assert states_of(snapshot_text("A", 1), hole, another) == [("A", 1, None), ("A", 2, Cause.SEQUENCE)]


def test_audit_that_finds_a_difference_states_one_thing() -> None:
    """The book was exact before the frame and is unknown after it."""
    other = snapshot_text("A", 2, yes={"0.4500": "1.00"}, command_id=7)

    assert states_of(snapshot_text("A", 1), other) == [("A", 1, None), ("A", 2, Cause.AUDIT_MISMATCH)]


def test_market_that_joins_is_unknown_and_one_that_leaves_is_unfollowed() -> None:
    """Whatever its book was before: nothing was to be recorded of it any more."""
    subscribed = subscribed_text("orderbook_delta", 1)
    stated = states_of(
        subscribed,
        snapshot_text("A", 1),
        ok_text(["A", "B", "C"], 2),
        delta_text("A", 9, "0.4500", "1.00"),
        ok_text(["B", "C"], 10),
    )

    assert stated == [
        ("A", 2, None),
        ("C", 3, Cause.NO_SNAPSHOT_YET),
        ("A", 4, Cause.SEQUENCE),
        ("A", 5, Cause.UNFOLLOWED),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_facts_always_say_what_the_tracker_knows(seed: int) -> None:
    """Folding the facts gives after each frame what the tracker itself calls exact, whatever frames come."""
    rng = random.Random(seed)
    markets = ["A", "B", "C"]
    tracker = FeedTracker.of_markets(markets)
    exact = dict.fromkeys(markets, False)
    for number in range(1, 400):
        (frame,) = received(random_text(rng, markets, number), first=number)
        for ticker, at, cause in states(tracker.process((frame,)).facts):
            assert at == number
            exact[ticker] = cause is None

        assert {ticker: tracker.is_exact(ticker) for ticker in markets} == exact


def random_text(rng: random.Random, markets: list[str], number: int) -> str:
    """A frame about a book, often in order, of any kind that decides exactness."""
    ticker = rng.choice(markets)
    sid = rng.choice([1, 1, 1, 1, 2])
    seq = number if rng.random() < 0.9 else rng.randrange(1, number + 3)
    size = rng.choice(["1.00", "-1.00", "x"])
    return rng.choice(
        [
            snapshot_text(ticker, seq, sid=sid),
            snapshot_text(ticker, seq, sid=sid, command_id=3),
            delta_text(ticker, seq, "0.4500", size, sid=sid),
            delta_text(ticker, seq, "0.4500", "1.00", sid=sid),
            error_text(rng.choice([7, 8, 10, 25]), sid=sid, seq=seq),
            ok_text(rng.sample(markets, 2), seq, sid=sid),
            subscribed_text("orderbook_delta", sid),
        ]
    )
