"""
Whether a session's rows are consistent among themselves, without the raw frames that they were made of.

Deltas, snapshots and gaps are gone through in the order of their receipt: each delta must find the size that
it says it found, each requested snapshot and each checkpoint of an exact book must be what the deltas led to
(or a gap says that it was not), each digest must be that of its levels, and no exact book may go below zero
unless a gap says so.
"""

from typing import Any, Final, cast

from attrs import define, field, frozen

from collector.database import fetch_excuses, fetch_market_names, open_book_rows
from collector.facts import Cause, digest_levels
from collector.postgres import TrioConnection
from collector.protocol import Levels

FINDINGS_MAX: Final = 100


@frozen
class _Event:
    """A row of `open_book_rows`."""

    received_us: int
    place: int
    rank: int
    market_id: int | None
    is_yes: bool | None
    price_e4: int | None
    delta_e2: int | None
    old_size_e2: int | None
    origin: str | None
    yes_bids: dict[str, int] | None
    no_bids: dict[str, int] | None
    digest: bytes | None


@define
class _Book:
    """
    One market's book. `is_known`: every row since the start of the book is present. `is_exact`: no gap since
    then.
    """

    is_known: bool
    is_exact: bool = False
    levels: dict[bool, Levels] = field(factory=lambda: cast("dict[bool, Levels]", {True: {}, False: {}}))


@define
class _Fold:
    """The books of a session, folded from rows."""

    names: dict[int, str]
    excuses: set[tuple[int, int, str]]
    is_from_start: bool
    books: dict[int, _Book] = field(factory=dict[int, _Book])
    findings: list[str] = field(factory=list[str])

    def add(self, event: _Event) -> None:
        """Check one row against the book, and fold it."""
        if event.rank == 0:
            self._lose(event.market_id)
            return
        assert event.market_id is not None
        book = self.books.setdefault(event.market_id, _Book(self.is_from_start))
        if event.origin is None:
            self._add_delta(book, event, event.market_id)
        else:
            self._add_snapshot(book, event, event.market_id)

    def _lose(self, market_id: int | None) -> None:
        for number, book in self.books.items():
            if market_id is None or market_id == number:
                book.is_exact = False

    def _add_delta(self, book: _Book, event: _Event, market_id: int) -> None:
        assert event.is_yes is not None
        assert event.price_e4 is not None
        assert event.delta_e2 is not None
        assert event.old_size_e2 is not None
        levels = book.levels[event.is_yes]
        folded_e2 = levels.get(event.price_e4, 0)
        if book.is_known and folded_e2 != event.old_size_e2:
            self._find(
                event, market_id, f"old size {event.old_size_e2}, but the rows before give {folded_e2}"
            )
        new_size_e2 = event.old_size_e2 + event.delta_e2
        if new_size_e2 < 0 and book.is_exact and not self._is_excused(event, market_id, Cause.NEGATIVE_LEVEL):
            self._find(event, market_id, f"a level goes to {new_size_e2} without a gap")
        levels.pop(event.price_e4, None)
        if new_size_e2:
            levels[event.price_e4] = new_size_e2

    def _add_snapshot(self, book: _Book, event: _Event, market_id: int) -> None:
        yes_bids, no_bids = _levels(event.yes_bids), _levels(event.no_bids)
        if digest_levels(yes_bids, no_bids) != event.digest:
            self._find(event, market_id, "the digest is not that of its levels")
        is_checkpoint = event.origin == "checkpoint"
        if any(size_e2 <= 0 for size_e2 in (*yes_bids.values(), *no_bids.values())):
            self._find(event, market_id, "a snapshot has a level that is not above zero")
        is_same = book.levels == {True: yes_bids, False: no_bids}
        if (
            book.is_exact
            and not is_same
            and (is_checkpoint or event.origin == "requested")
            and not self._is_excused(event, market_id, Cause.AUDIT_MISMATCH)
        ):
            self._find(event, market_id, f"the {event.origin} snapshot is not what the rows before give")
        book.levels = {True: yes_bids, False: no_bids}
        # A checkpoint is written of exact books only, so it may begin what is left of a recording.
        book.is_exact = book.is_exact or not is_checkpoint or not book.is_known
        book.is_known = True

    def _is_excused(self, event: _Event, market_id: int, cause: Cause) -> bool:
        return (market_id, event.place, cause) in self.excuses

    def _find(self, event: _Event, market_id: int, text: str) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(f"{self.names.get(market_id, market_id)} at number {event.place}: {text}")


async def check_rows(connection: TrioConnection, session_id: int, *, is_from_start: bool) -> list[str]:
    """
    What is wrong with the rows of a session. Without `is_from_start`, rows of its first days are missing, and
    each book is checked from its first snapshot on.
    """
    excuses = await fetch_excuses(connection, session_id)
    fold = _Fold(await fetch_market_names(connection), excuses, is_from_start)
    async with open_book_rows(connection, session_id) as pages:
        async for rows in pages:
            for row in rows:
                fold.add(_Event(*row))
    return fold.findings


def _levels(bids: Any) -> Levels:  # noqa: ANN401 - a jsonb column
    return {int(price): size for price, size in cast("dict[str, int]", bids or {}).items()}
