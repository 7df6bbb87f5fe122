"""
Whether the rows of a session's ledger follow each other by their hashes. Pure.

A row follows the row before it by number, as of when it was written. So the row after one that filled a hole
may follow the row before the hole.
"""

from collections.abc import Iterable
from uuid import UUID

from attrs import define

from collector.recording._session_reader import RecordedBatch


@define
class LedgerLinks:
    """The rows so far. `late` are hashes of those that filled holes, `hash` is that of the newest other."""

    session_key: UUID
    late: frozenset[bytes]
    hash: bytes = b""
    _before: Iterable[bytes] = (b"",)

    def add(self, batch: RecordedBatch) -> bool:
        """Take in the next row. Returns whether it follows; of a summary, nobody can tell."""
        follows = batch.is_summary or any(
            batch.hash_after(before, self.session_key) == batch.hash for before in self._before
        )
        self._before = (batch.hash,)
        if batch.hash in self.late and not batch.is_summary:
            self._before = (batch.hash, self.hash)
        else:
            self.hash = batch.hash
        return follows
