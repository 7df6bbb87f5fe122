"""
Checks of the chain of a database, entry by entry, and what it says of each session. Pure.

Memory holds a few numbers for each session and each drop, never the contents of all entries.
"""

import json
from collections.abc import Iterable
from datetime import date
from typing import Any, Final
from uuid import UUID

from attrs import define, field

from collector.recording._findings import Finding, FindingKind, Findings
from collector.storage import ChainEntry, EntryKind, entry_hash

_EPOCH: Final = date(1970, 1, 1)


@define
class SessionEntries:
    """
    Where a session stands in the chain: the numbers of the entries that hold its opening and its newest
    ending, the ledger hash of the newest entry, the version of the meaning of its rows after a rebuild, and
    the hashes of rows that filled holes in its ledger.
    """

    opening: int | None = None
    ending: int | None = None
    is_presumed: bool = False
    ledger_hash: bytes = b""
    rebuilt_version: int | None = None
    late: set[bytes] = field(factory=set[bytes])


@define
class ChainAccount:
    """What the entries so far say. `before` is what the next entry's hash must follow, in hexadecimal."""

    before: str
    expected_hash: str = ""
    entries: int = 0
    head: str = ""
    has_expected: bool = False
    sessions: dict[UUID, SessionEntries] = field(factory=dict[UUID, SessionEntries])
    dropped: set[tuple[str, int]] = field(factory=set[tuple[str, int]])
    """Tables and days (since 1970 UTC) of the partitions that retention has dropped."""
    summaries: dict[int, str] = field(factory=dict[int, str])
    """By summarised day, the hash over its summaries in hexadecimal."""
    findings: Findings = field(factory=Findings)

    def add(self, entries: Iterable[ChainEntry]) -> None:
        """Take in the next entries, in order."""
        for entry in entries:
            self._check(entry)
            self._note(entry)

    def dropped_days(self, table: str) -> frozenset[int]:
        """The days whose partition of a table retention has dropped."""
        return frozenset(day for name, day in self.dropped if name == table)

    def finish(self, newest_entry: int) -> None:
        """All entries were taken in; the database says which number the newest one has."""
        if newest_entry != self.entries:
            self._find(f"the newest entry is {self.entries}, and the database counts {newest_entry}")
        if self.expected_hash and not self.has_expected:
            self.findings.add(
                Finding(FindingKind.EXPECTED_HASH, f"no entry has the hash {self.expected_hash}")
            )

    def _check(self, entry: ChainEntry) -> None:
        if entry.entry_number != self.entries + 1:
            self._find(f"entry {self.entries + 1} is missing: the next one is {entry.entry_number}")
        elif entry_hash(self.before, entry) != entry.hash:
            self._find(
                f"entry {entry.entry_number} ({entry.kind}): its hash does not follow from its content"
            )
        self.entries = entry.entry_number
        self.head = self.before = entry.hash.hex()
        self.has_expected = self.has_expected or self.head == self.expected_hash

    def _note(self, entry: ChainEntry) -> None:
        try:
            if entry.session_key is not None:
                self._note_session(entry, self.sessions.setdefault(entry.session_key, SessionEntries()))
            else:
                self._note_retention(entry, json.loads(entry.content))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._find(f"entry {entry.entry_number} ({entry.kind}) can't be read: {error}")

    def _note_session(self, entry: ChainEntry, session: SessionEntries) -> None:
        match entry.kind:
            case EntryKind.OPENING:
                session.opening = session.opening or entry.entry_number
            case EntryKind.ENDING | EntryKind.PRESUMED:
                session.ending = entry.entry_number
                session.is_presumed = entry.kind == EntryKind.PRESUMED
            case EntryKind.REBUILD:
                session.rebuilt_version = int(json.loads(entry.content)["decoder_version"])
            case EntryKind.LATE:
                session.late.add(entry.ledger_hash or b"")
                return
            case EntryKind.PROOF:
                return
            case _:
                raise ValueError("it is about no session")
        session.ledger_hash = entry.ledger_hash or b""

    def _note_retention(self, entry: ChainEntry, content: dict[str, Any]) -> None:
        day = (date.fromisoformat(content["day"]) - _EPOCH).days
        match entry.kind:
            case EntryKind.DROP:
                self.dropped.add((str(content["table_name"]), day))
            case EntryKind.SUMMARY:
                self.summaries[day] = str(content["summaries_hash"])
            case _:
                raise ValueError("it names no session")

    def _find(self, text: str) -> None:
        self.findings.add(Finding(FindingKind.CHAIN, text))
