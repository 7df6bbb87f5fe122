"""Books that are compared with the exchange's own, and books that are written out anew each hour."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.facts import (
    AuditFact,
    BookStateFact,
    Cause,
    DeltaFact,
    Fact,
    FeedTracker,
    GapFact,
    ReceivedFrame,
    SnapshotFact,
)
from collector.facts._downsampling import Thinner
from collector.facts._market_state import HOUR_US
from collector.facts._order_book import OrderBook
from tests.frames import RECEIVED_US, delta_text, error_text, received, snapshot_text, subscribed_text

BASE_US = RECEIVED_US // HOUR_US * HOUR_US


def frames_at(*timed: tuple[float, str]) -> list[ReceivedFrame]:
    """Frames that were received so many hours after the begin of an hour."""
    return [
        ReceivedFrame(number, BASE_US + int(hours * HOUR_US), text)
        for number, (hours, text) in enumerate(timed, 1)
    ]


def without_states(facts: tuple[Fact, ...]) -> list[Fact]:
    return [fact for fact in facts if not isinstance(fact, BookStateFact)]


def checkpoints(facts: tuple[Fact, ...]) -> list[SnapshotFact]:
    return [fact for fact in facts if isinstance(fact, SnapshotFact) and fact.origin == "checkpoint"]


def test_book_that_equals_the_answer_is_a_match() -> None:
    """The answer to get_snapshot is compared at its own place, with every change before it and none after."""
    tracker = FeedTracker.of_markets(["A"])
    batch = tracker.process(
        received(
            snapshot_text("A", 1, yes={"0.4500": "10.00"}, no={"0.5000": "1.00"}),
            delta_text("A", 2, "0.4500", "2.00"),
            snapshot_text("A", 3, yes={"0.4500": "12.00"}, no={"0.5000": "1.00"}, command_id=9),
            delta_text("A", 4, "0.4500", "-1.00"),
        )
    )

    assert [type(fact) for fact in without_states(batch.facts)] == [
        SnapshotFact, DeltaFact, SnapshotFact, AuditFact, DeltaFact,
    ]  # fmt: skip
    assert without_states(batch.facts)[3] == AuditFact(
        "A", 3, RECEIVED_US + 3000, is_match=True, first_difference=None, sid=1
    )
    assert tracker.exact_count() == 1


def test_book_that_differs_is_told_and_asked_for_again() -> None:
    """The verdict names the first level; the market is unknown until it is answered once more."""
    tracker = FeedTracker.of_markets(["A", "B"])
    batch = tracker.process(
        received(
            snapshot_text("A", 1, yes={"0.4500": "10.00", "0.4600": "1.00"}),
            snapshot_text("B", 2),
            snapshot_text("A", 3, yes={"0.4500": "12.00"}, command_id=9),
        )
    )

    snapshot, audit, gap = without_states(batch.facts)[2:]
    assert isinstance(snapshot, SnapshotFact)
    assert audit == AuditFact("A", 3, RECEIVED_US + 3000, False, "yes 4500: book 1000, exchange 1200", sid=1)
    assert gap == GapFact(1, 4, 4, RECEIVED_US + 3000, 3, Cause.AUDIT_MISMATCH, "A", "orderbook_delta")
    assert tracker.lost_markets() == ["A"]
    assert tracker.markets["A"].book.yes_bids == {4500: 1200}

    again = tracker.process(received(snapshot_text("A", 4, yes={"0.4500": "12.00"}, command_id=10), first=4))

    assert [type(fact) for fact in without_states(again.facts)] == [SnapshotFact], (
        "what was not exact is not audited"
    )
    assert tracker.exact_count() == 2


@pytest.mark.parametrize(
    ("yes", "no", "difference"),
    [
        ({4500: 1000}, {5000: 100}, None),
        ({4500: 1000}, {}, "no 5000: book 100, exchange 0"),
        ({4500: 1000, 100: 7, 9000: 1}, {1: 1}, "yes 100: book 0, exchange 7"),
        ({4500: 1000}, {5000: 100, 4900: 3}, "no 4900: book 0, exchange 3"),
    ],
)
def test_first_difference(yes: dict[int, int], no: dict[int, int], difference: str | None) -> None:
    """The lowest price that is not the same, YES before NO; a missing level has size zero."""
    assert OrderBook({4500: 1000}, {5000: 100}).first_difference(yes, no) == difference


@pytest.mark.parametrize(
    "before",
    [
        [snapshot_text("B", 1), snapshot_text("B", 2)],
        [snapshot_text("A", 1), delta_text("A", 2, "0.5", "-1")],
        [snapshot_text("A", 1), error_text(25, sid=1, seq=2)],
    ],
    ids=["without a book", "lost by a negative level", "after the end"],
)
def test_book_that_was_not_exact_is_not_audited(before: list[str]) -> None:
    """A recovered or a late book was not known to be right, so there is nothing to compare."""
    tracker = FeedTracker.of_markets(["A", "B"])
    batch = tracker.process(
        received(subscribed_text("orderbook_delta", 1), *before, snapshot_text("A", 3, command_id=9))
    )

    assert [fact for fact in batch.facts if isinstance(fact, AuditFact)] == []


def test_snapshot_that_nobody_asked_for_is_no_audit() -> None:
    """The empty snapshot after the close changes the book, and is no mistake of ours."""
    tracker = FeedTracker.of_markets(["A"])
    batch = tracker.process(received(snapshot_text("A", 1, yes={"0.4500": "1.00"}), snapshot_text("A", 2)))

    assert [type(fact) for fact in without_states(batch.facts)] == [SnapshotFact, SnapshotFact]
    assert tracker.exact_count() == 1


def test_first_change_of_an_hour_comes_behind_the_whole_book() -> None:
    """Once for each market and hour, as of the market's last frame, and without a frame of its own."""
    tracker = FeedTracker.of_markets(["A", "B"])
    batch = tracker.process(
        frames_at(
            (0.1, snapshot_text("A", 1, yes={"0.4500": "10.00"})),
            (0.2, snapshot_text("B", 2)),
            (0.9, delta_text("A", 3, "0.4500", "2.00")),
            (1.1, delta_text("B", 4, "0.4500", "1.00")),
            (1.2, delta_text("A", 5, "0.4500", "3.00")),
            (1.3, delta_text("A", 6, "0.4500", "4.00")),
            (5.5, delta_text("A", 7, "0.4500", "5.00")),
        )
    )

    assert [
        (told.market_ticker, told.sequence_number, (told.received_us - BASE_US) / HOUR_US, told.yes_bids)
        for told in checkpoints(batch.facts)
    ] == [("B", 2, 1.1, {}), ("A", 3, 1.2, {4500: 1200}), ("A", 6, 5.5, {4500: 1900})]
    assert batch.counts.total == 7
    assert batch.counts.snapshots == 2
    place = batch.facts.index(checkpoints(batch.facts)[1])
    following = batch.facts[place + 1]
    assert isinstance(following, DeltaFact)
    assert following.sequence_number == 5


