"""The order book."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from collector.facts import asks_of
from collector.facts._order_book import OrderBook

LEVELS = st.dictionaries(st.integers(0, 10_000), st.integers(1, 10**9))


def test_digest_is_of_the_canonical_text() -> None:
    """Anyone can compute a book's digest: SHA-256 of its levels, ascending, in the documented words."""
    book = OrderBook({200: 30, 100: 500}, {4000: 100})

    assert book.digest() == hashlib.sha256(b"yes 100=500 200=30\nno 4000=100").digest()
    assert OrderBook().digest() == hashlib.sha256(b"yes\nno").digest()


@given(LEVELS, LEVELS)
def test_digest_tells_books_apart_and_not_their_history(yes: dict[int, int], no: dict[int, int]) -> None:
    """The same levels give the same digest in whatever order they came; swapped sides give another."""
    backwards = OrderBook(dict(reversed(yes.items())), dict(reversed(no.items())))

    assert OrderBook(yes, no).digest() == backwards.digest()
    assert (OrderBook(no, yes).digest() == backwards.digest()) == (yes == no)


def test_asks_are_the_other_sides_bids() -> None:
    """A NO bid at p is a YES ask at one dollar less p."""
    assert asks_of({4500: 100, 3000: 7}) == {5500: 100, 7000: 7}
