"""The write ledger: one row for each committed batch."""

from typing import Final

from collector.facts import FRAME_COUNTS, FrameCounts
from collector.postgres import TrioConnection
from collector.storage import KINDS, Batch

ROW_COUNTS: Final = tuple(kind.rows_column for kind in KINDS)
"""Columns with the number of rows of each kind, in the order of KINDS."""
LEDGER_COUNTS: Final = (*FRAME_COUNTS, *ROW_COUNTS)
"""Columns with counts: of the batch's frames, and of its rows."""

_COLUMNS: Final = (
    *("session_id", "batch_number", "first_frame", "last_frame", "first_received_us", "last_received_us"),
    *(*LEDGER_COUNTS, "checksum"),
)
_INSERT: Final = (
    f"INSERT INTO rl_write_ledger ({', '.join(_COLUMNS)}) VALUES ({', '.join(['%s'] * len(_COLUMNS))})"
    " ON CONFLICT DO NOTHING RETURNING batch_number"
).encode()


async def enter_ledger(
    connection: TrioConnection, session_id: int, batch: Batch, row_counts: tuple[int, ...], checksum: bytes
) -> bool:
    """
    Insert the ledger row of a batch; False when there is one already.

    A transaction that is still committing the same batch makes this wait for its outcome.
    """
    cursor = await connection.execute(
        _INSERT,
        (
            session_id,
            batch.number,
            batch.first_frame,
            batch.last_frame,
            *batch.received_us,
            *counts_of(batch.counts, row_counts),
            checksum,
        ),
    )
    return await cursor.fetchone() is not None


def counts_of(frames: FrameCounts, row_counts: tuple[int, ...]) -> tuple[int, ...]:
    """Values for the columns LEDGER_COUNTS."""
    return (*frames.values(), *row_counts)
