"""What the rows of one session add up to."""

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from collector.facts import FrameCounts
from collector.storage._kinds import KINDS, RowKind

COUNTED_KINDS: Final = tuple(kind for kind in KINDS if not kind.is_partitioned)
"""Kinds of rows that are few: their tables are counted whole."""


@frozen
class LedgerTotals:
    """What a session's ledger adds up to: frames by FRAME_COUNTS, rows by kind."""

    batches: int = 0
    first_batch: int = 1
    last_batch: int = 0
    frames: int = 0
    first_frame: int = 1
    last_frame: int = 0
    frame_counts: FrameCounts = field(factory=FrameCounts)
    row_counts: Mapping[RowKind, int] = field(factory=lambda: dict.fromkeys(KINDS, 0))


@frozen
class Audits:
    """How often books were compared with the exchange's, with what outcome, and when last."""

    matches: int = 0
    mismatches: int = 0
    last_us: int | None = None


@frozen
class Coverage:
    """How many of its markets have an exact book now, or had at its end; times are over all markets."""

    markets: int
    exact_markets: int
    total_us: int
    exact_us: int


@frozen
class SessionSummary:
    """One session: its row, its ledger, and what is in the tables beside them."""

    session_id: int
    status: str
    started_us: int
    ended_us: int | None
    end_reason: str | None
    last_message_us: int | None
    frames: int
    batches: int
    gaps: int
    frame_counts: FrameCounts
    ledger: LedgerTotals
    rows: Mapping[RowKind, int]
    """Rows of COUNTED_KINDS, counted in their tables."""
    gaps_by_cause: Mapping[str, int]
    audits: Audits
    coverage: Coverage | None
    """None when the database has no view of coverage, or the session has no market."""
