"""
Checks of one session: its opening, its ledger with all blocks, its rows, its ending.

All of it sees one state of the database, so a session that is still being recorded is checked up to its last
batch.
"""

import hashlib
from typing import Final, Protocol
from uuid import UUID

from attrs import asdict, define, field

from collector.database import fetch_entry, fetch_state_after, fetch_state_frames, open_row_pages
from collector.facts import DECODER_VERSION, NoteKind
from collector.postgres import TrioConnection
from collector.recording._chain_checks import ChainAccount, SessionEntries
from collector.recording._derivation import BUCKET_US, Bucket, RowSums
from collector.recording._findings import FindingKind
from collector.recording._ledger_links import LedgerLinks
from collector.recording._ledger_walk import LedgerWalk
from collector.recording._progress import OnProgress
from collector.recording._row_checks import check_rows
from collector.recording._session_reader import RecordedBatch, RecordedSession, batch_pages
from collector.recording._session_report import SessionReport, utc_span
from collector.storage import (
    DAY_US,
    DELTA,
    GAP,
    KINDS,
    RAW_BLOCK,
    SNAPSHOT,
    MarketRecord,
    RowKind,
    SessionEnding,
    SessionOpening,
    ending_of,
    opening_of,
    storable_text,
)

_SHOWN_MAX: Final = 10
"""Markets that a finding names."""


class _Hasher(Protocol):
    """One of hashlib's."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


@define
class Shared:
    """
    What the checks of all sessions add to: the hash over the summaries of each day, the newest record of each
    market, and the receive times without raw frames.
    """

    summaries: dict[int, _Hasher] = field(factory=dict[int, _Hasher])
    records: dict[str, MarketRecord] = field(factory=dict[str, MarketRecord])
    unproven: list[tuple[int, int]] = field(factory=list[tuple[int, int]])

    def note_summary(self, batch: RecordedBatch) -> None:
        """Take in a summary, in order of sessions and batches."""
        day = (batch.received_us[1] or 0) // DAY_US
        text = batch.as_json_text()
        if day in self.summaries:
            self.summaries[day].update(b"\n" + text.encode())
        else:
            self.summaries[day] = hashlib.sha256(text.encode())


async def check_session(
    connection: TrioConnection,
    session: RecordedSession,
    account: ChainAccount,
    shared: Shared,
    on_progress: OnProgress,
) -> SessionReport:
    """Check a session in the caller's transaction. Raises psycopg's errors, see `translate_errors`."""
    report = SessionReport(session.session_id, session.key, session.status)
    entries = account.sessions.get(UUID(session.key), SessionEntries())
    opening = await _check_opening(connection, session, entries, report)
    walk = LedgerWalk(
        session,
        report,
        opening,
        dropped_days=account.dropped_days(RAW_BLOCK.table),
        states=await fetch_state_frames(connection, session.session_id),
        records=shared.records,
        links=LedgerLinks(UUID(session.key), frozenset(entries.late)),
    )
    async for page in batch_pages(connection, session.session_id):
        for batch in page:
            frame = walk.state_in(batch)
            state = None
            if frame is not None:
                state = await fetch_state_after(connection, session.session_id, frame)
            walk.add(batch, state)
            if batch.is_summary:
                shared.note_summary(batch)
        on_progress(session.session_id, report.batches, session.batches)
    report.ledger_hash = walk.links.hash.hex()
    ended_us = session.row["ended_us"]
    shared.unproven += [
        (from_us, until_us if ended_us is None else min(until_us, ended_us))
        for from_us, until_us in walk.unproven
    ]
    _check_totals(session, walk)
    _check_markets(session, walk)
    await _check_ending(connection, session, entries, walk)
    if session.decoder_version == DECODER_VERSION:
        await _check_rows(connection, session, account, walk)
    else:
        report.find(
            FindingKind.DECODER,
            f"rows of version {session.decoder_version} of the decoder, which is {DECODER_VERSION} here",
        )
    return report


async def _check_opening(
    connection: TrioConnection, session: RecordedSession, entries: SessionEntries, report: SessionReport
) -> SessionOpening | None:
    """The session's row says what its opening in the chain says, which is returned."""
    entry = None if entries.opening is None else await fetch_entry(connection, entries.opening)
    if entry is None:
        report.find(FindingKind.OPENING, "the chain has no entry of its opening")
        return None
    try:
        opening = opening_of(entry.content)
    except ValueError as error:
        report.find(FindingKind.OPENING, f"its opening in the chain can't be read: {error}")
        return None
    values = asdict(opening, recurse=False)
    # The only value without a column: the rows that follow from it are compared.
    del values["last_exact"]
    values["decoder_version"] = entries.rebuilt_version or opening.decoder_version
    recorded = {**session.row, "key": session.row["session_key"], "market_tickers": session.first_tickers}
    for name, value in values.items():
        if recorded[name] != value:
            report.find(
                FindingKind.OPENING, f"its {name} is {recorded[name]!r}, and {value!r} by its opening"
            )
    return opening


