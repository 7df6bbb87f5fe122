"""
What is stored, independent of where: batches, and one description of each kind of row.

Pure. Does not know PostgreSQL. Reads no clock. Starts no task.

- `_kinds`: each kind of row: its fact, table, columns and counts. `_copy_format`: rows as data of a COPY.
- `_batch`: a session's opening, batches and ending. `_session_store`: the interface of what keeps them.
- `_chain`: entries of the database's chain, and hashes.
- `_stream_notes`: opening and ending as notes of the stream.
- `_market_records`: records of markets, from notes.
- `_session_summary`: what a session's rows add up to.
"""

from collector.storage._batch import DAY_US, Batch, SessionEnding, SessionOpening, numbered_markets
from collector.storage._chain import ChainEntry, EntryKind, entry_hash, ledger_hash
from collector.storage._copy_format import MarketIds, copy_columns, encode_rows
from collector.storage._kinds import (
    DELTA,
    GAP,
    KIND_BY_FACT,
    KINDS,
    RAW_BLOCK,
    REJECT,
    SNAPSHOT,
    ColumnType,
    RowKind,
    Values,
    storable_text,
)
from collector.storage._market_records import MarketRecord, is_storable_record, newest_records
from collector.storage._session_store import Held, OpenStore, SessionLink, SessionStore
from collector.storage._session_summary import COUNTED_KINDS, Audits, Coverage, LedgerTotals, SessionSummary
from collector.storage._stream_notes import (
    ending_content,
    ending_note,
    ending_of,
    fold_of,
    opening_note,
    opening_of,
)

__all__ = [
    "COUNTED_KINDS",
    "DAY_US",
    "DELTA",
    "GAP",
    "KINDS",
    "KIND_BY_FACT",
    "RAW_BLOCK",
    "REJECT",
    "SNAPSHOT",
    "Audits",
    "Batch",
    "ChainEntry",
    "ColumnType",
    "Coverage",
    "EntryKind",
    "Held",
    "LedgerTotals",
    "MarketIds",
    "MarketRecord",
    "OpenStore",
    "RowKind",
    "SessionEnding",
    "SessionLink",
    "SessionOpening",
    "SessionStore",
    "SessionSummary",
    "Values",
    "copy_columns",
    "encode_rows",
    "ending_content",
    "ending_note",
    "ending_of",
    "entry_hash",
    "fold_of",
    "is_storable_record",
    "ledger_hash",
    "newest_records",
    "numbered_markets",
    "opening_note",
    "opening_of",
    "storable_text",
]
