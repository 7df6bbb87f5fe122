"""
A batch that is refused while others are accepted.

A missing right or a missing table concerns every batch, and passes when somebody mends it. What one batch
alone is refused for does not, and would hold up everything after it.
"""

from typing import Final

from collector.errors import StoreRejected
from collector.spool._journal import Journal
from collector.storage import Batch, SessionLink

ROUNDS: Final = 3
"""Tries in a row that must show the same: a right may be taken and given in between."""


async def set_aside_if_alone(
    link: SessionLink, journal: Journal, refused: Batch, refusal: StoreRejected
) -> bool:
    """
    Set the first batch of a journal aside if it alone is refused, in ROUNDS tries in a row. Returns whether
    it was set aside.

    Raises SpoolFailed, StoreUnavailable and StoreRejected.
    """
    is_alone = await _is_refused_alone(link, journal, refused)
    journal.refused_rounds = journal.refused_rounds + 1 if is_alone else 0
    if journal.refused_rounds < ROUNDS:
        return False
    await journal.set_aside(str(refusal))
    return True


async def _is_refused_alone(link: SessionLink, journal: Journal, refused: Batch) -> bool:
    """
    Whether the store accepts a later batch with the same kinds of rows, and still refuses this one.

    False while no such batch waits in the journal. The later batch is not stored by this.
    """
    kinds = {kind for kind, facts in refused.rows.items() if facts}
    later = await journal.find_later(lambda batch: all(batch.rows[kind] for kind in kinds))
    # After a refusal nothing that the database gave is taken as known.
    await link.begin()
    return later is not None and await _is_accepted(link, later) and not await _is_accepted(link, refused)


async def _is_accepted(link: SessionLink, batch: Batch) -> bool:
    try:
        await link.try_out(batch)
    except StoreRejected:
        return False
    return True
