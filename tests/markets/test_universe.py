"""Which markets are recorded, as they open, close and are settled."""

from hypothesis import given
from hypothesis import strategies as st

from collector.markets import Universe
from collector.markets._universe import CLOSED_KEPT_S
from collector.protocol import OpenMarket


def listed(**volumes_e2: int) -> list[OpenMarket]:
    return [OpenMarket(ticker, volume_e2) for ticker, volume_e2 in volumes_e2.items()]


def test_most_traded_markets_come_first_and_no_more_than_the_limit() -> None:
    universe = Universe(markets_max=2)

    choice = universe.choose(listed(A=1, B=300, C=20), {}, 0.0)

    assert choice.tickers == choice.joined == ("B", "C")
    assert choice.left == ()


def test_recorded_market_stays_while_it_is_open_however_little_it_is_traded() -> None:
    universe = Universe(markets_max=2)
    universe.choose(listed(A=1, B=2), {}, 0.0)

    choice = universe.choose(listed(A=1, B=2, C=1_000_000), {}, 60.0)

    assert sorted(choice.tickers) == ["A", "B"]
    assert choice.joined == ()


def test_closed_market_gives_its_place_away_and_stays_until_it_is_settled() -> None:
    """Its last snapshot and its settlement are to be in the recording."""
    universe = Universe(markets_max=2)
    universe.choose(listed(A=3, B=2, C=1), {}, 0.0)

    closed = universe.choose(listed(B=2, C=1), {"A": "closed"}, 60.0)
    settled = universe.choose(listed(B=2, C=1), {"A": "finalized"}, 120.0)

    assert sorted(closed.tickers) == ["A", "B", "C"]
    assert closed.joined == ("C",)
    assert sorted(settled.tickers) == ["B", "C"]
    assert settled.left == ("A",)


def test_closed_market_that_is_never_settled_is_let_go_after_a_day() -> None:
    universe = Universe(markets_max=1)
    universe.choose(listed(A=1), {}, 0.0)
    universe.choose([], {}, 60.0)

    assert universe.choose([], {}, CLOSED_KEPT_S).left == ()
    assert universe.choose([], {}, 60.0 + CLOSED_KEPT_S).left == ("A",)


def test_market_that_opens_again_is_recorded_as_before() -> None:
    universe = Universe(markets_max=1)
    universe.choose(listed(A=1), {}, 0.0)
    universe.choose([], {"A": "closed"}, 60.0)

    choice = universe.choose(listed(A=1), {}, 120.0)

    assert (choice.tickers, choice.joined, choice.left) == (("A",), (), ())
    assert universe.missing_from(listed(A=1)) == []


@given(st.lists(st.dictionaries(st.sampled_from("ABCDEFGH"), st.integers(0, 9)), max_size=12))
def test_no_more_are_open_or_closed_than_the_limit(looks: list[dict[str, int]]) -> None:
    """Whatever the exchange lists, what is followed is bounded, and changes are told whole."""
    universe = Universe(markets_max=3)
    followed: set[str] = set()
    for second, look in enumerate(looks):
        choice = universe.choose(listed(**look), {}, float(second))
        assert len(set(choice.tickers) & look.keys()) <= 2 * 3
        assert len(choice.tickers) <= 2 * 3
        assert followed | set(choice.joined) == set(choice.tickers) | set(choice.left)
        followed = set(choice.tickers)


def test_market_that_a_listing_has_left_out_stays_while_it_is_active() -> None:
    """Pages shift while they are read: what its own record says goes before."""
    universe = Universe(markets_max=1)
    universe.choose(listed(A=1), {}, 0.0)

    choice = universe.choose(listed(B=9), {"A": "active"}, 60.0)

    assert choice.tickers == ("A",)
