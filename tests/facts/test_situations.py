"""The table of docs/architecture.md is what the tracker does, and keeps the rules of exactness."""

from tests.facts.situations import BEGIN, END, PAGE, Tried, render, try_all


def is_on_books(tried: Tried) -> bool:
    """Whether the frame arrived on the subscription of the books, or on an unknown one."""
    own = tried.situation.startswith("own") and tried.message.home == 1
    return own or tried.situation in ("`sid` of the books", "any")


def test_the_page_has_the_table() -> None:
    """Where they differ: python -m tests.facts.situations --update."""
    table = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert table == render(), "run: python -m tests.facts.situations --update"


def test_what_is_not_understood_leaves_no_book_exact_that_it_may_concern() -> None:
    """A reject on the subscription of the books, or one about a market's book anywhere."""
    for tried in try_all():
        if tried.outcome.counted != "reject":
            continue
        if is_on_books(tried) or tried.message.name.startswith(("delta", "snapshot")):
            assert tried.causes["A"] is not None, tried


def test_a_known_type_elsewhere_and_an_unknown_one_on_the_books_are_not_ignored() -> None:
    """What carries no books has no place on their subscription."""
    for tried in try_all():
        if tried.message.name in ("trade", "lifecycle message", "unknown type") and is_on_books(tried):
            is_repetition = tried.situation.endswith("same frame")
            assert is_repetition or all(tried.causes.values()), tried


def test_each_state_is_a_row() -> None:
    """What the live state says of a book after a frame is what the rows say."""
    for tried in try_all():
        assert tried.stated == tried.causes, tried


def test_numbers_that_are_missing_are_a_gap() -> None:
    """On any subscription, whatever the frame after them is."""
    for tried in try_all():
        if "ahead" in tried.situation:
            assert "`sequence`, the `sid`, 2 missing" in tried.outcome.gap, tried
