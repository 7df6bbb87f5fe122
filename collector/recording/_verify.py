"""
Proves the recording complete and consistent from the database alone, or says where it is not.

The chain is checked entry by entry, then each session, then what belongs to no session: partitions, rows that
belong to nothing, records of markets, definitions. Each session is checked in a transaction of its own, which
sees one state of the database. What retention has dropped is known from the chain; anything else that is
missing is a finding.
"""

import hashlib
from collections.abc import Callable

from attrs import define, field

from collector.database import (
    chain_pages,
    fetch_database_row,
    fetch_missing_partitions,
    fetch_records,
    fetch_strays,
    find_altered_definitions,
    read_only,
)
from collector.postgres import TrioConnection
from collector.recording._chain_checks import ChainAccount
from collector.recording._findings import Finding, FindingKind, Findings
from collector.recording._progress import OnProgress, ignore_progress
from collector.recording._session_checks import Shared, check_session
from collector.recording._session_reader import fetch_sessions
from collector.recording._session_report import SessionReport, utc_date
from collector.storage import DAY_US, MarketRecord


@define
class Verdict:
    """
    The outcome of a check: a report for each session, and the findings about everything else.

    `head` is the hash of the newest entry of the chain, in hexadecimal.
    """

    sessions: list[SessionReport] = field(factory=list[SessionReport])
    found: Findings = field(factory=Findings)
    notes: list[str] = field(factory=list[str])
    head: str = ""
    entries: int = 0

    @property
    def findings(self) -> list[str]:
        """What is wrong, in words, sessions included."""
        of_sessions = [
            f"session {each.session_id}: {text}" for each in self.sessions for text in each.findings
        ]
        return [*of_sessions, *self.found.texts]

    @property
    def is_good(self) -> bool:
        """Whether nothing is off."""
        return not self.found.found and all(report.is_good for report in self.sessions)


async def verify_recording(
    connection: TrioConnection,
    session_id: int | None = None,
    on_report: Callable[[SessionReport], None] = lambda report: None,
    on_progress: OnProgress = ignore_progress,
    *,
    expected_hash: str = "",
) -> Verdict:
    """
    Check one session and the chain, or everything; each report is handed out as soon as it is there.

    `expected_hash` is one that the chain must have, in hexadecimal. Reads only, takes as long as reading
    everything takes. Raises StoreUnavailable and StoreRejected.
    """
    verdict, shared = Verdict(), Shared()
    async with read_only(connection):
        database_key, _ = await fetch_database_row(connection)
        numbers = [session.session_id for session in await fetch_sessions(connection, session_id)]
    account = ChainAccount(database_key, expected_hash)
    for number in numbers:
        async with read_only(connection):
            await _take_in(connection, account)
            for session in await fetch_sessions(connection, number):
                report = await check_session(connection, session, account, shared, on_progress)
                on_report(report)
                verdict.sessions.append(report)
    async with read_only(connection):
        await _take_in(connection, account)
        _, newest_entry = await fetch_database_row(connection)
        account.finish(newest_entry)
        if session_id is None:
            await _find_missing_sessions(connection, account, verdict)
            _check_summaries(account, shared)
            _check_records(verdict, shared, await fetch_records(connection))
    for finding in account.findings.found:
        verdict.found.add(finding)
    verdict.head, verdict.entries = account.head, account.entries
    if session_id is None:
        await _check_tables(connection, account, verdict)
    return verdict


async def _take_in(connection: TrioConnection, account: ChainAccount) -> None:
    async for entries in chain_pages(connection, account.entries):
        account.add(entries)


async def _find_missing_sessions(connection: TrioConnection, account: ChainAccount, verdict: Verdict) -> None:
    """The sessions of the chain are there: those that were checked, and those that have opened meanwhile."""
    checked = {report.session_key for report in verdict.sessions}
    unseen = [str(key) for key in account.sessions if str(key) not in checked]
    there = {session.key for session in await fetch_sessions(connection, None)} if unseen else set[str]()
    for key in unseen:
        if key not in there:
            text = f"session {key} is in the chain, and not in the database"
            account.findings.add(Finding(FindingKind.SESSION_MISSING, text))


def _check_summaries(account: ChainAccount, shared: Shared) -> None:
    """The summaries in the ledger are those that retention has made."""
    nothing = hashlib.sha256().hexdigest()
    for day in sorted(account.summaries.keys() | shared.summaries.keys()):
        there = shared.summaries[day].hexdigest() if day in shared.summaries else nothing
        if account.summaries.get(day) != there:
            account.findings.add(
                Finding(
                    FindingKind.SUMMARY,
                    f"summaries in the ledger of {utc_date(day)} are not those that were made",
                    (),
                    day * DAY_US,
                    (day + 1) * DAY_US,
                )
            )


def _check_records(
    verdict: Verdict, shared: Shared, stored: list[tuple[str, str | None, int | None]]
) -> None:
    """Each market has the newest record that a session has noted. Times without raw frames prove nothing."""
    unproven = 0
    noted = dict(shared.records)
    for ticker, record, noted_us in stored:
        newest = noted.pop(ticker, None)
        if newest == MarketRecord(ticker, record or "", noted_us or 0):
            continue
        if noted_us is not None and any(since <= noted_us <= until for since, until in shared.unproven):
            unproven += 1
            continue
        verdict.found.add(
            Finding(FindingKind.MARKET_RECORD, f"the record of {ticker} is not the one noted last", (ticker,))
        )
    for ticker in sorted(noted):
        verdict.found.add(Finding(FindingKind.MARKET_RECORD, f"the record of {ticker} is missing", (ticker,)))
    if unproven:
        verdict.notes.append(
            f"the records of {unproven} markets were not compared: the frames of that time are not there"
        )


async def _check_tables(connection: TrioConnection, account: ChainAccount, verdict: Verdict) -> None:
    """What belongs to no session: partitions, rows that belong to nothing, definitions."""
    for table, day in await fetch_missing_partitions(connection):
        if (table, day) not in account.dropped:
            text = f"{table}: there is no partition for {utc_date(day)}, and retention has not dropped it"
            verdict.found.add(Finding(FindingKind.PARTITION, text, (), day * DAY_US, (day + 1) * DAY_US))
    for strays in await fetch_strays(connection):
        kind = FindingKind.DICTIONARY if strays.table == "rl_raw_lexicons" else FindingKind.STRAY_ROWS
        verdict.found.add(Finding(kind, f"{strays.table}: {strays.count} {strays.what}"))
    altered = await find_altered_definitions(connection)
    if altered is None:
        verdict.notes.append("tables, views and functions were not compared: this role may not make a schema")
    for text in altered or ():
        verdict.found.add(Finding(FindingKind.DEFINITION, text))
