"""No book is called exact that is not, whatever an exchange sends; and every book recovers."""

import pytest

from tests.mutations.session import Session

CHUNK = 250


@pytest.mark.parametrize("first", range(0, 2000, CHUNK))
def test_exact_books_are_the_exchanges(first: int) -> None:
    """Two thousand sessions of changed frames; `python -m tests.mutations` runs more."""
    for seed in range(first, first + CHUNK):
        Session(seed).run()
