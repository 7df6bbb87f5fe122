"""An interruption is proven empty when the next snapshot can only be the book before it."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from collector.facts import Fact, FeedTracker, LastExact, ProvenEmptyFact, ReceivedFrame, last_exact_of
from collector.facts._maintenance import touches_weekly_maintenance
from tests.frames import (
    RECEIVED_US,
    delta_text,
    error_text,
    ok_text,
    received,
    snapshot_text,
    subscribed_text,
)

KEY = uuid.UUID(int=7)
YES = {"0.4500": "10.00"}


def proofs(facts: Sequence[Fact]) -> list[ProvenEmptyFact]:
    return [fact for fact in facts if isinstance(fact, ProvenEmptyFact)]


def book(seq: int, clock: int | None = 5, *, yes: dict[str, str] | None = None, **more: Any) -> str:  # noqa: ANN401
    return snapshot_text("A", seq, yes=YES if yes is None else yes, clock=clock, **more)


def proofs_of(*texts: str) -> list[tuple[int, int]]:
    """Last frame before, and frame of the proof, of each proof in a session of A and B."""
    batch = FeedTracker.of_markets(["A", "B"], KEY).process(received(*texts))
    return [(proof.earlier_frame, proof.frame_number) for proof in proofs(batch.facts)]


GAP = delta_text("B", 9, "0.4500", "1.00", clock=3)
"""Numbers are missing before it."""


def test_same_clock_and_levels_prove_that_nothing_was_missed() -> None:
    """The proof names the session, its last frame before, and the time."""
    tracker = FeedTracker.of_markets(["A", "B"], KEY)
    frames = received(book(1), GAP, book(10, command_id=9))
    (proof,) = proofs(tracker.process(frames).facts)

    times = (frames[1].received_us, frames[2].received_us)
    assert (proof.market_ticker, proof.earlier_key, proof.earlier_frame) == ("A", KEY, 1)
    assert (proof.from_us, proof.received_us, proof.frame_number) == (*times, 3)


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ([book(1), GAP, book(10, clock=6)], "a change that left the same levels"),
        ([book(1), GAP, book(10, yes={})], "the emptying at the close"),
        ([book(1), GAP, book(10, yes={"0.4500": "9.00"})], "the rest of an action"),
        ([book(1, None), GAP, book(10, None)], "no clock"),
        ([book(1, 0), GAP, book(10, 0)], "clock 0 with levels"),
        ([book(1), GAP, book(10, clock=4)], "a clock that was set back"),
        ([book(1), delta_text("A", 2, "0.4500", "x", clock=6), book(3)], "a frame that was not understood"),
        ([book(1), GAP, '{"type":"new","sid":1,"seq":10,"msg":{}}', book(11)], "an unknown type in between"),
        ([GAP, book(10)], "no exact book before"),
    ],
)
def test_anything_else_proves_nothing(texts: list[str], why: str) -> None:
    """One doubt is enough."""
    assert proofs_of(*texts) == [], why


def test_clock_0_proves_that_an_empty_book_stayed_empty() -> None:
    """The market has had no change at all."""
    assert proofs_of(book(1, 0, yes={}), GAP, book(10, 0, yes={})) == [(1, 3)]


@pytest.mark.parametrize(
    "interruption",
    [
        [error_text(10, sid=1, seq=3), subscribed_text("orderbook_delta", 2)],
        [error_text(25, sid=1, seq=3), subscribed_text("orderbook_delta", 2)],
    ],
)
def test_new_subscription_is_an_interruption(interruption: list[str]) -> None:
    """The snapshot on the new one is compared with the book on the old one."""
    texts = [subscribed_text("orderbook_delta", 1), book(1), *interruption, book(1, sid=2)]

    assert proofs_of(*texts) == [(2, 5)]


def test_market_that_was_removed_and_added() -> None:
    """What is compared is its book when it left."""
    texts = [
        subscribed_text("orderbook_delta", 1),
        book(1),
        ok_text(["B"], 2),
        ok_text(["A", "B"], 3),
        book(4),
    ]

    assert proofs_of(*texts) == [(2, 5)]


def last_exact(tracker: FeedTracker, last_frame: int, ended_us: int) -> list[LastExact]:
    held = map(last_exact_of, tracker.held_books(last_frame, ended_us).values())
    return [each for each in held if each is not None]


def test_books_are_held_over_any_number_of_sessions() -> None:
    """Also over one that has never had a snapshot; the proof names the session of the book."""
    first = FeedTracker.of_markets(["A", "B"], KEY)
    first.process(received(book(1)))
    second = FeedTracker.of_markets(["A", "B"], uuid.UUID(int=8), last_exact(first, 1, RECEIVED_US + 5))
    third = FeedTracker.of_markets(["A"], uuid.UUID(int=9), last_exact(second, 0, RECEIVED_US + 6))
    (proof,) = proofs(third.process(received(book(1))).facts)

    assert (proof.earlier_key, proof.earlier_frame, proof.from_us) == (KEY, 1, RECEIVED_US + 5)


def test_book_that_is_unknown_at_the_end_is_not_held() -> None:
    """Unless it was an interruption that made it unknown."""
    tracker = FeedTracker.of_markets(["A", "B"], KEY)
    tracker.process(received(book(1), snapshot_text("B", 2, clock=1), book(3, yes={}, command_id=9), GAP))

    assert [each.market_ticker for each in last_exact(tracker, 4, RECEIVED_US)] == ["B"]


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("since", "until", "touches"),
    [
        ("2026-11-26T07:00:00Z", "2026-11-26T07:59:59Z", False),
        ("2026-11-26T07:59:00Z", "2026-11-26T08:00:00Z", True),
        ("2026-11-26T08:30:00Z", "2026-11-26T08:31:00Z", True),
        ("2026-11-26T10:00:01Z", "2026-11-26T11:00:00Z", False),
        ("2026-07-23T07:30:00Z", "2026-07-23T07:31:00Z", True),
        ("2026-07-23T09:30:00Z", "2026-07-23T09:31:00Z", False),
        ("2026-11-25T08:30:00Z", "2026-11-25T09:00:00Z", False),
        ("2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z", True),
    ],
)
def test_maintenance_is_on_thursdays_in_new_york(since: str, until: str, touches: bool) -> None:
    """From 03:00 to 05:00 there, which is an hour earlier in UTC in summer."""
    assert touches_weekly_maintenance(us(since), us(until)) is touches


@pytest.mark.parametrize(
    ("since", "until", "proven"),
    [
        ("2026-11-25T08:30:00Z", "2026-11-25T08:31:00Z", 1),
        ("2026-11-26T08:30:00Z", "2026-11-26T11:31:00Z", 0),
        ("2026-11-25T08:30:00Z", "2026-11-25T08:29:00Z", 0),
    ],
)
def test_nothing_is_proven_across_maintenance_or_a_clock_that_was_set_back(
    since: str, until: str, proven: int
) -> None:
    """The exchange may set its clock back then. A time that ends before it begins is none."""
    first = FeedTracker.of_markets(["A"], KEY)
    first.process(received(book(1)))
    second = FeedTracker.of_markets(["A"], uuid.UUID(int=8), last_exact(first, 1, us(since)))

    assert len(proofs(second.process([ReceivedFrame(1, us(until), book(1))]).facts)) == proven
