"""
Where batches wait on disk while PostgreSQL is unavailable, and are kept until it can't lose them any more.

Does not know PostgreSQL.

- `_records`: records as bytes. `_journal`: the records of one session, bounded, checksummed.
- `_disk`: what is needed of a disk. `_folder`: files that are on the disk when a write returns.
- `_refusals`: a batch that alone is refused is set aside.
- `_leftovers`, `_recovery`: what an earlier process left is found, and goes into the database.
"""

from collector.spool._disk import SpoolFailed, SpoolFull
from collector.spool._folder import open_folder
from collector.spool._journal import Journal, Spool
from collector.spool._leftovers import find_leftovers
from collector.spool._recovery import run_recovery
from collector.spool._refusals import set_aside_if_alone

__all__ = [
    "Journal",
    "Spool",
    "SpoolFailed",
    "SpoolFull",
    "find_leftovers",
    "open_folder",
    "run_recovery",
    "set_aside_if_alone",
]