def _check_totals(session: RecordedSession, walk: LedgerWalk) -> None:
    """The session's own row agrees with the ledger."""
    report = walk.report
    recorded = session.frame_counts
    if recorded != walk.totals or session.frames != report.frames:
        report.find(
            FindingKind.COUNTS, f"the session's counts ({recorded}) are not the ledger's ({walk.totals})"
        )
    if session.batches != report.batches:
        report.find(
            FindingKind.COUNTS, f"the session counts {session.batches} batches, the ledger {report.batches}"
        )
    if session.row["gaps"] != walk.rows[GAP]:
        report.find(
            FindingKind.COUNTS, f"the session counts {session.row['gaps']} gaps, the ledger {walk.rows[GAP]}"
        )
    last_us = walk.last_us if report.frames else None
    if session.row["last_message_us"] != last_us:
        report.find(
            FindingKind.COUNTS,
            f"its last_message_us is {session.row['last_message_us']}, and {last_us} by the ledger",
        )


def _check_markets(session: RecordedSession, walk: LedgerWalk) -> None:
    """The markets that the session names are those that its frames tell of."""
    named, added = session.market_tickers, tuple(session.row["added_tickers"])
    if named != session.first_tickers + added:
        walk.report.find(FindingKind.OPENING, "its added markets are not the last ones of its markets")
    if walk.unproven or walk.derivation is None:
        return
    wrong = sorted(walk.derivation.market_tickers ^ frozenset(named))
    if wrong:
        names = ", ".join(wrong[:_SHOWN_MAX])
        walk.report.find(FindingKind.OPENING, f"its markets are not those that its frames tell of: {names}")


async def _check_ending(
    connection: TrioConnection, session: RecordedSession, entries: SessionEntries, walk: LedgerWalk
) -> None:
    """The session's row, the chain and the stream say the same about its end, if it has ended."""
    report = walk.report
    if session.status == "active":
        _check_activity(session, entries, walk)
        return
    entry = None if entries.ending is None else await fetch_entry(connection, entries.ending)
    if entry is None:
        report.find(FindingKind.ENDING, "the chain has no entry of its ending")
        return
    try:
        ending = ending_of(entry.content)
    except ValueError as error:
        report.find(FindingKind.ENDING, f"its ending in the chain can't be read: {error}")
        return
    for name, value in _ending_columns(ending).items():
        if session.row[name] != value:
            report.find(
                FindingKind.ENDING, f"its {name} is {session.row[name]!r}, and {value!r} by its ending"
            )
    if entries.ledger_hash != walk.links.hash:
        report.find(
            FindingKind.ENDING,
            "its ledger does not end with the row that it had at its end: batches are missing, or came later",
        )
    if entries.is_presumed:
        report.notes.append(
            "ended by another process: what its recorder still had is not here; if its spool folder exists,"
            " start a recorder with it"
        )
        return
    if ending.last_frame is not None and ending.last_frame > report.frames:
        report.find(
            FindingKind.LEDGER,
            f"its last frame is {ending.last_frame} by its ending, {report.frames} by the ledger",
        )
    note = walk.last_note
    if walk.is_derived_to_end and (
        note is None or note.kind is not NoteKind.ENDING or note.content != entry.content
    ):
        report.find(FindingKind.ENDING, "its ending in the chain is not the one in its stream")


def _check_activity(session: RecordedSession, entries: SessionEntries, walk: LedgerWalk) -> None:
    if entries.ending is not None and entries.ledger_hash == walk.links.hash:
        walk.report.find(FindingKind.ENDING, "it counts as active, and the chain has its ending")
    for name in ("ended_us", "end_reason", "close_code", "last_frame"):
        if session.row[name] is not None:
            walk.report.find(FindingKind.ENDING, f"it counts as active, and has {name} {session.row[name]!r}")
    if not session.row["is_recorder_alive"]:
        walk.report.find(
            FindingKind.RECORDER_GONE, "it counts as active, and no recorder holds the lock of its own"
        )


