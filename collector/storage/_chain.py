"""
The chain of a database, and the hashes that link its entries and the rows of the ledger. Pure.

Each hash is the SHA-256 of lines of text: the hash before it, then the values of the row in the order of its
columns, null as an empty line. Only the last line may have line ends in it, so that two rows never give the
same text. See docs/proof.md.
"""

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from uuid import UUID

from attrs import frozen


class EntryKind(StrEnum):
    """What an entry of the chain is about. The values are stored."""

    OPENING = "opening"
    """A session has opened. The content is its opening, as in its stream."""
    ENDING = "ending"
    """A session was ended by its recorder. The content is its ending, as in its stream."""
    PRESUMED = "presumed"
    """Another process has ended a session. Its recorder may still add batches and an ending of its own."""
    LATE = "late"
    """A batch has filled a hole in a session's ledger. `ledger_hash` is that of its row."""
    REBUILD = "rebuild"
    """`rederive` has changed counts of a session's ledger, and so its hashes."""
    DROP = "drop"
    """Retention has dropped a partition."""
    SUMMARY = "summary"
    """Retention has summarised a day."""
    PROOF = "proof"
    """`verify --record` has proven a day of a session."""


@frozen
class ChainEntry:
    """
    A row of `rl_chain`. `session_key` is None where it is not about a session, `ledger_hash` where that
    session has no batch. `entered_us` is by the database's clock.
    """

    entry_number: int
    kind: str
    session_key: UUID | None
    ledger_hash: bytes | None
    content: str
    entered_us: int
    hash: bytes


def entry_hash(before: str, entry: ChainEntry) -> bytes:
    """
    The hash that an entry must have after the one before, whose hash is given in hexadecimal: for the first
    entry, the database's key.
    """
    lines = (
        before,
        str(entry.entry_number),
        entry.kind,
        "" if entry.session_key is None else str(entry.session_key),
        "" if entry.ledger_hash is None else entry.ledger_hash.hex(),
        str(entry.entered_us),
        entry.content,
    )
    return _hash_of(lines)


def ledger_hash(before: bytes, session_key: UUID, numbers: Sequence[int | None], block_hash: bytes) -> bytes:
    """
    The hash of a row of the ledger, after the row with the hash `before`, which is empty for the first one.

    `numbers` are its columns from `batch_number` to `written_us`, without `first_batch`.
    """
    values = ("" if number is None else str(number) for number in numbers)
    return _hash_of([before.hex(), str(session_key), *values, block_hash.hex()])


def _hash_of(lines: Iterable[str]) -> bytes:
    return hashlib.sha256("\n".join(lines).encode()).digest()
