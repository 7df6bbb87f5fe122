"""
Derives from a session's stream the rows that must be stored. Pure.

Rows are compared as sums of hashes, one sum for each kind and each ten minutes of receive time. So memory
does not grow with the number of frames, and the order in which PostgreSQL returns rows does not matter.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec
from attrs import define, field, frozen

from collector.facts import Fact, FrameCounts, StreamFold
from collector.rawblocks import BlockContent
from collector.storage import KIND_BY_FACT, RowKind, SessionOpening, Values, fold_of

BUCKET_US: Final = 600_000_000
HASH_BYTES: Final = 16
_MODULUS: Final = 2 ** (8 * HASH_BYTES)
_encode = msgspec.msgpack.Encoder().encode


@frozen
class Bucket:
    """One kind of rows, received within the same ten minutes since 1970 UTC."""

    kind: RowKind
    number: int


@define
class RowSums:
    """How many rows there are in each bucket, and the sum of their hashes: BLAKE2b over MessagePack."""

    counts: dict[Bucket, int] = field(factory=dict[Bucket, int])
    sums: dict[Bucket, int] = field(factory=dict[Bucket, int])

    def add(self, kind: RowKind, row: Values, times: int = 1) -> None:
        """Count one row; with -1, take it back."""
        bucket = Bucket(kind, row[kind.time_index] // BUCKET_US)
        digest = hashlib.blake2b(_encode(row), digest_size=HASH_BYTES).digest()
        self.counts[bucket] = self.counts.get(bucket, 0) + times
        self.sums[bucket] = (self.sums.get(bucket, 0) + times * int.from_bytes(digest)) % _MODULUS

    def differences(self, other: "RowSums") -> list[Bucket]:
        """The buckets in which two sums do not agree, in order of kind and time."""
        buckets = self.counts.keys() | other.counts.keys()
        wrong = [
            bucket
            for bucket in buckets
            if self.counts.get(bucket, 0) != other.counts.get(bucket, 0)
            or self.sums.get(bucket, 0) != other.sums.get(bucket, 0)
        ]
        return sorted(wrong, key=lambda bucket: (bucket.kind.name, bucket.number))


@define(eq=False)
class Derivation:
    """
    One session, folded from its stream as the recorder folded it. It may begin with a later fold than the
    opening's, which a stored state gives.
    """

    opening: SessionOpening
    rows: RowSums = field(factory=RowSums)
    _fold: StreamFold = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._fold = fold_of(self.opening)

    def resume(self, fold: StreamFold) -> None:
        """Continue with the fold of a stored state, after frames that could not be read."""
        self._fold = fold

    def add(self, facts: Iterable[Fact], times: int = 1) -> None:
        """Count the rows of facts; with -1, take them back."""
        _add_rows(self.rows, facts, times)

    @property
    def market_tickers(self) -> frozenset[str]:
        """All markets of the session so far."""
        return frozenset(self._fold.tracker.recorded)

    def finish(self) -> RowSums:
        """The rows when what is still summed becomes rows too, as at the orderly end of a session."""
        rows = RowSums(dict(self.rows.counts), dict(self.rows.sums))
        _add_rows(rows, self.last_facts(), 1)
        return rows

    def facts_of(self, content: BlockContent) -> tuple[list[Fact], FrameCounts]:
        """The facts of the next run that become rows, instead of their sums."""
        batch, rows = self._fold.process(content.frames, content.notes)
        return rows, batch.counts

    def last_facts(self) -> list[Fact]:
        """What is still summed when the session has ended in order."""
        return self._fold.finish()


def _add_rows(rows: RowSums, facts: Iterable[Fact], times: int) -> None:
    for fact in facts:
        kind = KIND_BY_FACT.get(type(fact))
        if kind is not None:
            rows.add(kind, kind.values(fact), times)
