"""
Proves sessions complete and consistent from the database alone, or says where they are not.

For each session: batches and frames follow each other without a hole; each raw block is what its checksum and
the ledger say; the frames in it, folded again, lead to exactly the rows that are there, digests included; the
ledger's counts are those of the frames, and add up to the session's. One read-only transaction gives one
state of the database, so a session that is still being recorded is checked up to its last batch.

Where retention has dropped raw blocks of a session, its rows have to be consistent in themselves: see
`collector.recording._row_checks`. Where it has dropped rows, the days that are left are compared. What it has
dropped is known from its own rows about that; anything else that is missing is a finding.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from attrs import asdict, define, field

from collector.database import (
    fetch_dropped_days,
    fetch_missing_partitions,
    fetch_strays,
    open_row_pages,
    read_only,
)
from collector.facts import FrameCounts
from collector.postgres import TrioConnection
from collector.recording._derivation import BUCKET_US, Bucket, Derivation, RowSums
from collector.recording._progress import OnProgress, ignore_progress
from collector.recording._row_checks import check_rows
from collector.recording._session_reader import (
    NotProven,
    RecordedBatch,
    RecordedSession,
    batch_pages,
    fetch_sessions,
    read_opening,
)
from collector.storage import DAY_US, DELTA, GAP, KINDS, RAW_BLOCK, SNAPSHOT, RowKind, SessionOpening

FINDINGS_MAX: Final = 100
"""For each session: a recording that is wrong in a hundred places is wrong."""


@define
class SessionReport:
    """
    What has been checked of one session, and what is wrong with it.

    `proof` is `raw` when its rows were compared with the raw frames, `rows` when retention has taken those
    and the rows were checked among themselves. `notes` say what could not be checked, and why that is no
    fault.
    """

    session_id: int
    session_key: str
    status: str
    frames: int = 0
    batches: int = 0
    gaps: int = 0
    proof: Literal["raw", "rows"] = "raw"
    findings: list[str] = field(factory=list[str])
    notes: list[str] = field(factory=list[str])

    @property
    def is_good(self) -> bool:
        """Whether nothing is off. Recorded gaps are no fault of the recording."""
        return not self.findings

    def find(self, text: str) -> None:
        """Note what is wrong."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(text)


@define
class _Walk:
    """What going through the batches of a session has gathered."""

    derivation: Derivation | None = None
    totals: FrameCounts = field(factory=FrameCounts)
    rows: dict[RowKind, int] = field(factory=lambda: dict.fromkeys(KINDS, 0))
    is_whole: bool = True
    """Every block so far was there and sound."""
    is_thinned: bool = False
    """Retention has taken blocks."""
    last_us: int = 0
    """When the newest frame so far was received; at first the start of the session."""


async def verify_sessions(
    connection: TrioConnection,
    session_id: int | None,
    on_report: Callable[[SessionReport], None],
    on_progress: OnProgress = ignore_progress,
) -> list[SessionReport]:
    """
    Check one session, or all, in one state of the database; each report is told as soon as it is there.

    Reads only. Takes as long as reading everything takes. Raises StoreUnavailable.
    """
    reports: list[SessionReport] = []
    async with read_only(connection):
        for session in await fetch_sessions(connection, session_id):
            report = await _verify(connection, session, on_progress)
            on_report(report)
            reports.append(report)
    return reports


async def verify_tables(connection: TrioConnection) -> list[str]:
    """
    What the tables hold that belongs to no session, or to no market, and which partitions they lack: checks
    of sessions miss both.

    Reads every table once. Raises StoreUnavailable and StoreRejected.
    """
    findings = [
        f"{table}: there is no partition for {_date(day)}, and retention has not dropped it"
        for table, day in await fetch_missing_partitions(connection)
    ]
    for strays in await fetch_strays(connection):
        if strays.without_session:
            findings.append(f"{strays.table}: {strays.without_session} rows of sessions that do not exist")
        if strays.without_market:
            findings.append(f"{strays.table}: {strays.without_market} rows of markets that do not exist")
    return findings


async def _verify(
    connection: TrioConnection, session: RecordedSession, on_progress: OnProgress
) -> SessionReport:
    report = SessionReport(session.session_id, session.key, session.status)
    dropped_days = await fetch_dropped_days(connection, RAW_BLOCK.table)
    walk = _Walk(last_us=session.started_us)
    async for page in batch_pages(connection, session.session_id):
        for batch in page:
            _verify_batch(report, session, walk, batch, dropped_days)
        on_progress(session.session_id, report.batches, session.batches)
    _verify_totals(report, session, walk.totals)
    if walk.is_thinned:
        report.proof = "rows"
        report.notes.append("checked from rows alone: retention has dropped raw blocks")
        await _verify_rows(connection, report, session, walk)
    elif walk.is_whole and walk.derivation is not None:
        await _verify_derived(connection, report, session, walk.derivation)
    elif walk.is_whole:
        _compare(report, RowSums(), await _sum_rows(connection, session.session_id), {})
    else:
        report.find("rows were not compared, since raw frames are missing or damaged")
    return report