def _ending_columns(ending: SessionEnding) -> dict[str, object]:
    return {
        "ended_us": ending.ended_us,
        "status": ending.status,
        "end_reason": storable_text(ending.reason),
        "close_code": ending.close_code,
        "last_frame": ending.last_frame,
    }


async def _check_rows(
    connection: TrioConnection, session: RecordedSession, account: ChainAccount, walk: LedgerWalk
) -> None:
    """The rows are those that the raw frames lead to, as many as the ledger counts, and consistent."""
    report = walk.report
    there = dict.fromkeys(KINDS, 0)
    recorded = RowSums()
    for kind in KINDS:
        async with open_row_pages(connection, kind, session.session_id) as pages:
            async for records in pages:
                for record in records:
                    row = kind.values_of_record(record)
                    there[kind] += 1
                    if not walk.unproven or walk.is_proven(row[kind.time_index]):
                        recorded.add(kind, row)
    report.gaps = there[GAP]
    dropped = _dropped_days(session, account, report)
    wrong = _compare(walk, recorded, dropped)
    for kind, count in there.items():
        is_told = kind in wrong and not walk.unproven
        if kind not in dropped and not is_told and count != walk.rows[kind]:
            report.find(
                FindingKind.COUNTS, f"{kind.name} rows: {count} where the ledger counts {walk.rows[kind]}"
            )
    if walk.unproven:
        report.proof = "rows"
        if walk.is_thinned:
            report.notes.append("retention has dropped raw blocks: rows of that time were checked alone")
        is_from_start = not ({DELTA, SNAPSHOT} & dropped.keys())
        for finding in await check_rows(connection, session.session_id, is_from_start=is_from_start):
            report.find(FindingKind.ROWS, finding)


def _dropped_days(
    session: RecordedSession, account: ChainAccount, report: SessionReport
) -> dict[RowKind, frozenset[int]]:
    """Of the kinds of which retention has dropped rows of this session: the days of those."""
    first_day = session.started_us // DAY_US
    last_day = (session.row["last_message_us"] or session.started_us) // DAY_US
    dropped: dict[RowKind, frozenset[int]] = {}
    for kind in KINDS:
        days = frozenset(d for d in account.dropped_days(kind.table) if first_day <= d <= last_day)
        if days:
            dropped[kind] = days
            report.notes.append(
                f"{kind.name} rows of some days were not compared: retention has dropped them"
            )
    return dropped


def _compare(walk: LedgerWalk, recorded: RowSums, dropped: dict[RowKind, frozenset[int]]) -> set[RowKind]:
    """Compare derived rows with those that are there. Returns the kinds in which they differ."""
    derived = RowSums()
    if walk.derivation is not None:
        derived = walk.derivation.rows
        if walk.is_derived_to_end and (walk.session.status == "closed" or derived.differences(recorded)):
            # A recorder that died, or has not ended yet, has not written what it was still summing.
            derived = walk.derivation.finish()
    wrong: set[RowKind] = set()
    is_summed = walk.session.sample_rate > 1 and bool(walk.unproven)
    if is_summed:
        walk.report.notes.append(
            "delta rows were not compared: their sums reach into times without raw frames"
        )
    for bucket in derived.differences(recorded):
        day = bucket.number * BUCKET_US // DAY_US
        if day in dropped.get(bucket.kind, ()) or (is_summed and bucket.kind is DELTA):
            continue
        wrong.add(bucket.kind)
        _find_difference(walk.report, bucket, derived, recorded)
    return wrong


def _find_difference(report: SessionReport, bucket: Bucket, derived: RowSums, recorded: RowSums) -> None:
    expected, there = derived.counts.get(bucket, 0), recorded.counts.get(bucket, 0)
    what = f"{there} rows where the frames give {expected}" if there != expected else "rows that differ"
    from_us = bucket.number * BUCKET_US
    span = utc_span(from_us, from_us + BUCKET_US)
    report.find(
        FindingKind.ROWS, f"{bucket.kind.name} rows received {span}: {what}", from_us, from_us + BUCKET_US
    )
