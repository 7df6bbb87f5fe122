"""
From a session's raw frames to the rows that they must have led to. Pure.

Rows are compared as sums of hashes, kind by kind and ten minutes by ten minutes, so that sessions of millions
of frames fit, and the order in which PostgreSQL gives rows back does not matter. The hash is Python's own:
sums are only compared within one process.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Final, Literal, TypeAlias

from attrs import define, field, frozen

from collector.protocol.facts import (
    AuditFact,
    DeltaFact,
    EventFact,
    Fact,
    FrameCounts,
    GapFact,
    ReceivedFrame,
    RejectFact,
    SnapshotFact,
    TradeFact,
)
from collector.protocol.thinning import Thinner
from collector.protocol.tracker import FeedTracker

RowKind = Literal["delta", "snapshot", "trade", "event", "gap", "audit", "reject"]
Row: TypeAlias = tuple[Hashable, ...]

BUCKET_US: Final = 600_000_000
_MODULUS: Final = 2**64


@frozen
class Bucket:
    """One kind of rows, received within the same ten minutes since 1970 UTC."""

    kind: RowKind
    number: int


@define
class RowSums:
    """How many rows there are in each bucket, and the sum of their hashes."""

    counts: dict[Bucket, int] = field(factory=dict[Bucket, int])
    sums: dict[Bucket, int] = field(factory=dict[Bucket, int])

    def add(self, kind: RowKind, received_us: int, row: Row) -> None:
        """Count one row."""
        bucket = Bucket(kind, received_us // BUCKET_US)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.sums[bucket] = (self.sums.get(bucket, 0) + hash(row)) % _MODULUS

    def differences(self, other: "RowSums") -> list[Bucket]:
        """Where two accounts do not agree, in order of kind and time."""
        buckets = self.counts.keys() | other.counts.keys()
        wrong = [
            bucket
            for bucket in buckets
            if self.counts.get(bucket, 0) != other.counts.get(bucket, 0)
            or self.sums.get(bucket) != other.sums.get(bucket)
        ]
        return sorted(wrong, key=lambda bucket: (bucket.kind, bucket.number))


@define(eq=False)
class Derivation:
    """One session, folded anew from its raw frames."""

    sample_rate: int
    rows: RowSums = field(factory=RowSums)
    _tracker: FeedTracker = field(init=False)
    _thinner: Thinner = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._thinner = Thinner(self.sample_rate)

    @classmethod
    def of_session(cls, market_tickers: Sequence[str], sample_rate: int) -> "Derivation":
        """As the recorder began: with the markets that it was about to subscribe."""
        derivation = cls(sample_rate)
        derivation._tracker = FeedTracker.of_markets(market_tickers)
        return derivation

    def fold(self, frames: Iterable[ReceivedFrame]) -> FrameCounts:
        """Fold the next frames, in order, and tell how many there were of each kind."""
        facts, counts = self.facts_of(frames)
        self._add_rows(self.rows, facts)
        return counts

    @property
    def market_tickers(self) -> frozenset[str]:
        """All markets of the session so far."""
        return self._tracker.recorded

    def finish(self) -> RowSums:
        """The rows when what is still summed becomes rows too, as at the orderly end of a session."""
        rows = RowSums(dict(self.rows.counts), dict(self.rows.sums))
        self._add_rows(rows, self.last_facts())
        return rows

    def facts_of(self, frames: Iterable[ReceivedFrame]) -> tuple[list[Fact], FrameCounts]:
        """The facts of the next frames that become rows, instead of their sums."""
        batch = self._tracker.process(frames)
        return self._thinner.thin(batch.facts), batch.counts

    def last_facts(self) -> list[Fact]:
        """What is still summed when the session has ended in order."""
        return self._thinner.finish()

    def _add_rows(self, rows: RowSums, facts: Iterable[Fact]) -> None:
        for fact in facts:
            keyed = row_of(fact)
            if keyed is not None:
                rows.add(*keyed)


def row_of(fact: Fact) -> tuple[RowKind, int, Row] | None:
    """The kind, the receive time and the values of the row that a fact becomes; None when it becomes none."""
    match fact:
        case DeltaFact():
            values: Row = (
                fact.market_ticker, fact.sequence_number, fact.timestamp_ms, fact.received_us,
                fact.side == "yes", fact.price_e4, fact.delta_e2, fact.old_size_e2,
            )  # fmt: skip
            return "delta", fact.received_us, values
        case SnapshotFact():
            return "snapshot", fact.received_us, (
                fact.market_ticker, fact.sequence_number, fact.received_us, fact.origin,
                frozenset(fact.yes_bids.items()), frozenset(fact.no_bids.items()), fact.digest,
            )  # fmt: skip
        case TradeFact():
            taker_yes = None if fact.taker_side is None else fact.taker_side == "yes"
            return "trade", fact.received_us, (
                fact.market_ticker, fact.sequence_number, fact.timestamp_ms, fact.received_us,
                fact.trade_id, taker_yes, fact.price_e4, fact.count_e2, fact.is_block_trade,
            )  # fmt: skip
        case EventFact():
            return "event", fact.received_us, (
                fact.market_ticker, fact.sequence_number, fact.timestamp_ms, fact.received_us,
                fact.event_type, fact.event,
            )  # fmt: skip
        case GapFact():
            return "gap", fact.detected_us, (
                fact.sid, fact.expected, fact.received, fact.detected_us, fact.frame_number, fact.cause,
                fact.market_ticker, fact.channel,
            )  # fmt: skip
        case AuditFact():
            return "audit", fact.received_us, (
                fact.market_ticker, fact.sequence_number, fact.received_us, fact.is_match,
                fact.first_difference,
            )  # fmt: skip
        case RejectFact():
            return "reject", fact.received_us, (fact.frame_number, fact.received_us, fact.text.encode())
        case _:
            return None