def _verify_batch(
    report: SessionReport,
    session: RecordedSession,
    walk: _Walk,
    batch: RecordedBatch,
    dropped_days: frozenset[int],
) -> None:
    """Check one ledger row and its block."""
    for problem in batch.place_problems(report.batches, report.frames):
        report.find(problem)
    report.batches, report.frames = batch.number, batch.last_frame
    walk.totals = walk.totals + batch.frame_counts
    for kind in KINDS:
        walk.rows[kind] += batch.row_count(kind)
    first_us, last_us = batch.received_us
    day, walk.last_us = (first_us or walk.last_us) // DAY_US, last_us or walk.last_us
    if batch.is_block_missing and day in dropped_days:
        walk.is_thinned, walk.derivation = True, None
        return
    try:
        content = batch.content()
        frames = content.frames
        if walk.derivation is None and not walk.is_thinned:
            walk.derivation = Derivation(read_opening(content))
            _verify_opening(report, session, walk.derivation.opening)
    except NotProven as error:
        report.find(str(error))
        walk.is_whole = False
        return
    received_us = (frames[0].received_us, frames[-1].received_us) if frames else (None, None)
    if received_us != batch.received_us:
        report.find(f"batch {batch.number}: the ledger's receive times are not those of its frames")
    # What frames mean depends on all before them.
    if walk.derivation is not None and walk.derivation.fold(content) != batch.frame_counts:
        report.find(f"batch {batch.number}: the ledger's counts of frames are not those of its frames")


def _verify_opening(report: SessionReport, session: RecordedSession, opening: SessionOpening) -> None:
    """The session's row says what its opening says."""
    values = asdict(opening, recurse=False)
    # The only value without a column: the rows that follow from it are compared.
    del values["last_exact"]
    recorded = {**session.row, "key": session.row["session_key"], "market_tickers": session.first_tickers}
    for name, value in values.items():
        if recorded[name] != value:
            report.find(f"the session's {name} is {recorded[name]!r}, and {value!r} by its opening")


def _verify_totals(report: SessionReport, session: RecordedSession, totals: FrameCounts) -> None:
    """The session's own row agrees with the ledger."""
    recorded = session.frame_counts
    if recorded != totals or session.frames != report.frames:
        report.find(f"the session's counts ({recorded}) are not the ledger's ({totals})")
    if session.batches != report.batches:
        report.find(f"the session counts {session.batches} batches, the ledger {report.batches}")


async def _verify_derived(
    connection: TrioConnection, report: SessionReport, session: RecordedSession, derivation: Derivation
) -> None:
    """The rows are those that the raw frames lead to, on the days that rows are kept of."""
    if derivation.market_tickers != frozenset(session.market_tickers):
        wrong = sorted(derivation.market_tickers ^ frozenset(session.market_tickers))
        report.find(f"the session's markets are not those that its frames tell of: {', '.join(wrong[:10])}")
    recorded = await _sum_rows(connection, session.session_id)
    report.gaps = sum(n for bucket, n in recorded.counts.items() if bucket.kind is GAP)
    dropped_days = await _dropped_days(connection, report, session)
    derived = derivation.finish()
    # A recorder that died, or has not ended yet, has not written what it was still summing.
    if session.status != "closed" and not derivation.rows.differences(recorded):
        derived = derivation.rows
    _compare(report, derived, recorded, dropped_days)


async def _verify_rows(
    connection: TrioConnection, report: SessionReport, session: RecordedSession, walk: _Walk
) -> None:
    """The rows agree with the ledger's counts and with each other."""
    recorded = await _sum_rows(connection, session.session_id)
    there = dict.fromkeys(KINDS, 0)
    for bucket, count in recorded.counts.items():
        there[bucket.kind] += count
    report.gaps = there[GAP]
    dropped_days = await _dropped_days(connection, report, session)
    for kind, count in there.items():
        if kind not in dropped_days and count != walk.rows[kind]:
            report.find(f"{kind.name} rows: {count} where the ledger counts {walk.rows[kind]}")
    is_from_start = not ({DELTA, SNAPSHOT} & dropped_days.keys())
    for finding in await check_rows(connection, session.session_id, is_from_start=is_from_start):
        report.find(finding)


async def _dropped_days(
    connection: TrioConnection, report: SessionReport, session: RecordedSession
) -> dict[RowKind, frozenset[int]]:
    """Of the kinds of which retention has dropped rows of this session: the days of those."""
    first_day = session.started_us // DAY_US
    last_day = (session.row["last_message_us"] or session.started_us) // DAY_US
    dropped: dict[RowKind, frozenset[int]] = {}
    for kind in KINDS:
        if not kind.is_partitioned:
            continue
        days = await fetch_dropped_days(connection, kind.table)
        if any(first_day <= day <= last_day for day in days):
            dropped[kind] = days
            report.notes.append(
                f"{kind.name} rows of some days were not compared: retention has dropped them"
            )
    return dropped


async def _sum_rows(connection: TrioConnection, session_id: int) -> RowSums:
    sums = RowSums()
    for kind in KINDS:
        async with open_row_pages(connection, kind, session_id) as pages:
            async for records in pages:
                for record in records:
                    sums.add(kind, kind.values_of_record(record))
    return sums


def _compare(
    report: SessionReport, derived: RowSums, recorded: RowSums, dropped_days: dict[RowKind, frozenset[int]]
) -> None:
    for bucket in derived.differences(recorded):
        if bucket.number * BUCKET_US // DAY_US in dropped_days.get(bucket.kind, ()):
            continue
        expected, there = derived.counts.get(bucket, 0), recorded.counts.get(bucket, 0)
        what = f"{there} rows where the frames give {expected}" if there != expected else "rows that differ"
        report.find(f"{bucket.kind.name} rows received {_span(bucket)}: {what}")


def _date(day: int) -> str:
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day):%Y-%m-%d}"


def _span(bucket: Bucket) -> str:
    first = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=bucket.number * BUCKET_US)
    return f"{first:%Y-%m-%d %H:%M} to {first + timedelta(microseconds=BUCKET_US):%H:%M} UTC"
