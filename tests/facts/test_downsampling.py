"""Fewer rows, the same book."""

from hypothesis import given
from hypothesis import strategies as st

from collector.facts import Cause, DeltaFact, Fact, GapFact, SnapshotFact
from collector.facts._downsampling import Thinner
from collector.facts._order_book import OrderBook
from collector.protocol import Side

LEVELS = st.tuples(st.sampled_from(["A", "B"]), st.sampled_from(["yes", "no"]), st.integers(1, 4))


def deltas_of(moves: list[tuple[tuple[str, Side, int], int]]) -> list[DeltaFact]:
    """Deltas as the tracker would make them, from an empty book on."""
    books = {"A": OrderBook(), "B": OrderBook()}
    facts: list[DeltaFact] = []
    for seq, ((ticker, side, price_e4), delta_e2) in enumerate(moves, 1):
        old_size_e2 = books[ticker].apply(side, price_e4, delta_e2)
        facts.append(DeltaFact(ticker, seq, seq, seq, side, price_e4, delta_e2, old_size_e2, sid=1))
    return facts


@given(st.lists(st.tuples(LEVELS, st.integers(-5, 9))), st.integers(2, 6), st.integers(1, 7))
def test_kept_rows_fold_to_the_true_book(
    moves: list[tuple[tuple[str, Side, int], int]], every: int, batch: int
) -> None:
    """At every kept point, and at the end, folding the kept rows gives the book that all deltas give."""
    facts = deltas_of(moves)
    thinner = Thinner(every)
    rows = [
        row for first in range(0, len(facts), batch) for row in thinner.thin(facts[first : first + batch])
    ]
    rows += thinner.finish()

    for ticker in ("A", "B"):
        true, kept = OrderBook(), OrderBook()
        kept_rows = [row for row in rows if isinstance(row, DeltaFact) and row.market_ticker == ticker]
        points = {row.sequence_number for row in kept_rows}
        for fact in (fact for fact in facts if fact.market_ticker == ticker):
            true.apply(fact.side, fact.price_e4, fact.delta_e2)
            if fact.sequence_number in points:
                for row in (row for row in kept_rows if row.sequence_number == fact.sequence_number):
                    assert kept.apply(row.side, row.price_e4, row.delta_e2) == row.old_size_e2
                assert kept == true
        assert kept == true
    assert len(rows) <= len(facts)


def test_rate_of_one_keeps_everything() -> None:
    """Without thinning every delta is a row, as it came."""
    facts: list[Fact] = list(deltas_of([(("A", "yes", 1), 5), (("A", "yes", 1), -5)]))

    assert Thinner(1).thin(facts) == facts


def test_what_is_summed_comes_out_before_a_gap_and_before_a_snapshot() -> None:
    """Nothing that was received before a hole or a replacement is left out of the rows."""
    first, second = deltas_of([(("A", "yes", 1), 5), (("B", "no", 2), 7)])
    gap = GapFact(1, 3, 5, 0, 3, Cause.SEQUENCE)
    snapshot = SnapshotFact("A", 6, 0, "requested", {}, {}, b"", sid=1, frame_number=1)

    assert Thinner(10).thin([first, second, gap]) == [first, second, gap]
    assert Thinner(10).thin([first, second, snapshot]) == [first, snapshot]
