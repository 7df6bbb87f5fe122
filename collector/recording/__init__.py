"""
Reads recordings back: proves them, rebuilds books, rebuilds rows.

Reads no clock. Starts no task.

- `_session_reader`: a session's batches and frames, a page at a time. `_recording`: questions while it grows.
- `_derivation`: the rows that raw frames must have led to. `_rederive`: replaces the stored ones.
- `_verify`: checks everything. `_chain_checks`: entry by entry. `_session_checks`: a session, which
  `_ledger_walk` goes through, and `_ledger_links` by its hashes. `_row_checks`: rows without raw frames.
- `_findings`, `_session_report`: what a check has found. `_ledger_checks`: whether a ledger closes.
- `_rebuild`: a book at an instant. `_coverage`: when books were exact. `_format`: reports as text and JSON.
  `_progress`: how far a long command is.
"""

from collector.recording._coverage import MarketCoverage
from collector.recording._format import (
    book_as_json,
    book_lines,
    rederive_lines,
    report_as_json,
    report_lines,
    verdict_as_json,
    verdict_lines,
)
from collector.recording._ledger_checks import ledger_faults
from collector.recording._rebuild import parse_instant, rebuild_book
from collector.recording._recording import Recording
from collector.recording._rederive import RederiveReport, rederive_sessions
from collector.recording._session_reader import find_session
from collector.recording._session_report import SessionReport
from collector.recording._verify import verify_recording

__all__ = [
    "MarketCoverage",
    "Recording",
    "RederiveReport",
    "SessionReport",
    "book_as_json",
    "book_lines",
    "find_session",
    "ledger_faults",
    "parse_instant",
    "rebuild_book",
    "rederive_lines",
    "rederive_sessions",
    "report_as_json",
    "report_lines",
    "verdict_as_json",
    "verdict_lines",
    "verify_recording",
]
