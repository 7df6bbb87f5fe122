"""
Where batches wait on disk while PostgreSQL is unavailable.

Does not know PostgreSQL.

- `_journal`: the records of one session, bounded, checksummed. `_folder`: files that are on the disk when a
  write returns.
- `_recovery`: what an earlier process left goes into the database.
"""

from collector.spool._folder import open_folder
from collector.spool._journal import Journal, Spool, SpoolFailed, SpoolFull
from collector.spool._recovery import run_recovery

__all__ = [
    "Journal",
    "Spool",
    "SpoolFailed",
    "SpoolFull",
    "open_folder",
    "run_recovery",
]