def test_hour_that_begins_with_a_snapshot_needs_no_checkpoint() -> None:
    """The book has just been told whole."""
    tracker = FeedTracker.of_markets(["A"])
    batch = tracker.process(
        frames_at(
            (0.1, snapshot_text("A", 1)),
            (1.1, snapshot_text("A", 2)),
            (1.2, delta_text("A", 3, "0.4500", "1.00")),
        )
    )

    assert checkpoints(batch.facts) == []


def test_unknown_book_is_not_written_out() -> None:
    """What is not known to be right is no place to begin reading."""
    tracker = FeedTracker.of_markets(["A"])
    batch = tracker.process(
        frames_at((0.1, snapshot_text("A", 1)), (1.1, delta_text("A", 3, "0.4500", "1.00")))
    )

    assert checkpoints(batch.facts) == []


def fold_from(snapshot: SnapshotFact, deltas: list[DeltaFact], until: int) -> OrderBook:
    """A reader's book: a snapshot, and what has a greater number."""
    book = OrderBook(dict(snapshot.yes_bids), dict(snapshot.no_bids))
    for delta in deltas:
        if snapshot.sequence_number < delta.sequence_number <= until:
            book.apply(delta.side, delta.price_e4, delta.delta_e2)
    return book


@settings(deadline=None)
@given(
    every=st.integers(1, 5),
    changes=st.lists(
        st.tuples(st.sampled_from("AB"), st.integers(1, 3), st.integers(1, 9), st.integers(0, 50)),
        min_size=1,
        max_size=40,
    ),
)
def test_reading_from_any_checkpoint_gives_the_true_book(
    every: int, changes: list[tuple[str, int, int, int]]
) -> None:
    """With every sample rate, a checkpoint and the rows behind it fold to the book of the exchange."""
    texts = [(0.0, snapshot_text("A", 1)), (0.0, snapshot_text("B", 2))]
    hours = 0.0
    for seq, (ticker, price, size, percent) in enumerate(changes, 3):
        hours += percent / 100
        texts.append((hours, delta_text(ticker, seq, f"0.{price}000", f"{size}.00")))
    tracker, thinner = FeedTracker.of_markets(("A", "B")), Thinner(every)
    rows = [*thinner.thin(tracker.process(frames_at(*texts)).facts), *thinner.finish()]

    deltas = [row for row in rows if isinstance(row, DeltaFact)]
    for told in checkpoints(tuple(rows)):
        of_market = [delta for delta in deltas if delta.market_ticker == told.market_ticker]
        true = tracker.markets[told.market_ticker].book
        assert attrs.asdict(fold_from(told, of_market, 10**6)) == attrs.asdict(true)
        (first,) = [row for row in rows if isinstance(row, SnapshotFact) and row.origin == "initial"
                    and row.market_ticker == told.market_ticker]  # fmt: skip
        folded = fold_from(first, of_market, told.sequence_number)
        assert (folded.yes_bids, folded.no_bids) == (told.yes_bids, told.no_bids)
        assert told.digest == folded.digest()
