"""
All SQL of this program: what is written to the database and what is read from it.

Starts no task. Reads no clock.

- `_definitions`: whether a database's definitions are the shipped ones.
- `_schema`, `_partitions`: the schema with its migrations, and the partitions of days.
- `_old_tables`: tables of an earlier program that have our names.
- `_preflight`: whether a database is one to record into. `_identity`: which database it is.
- `_sessions`, `_markets`: their rows. `_batches`, `_ledger`, `_copy`: a batch in one transaction.
- `_chain`: what can't be undone, linked by hashes.
- `_session_store`: a session's batches, over one connection after another.
- `_transactions`: transactions and pages. `_recorded`, `_book_rows`, `_coverage`,
  `_session_summary`: reading.
- `_strays`: rows that belong to nothing. `_replacement`: new rows in place of a session's old ones.
"""

from collector.database._book_rows import (
    fetch_changes,
    fetch_excuses,
    fetch_first_start,
    fetch_market_names,
    fetch_newest_message,
    fetch_newest_snapshot,
    fetch_recording_sessions,
    fetch_unknown_cause,
    is_proven_empty,
    open_book_rows,
)
from collector.database._chain import (
    append_entry,
    chain_pages,
    fetch_chain_head,
    fetch_database_row,
    fetch_entry,
    fetch_late_hashes,
)
from collector.database._coverage import CoverageRows, CoverageSpan, fetch_coverage
from collector.database._definitions import find_altered_definitions
from collector.database._ledger import LEDGER_NUMBERS, ledger_numbers
from collector.database._markets import fetch_records
from collector.database._old_tables import (
    OldTables,
    OpenConnection,
    inspect_old_tables,
    move_old_tables,
    undo_commands,
)
from collector.database._partitions import (
    Drop,
    DropOutcome,
    PartitionFacts,
    drop_partition,
    ensure_partitions,
    fetch_database_us,
    fetch_dropped_days,
    fetch_missing_partitions,
    fetch_old_partitions,
    fetch_partition_facts,
    summarise_day,
)
from collector.database._preflight import (
    ADVICE,
    OLD_SCHEMA,
    Risk,
    fetch_database_facts,
    find_foreign,
    find_obstacle,
    find_risks,
    holds_session_locks,
)
from collector.database._recorded import (
    fetch_batch_rows,
    fetch_session_rows,
    fetch_state_after,
    fetch_state_frames,
    fetch_tracker_state,
    find_sessions,
    open_row_pages,
)
from collector.database._replacement import KindDifference, Replacement
from collector.database._schema import apply_schema, protect, require_known_version
from collector.database._session_store import PostgresSession
from collector.database._session_summary import fetch_session_summaries
from collector.database._sessions import (
    SilentSession,
    fetch_silent_sessions,
    presume_ended,
    set_decoder_version,
    take_recorder_lock,
)
from collector.database._strays import fetch_strays
from collector.database._transactions import Pages, read_only

__all__ = [
    "ADVICE",
    "LEDGER_NUMBERS",
    "OLD_SCHEMA",
    "CoverageRows",
    "CoverageSpan",
    "Drop",
    "DropOutcome",
    "KindDifference",
    "OldTables",
    "OpenConnection",
    "Pages",
    "PartitionFacts",
    "PostgresSession",
    "Replacement",
    "Risk",
    "SilentSession",
    "append_entry",
    "apply_schema",
    "chain_pages",
    "drop_partition",
    "ensure_partitions",
    "fetch_batch_rows",
    "fetch_chain_head",
    "fetch_changes",
    "fetch_coverage",
    "fetch_database_facts",
    "fetch_database_row",
    "fetch_database_us",
    "fetch_dropped_days",
    "fetch_entry",
    "fetch_excuses",
    "fetch_first_start",
    "fetch_late_hashes",
    "fetch_market_names",
    "fetch_missing_partitions",
    "fetch_newest_message",
    "fetch_newest_snapshot",
    "fetch_old_partitions",
    "fetch_partition_facts",
    "fetch_recording_sessions",
    "fetch_records",
    "fetch_session_rows",
    "fetch_session_summaries",
    "fetch_silent_sessions",
    "fetch_state_after",
    "fetch_state_frames",
    "fetch_strays",
    "fetch_tracker_state",
    "fetch_unknown_cause",
    "find_altered_definitions",
    "find_foreign",
    "find_obstacle",
    "find_risks",
    "find_sessions",
    "holds_session_locks",
    "inspect_old_tables",
    "is_proven_empty",
    "ledger_numbers",
    "move_old_tables",
    "open_book_rows",
    "open_row_pages",
    "presume_ended",
    "protect",
    "read_only",
    "require_known_version",
    "set_decoder_version",
    "summarise_day",
    "take_recorder_lock",
    "undo_commands",
]
