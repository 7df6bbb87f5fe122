"""
Whether a session's ledger closes: its numbers follow each other, and its counts agree with the tables. Pure.
"""

from collector.facts import FRAME_COUNTS
from collector.storage import GAP, SessionSummary


def ledger_faults(summary: SessionSummary) -> list[str]:
    """Where a session's ledger does not close; empty when it does."""
    ledger = summary.ledger
    faults: list[str] = []
    for name, first, count, last in (
        ("batches", ledger.first_batch, ledger.batches, ledger.last_batch),
        ("frames", ledger.first_frame, ledger.frames, ledger.last_frame),
    ):
        if (first, count) != (1, last):
            faults.append(f"{count} {name}, numbered {first} to {last}: some are missing")
    for name, by_ledger, by_row in (
        ("batches", ledger.batches, summary.batches),
        ("frames", ledger.frames, summary.frames),
        *zip(FRAME_COUNTS, ledger.frame_counts.values(), summary.frame_counts.values(), strict=True),
        ("gaps", ledger.row_counts[GAP], summary.gaps),
    ):
        if by_ledger != by_row:
            faults.append(f"{name}: {by_ledger} by the ledger, {by_row} by the session")
    for kind, rows in summary.rows.items():
        if ledger.row_counts[kind] != rows:
            faults.append(f"{kind.name} rows: {ledger.row_counts[kind]} by the ledger, {rows} are there")
    return faults
