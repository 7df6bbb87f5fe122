"""
Proves sessions complete and consistent from the database alone, or says where they are not.

For each session: batches and frames follow each other without a hole; each raw block is what its checksum and
the ledger say; the frames in it, folded anew, lead to exactly the rows that are there, digests included; the
ledger's counts are those of the frames, and add up to the session's. One read-only transaction gives one
state of the database, so a session that is still being recorded is checked up to its last batch.

Where retention has dropped the raw blocks that a session began with, its rows have to be consistent in
themselves: see `collector.recording.rows`. Where it has dropped rows, the days that are left are compared.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, cast

from attrs import define, field

from collector.protocol.facts import FrameCounts
from collector.recording.blocks import (
    NotProven,
    RecordedBatch,
    RecordedSession,
    fetch_batches,
    fetch_first_day,
    fetch_sessions,
)
from collector.recording.derive import BUCKET_US, Bucket, Derivation, RowKind, RowSums
from collector.recording.rows import ROW_TABLES, check_rows
from collector.store.batch import DAY_US
from collector.store.connection import TrioConnection, translate_errors

PAGE_ROWS: Final = 5000
FINDINGS_MAX: Final = 100
"""For each session: a recording that is wrong in a hundred places is wrong."""

_ROWS: Final[dict[RowKind, str]] = {
    "delta": "SELECT d.received_us, m.market_ticker, d.sequence_number, d.timestamp_ms, d.received_us,"
    " d.is_yes, d.price_e4, d.delta_e2, d.old_size_e2 FROM rl_delta_rows d"
    " JOIN rl_markets m USING (market_id) WHERE session_id = %s",
    "snapshot": "SELECT s.received_us, m.market_ticker, s.sequence_number, s.received_us, s.origin,"
    " s.yes_bids, s.no_bids, s.digest FROM rl_snapshot_rows s JOIN rl_markets m USING (market_id)"
    " WHERE session_id = %s",
    "trade": "SELECT t.received_us, m.market_ticker, t.sequence_number, t.timestamp_ms, t.received_us,"
    " t.trade_id, t.is_taker_yes, t.price_e4, t.count_e2, t.is_block_trade FROM rl_trade_rows t"
    " JOIN rl_markets m USING (market_id) WHERE session_id = %s",
    "event": "SELECT received_us, market_ticker, sequence_number, timestamp_ms, received_us, event_type,"
    " event FROM rl_market_events WHERE session_id = %s",
    "gap": "SELECT detected_us, sid, expected, received, detected_us, frame_number, cause, market_ticker,"
    " channel FROM rl_orderbook_gaps WHERE session_id = %s",
    "audit": "SELECT received_us, market_ticker, sequence_number, received_us, is_match, first_difference"
    " FROM rl_orderbook_audits WHERE session_id = %s",
    "reject": "SELECT received_us, frame_number, received_us, frame FROM rl_orderbook_rejects"
    " WHERE session_id = %s",
}

OnProgress = Callable[[int, int, int], None]
"""Session number, batches done, batches of the session."""


@define
class SessionReport:
    """
    What has been checked of one session, and what is wrong with it.

    `proof` is `raw` when its rows were compared with the raw frames, `rows` when retention has taken those
    and the rows were checked among themselves. `notes` say what could not be checked, and why that is no
    fault.
    """

    session_id: int
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

    derivation: Derivation
    totals: FrameCounts = field(factory=FrameCounts)
    rows: dict[str, int] = field(factory=dict[str, int])
    is_whole: bool = True
    """Every block so far was there and sound."""
    is_start_gone: bool = False
    """Retention has taken the first blocks."""
    has_block: bool = False


def _ignore_progress(session_id: int, done: int, batches: int) -> None:
    """Nobody looks."""


async def verify_sessions(
    connection: TrioConnection,
    session_id: int | None,
    on_report: Callable[[SessionReport], None],
    on_progress: OnProgress = _ignore_progress,
) -> list[SessionReport]:
    """
    Check one session, or all, in one state of the database; each report is told as soon as it is there.

    Reads only. Takes as long as reading everything takes. Raises StoreUnavailable.
    """
    reports: list[SessionReport] = []
    with translate_errors():
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            for session in await fetch_sessions(connection, session_id):
                report = await _verify(connection, session, on_progress)
                on_report(report)
                reports.append(report)
    return reports


async def _verify(
    connection: TrioConnection, session: RecordedSession, on_progress: OnProgress
) -> SessionReport:
    report = SessionReport(session.session_id, session.status)
    first_raw_day = await fetch_first_day(connection, "rl_raw_blocks")
    may_be_gone = _is_dropped(session.row["started_us"], first_raw_day)
    walk = _Walk(Derivation.of_session(session.first_tickers, session.sample_rate))
    while page := await fetch_batches(connection, session.session_id, report.batches):
        for batch in page:
            _verify_batch(report, walk, batch, may_be_gone=may_be_gone)
        on_progress(session.session_id, report.batches, session.row["batches"])
    _verify_totals(report, session, walk.totals)
    if walk.is_start_gone:
        report.proof = "rows"
        report.notes.append("checked from rows alone: retention has dropped the first raw blocks")
        await _verify_rows(connection, report, session, walk)
    elif walk.is_whole:
        await _verify_derived(connection, report, session, walk.derivation)
    else:
        report.find("rows were not compared, since raw frames are missing or damaged")
    return report


def _verify_batch(report: SessionReport, walk: _Walk, batch: RecordedBatch, *, may_be_gone: bool) -> None:
    """Check one ledger row and its block."""
    for problem in batch.place_problems(report.batches, report.frames):
        report.find(problem)
    report.batches, report.frames = batch.number, batch.last_frame
    walk.totals = walk.totals + batch.frame_counts
    for kind in _ROWS:
        walk.rows[kind] = walk.rows.get(kind, 0) + batch.row[f"{kind}_rows"]
    if batch.is_block_missing and may_be_gone and not walk.has_block:
        walk.is_start_gone = True
        return
    try:
        frames = batch.frames()
    except NotProven as error:
        report.find(str(error))
        walk.is_whole = False
        walk.has_block = True
        return
    walk.has_block = walk.has_block or bool(frames)
    # What frames mean depends on all before them.
    if walk.is_start_gone:
        return
    if walk.derivation.fold(frames) != batch.frame_counts:
        report.find(f"batch {batch.number}: the ledger's counts of frames are not those of its frames")


def _verify_totals(report: SessionReport, session: RecordedSession, totals: FrameCounts) -> None:
    """The session's own row agrees with the ledger."""
    row = session.row
    recorded = FrameCounts(
        row["deltas"], row["snapshots"], row["trades"], row["controls"], row["stales"], row["rejects"]
    )
    if recorded != totals or row["frames"] != report.frames:
        report.find(f"the session's counts ({recorded}) are not the ledger's ({totals})")
    if row["batches"] != report.batches:
        report.find(f"the session counts {row['batches']} batches, the ledger {report.batches}")


async def _verify_derived(
    connection: TrioConnection, report: SessionReport, session: RecordedSession, derivation: Derivation
) -> None:
    """The rows are those that the raw frames lead to, on the days that rows are kept of."""
    if derivation.market_tickers != frozenset(session.market_tickers):
        wrong = sorted(derivation.market_tickers ^ frozenset(session.market_tickers))
        report.find(f"the session's markets are not those that its frames tell of: {', '.join(wrong[:10])}")
    recorded = await _sum_rows(connection, session.session_id)
    report.gaps = sum(n for bucket, n in recorded.counts.items() if bucket.kind == "gap")
    first_days = await _first_days(connection, report, session)
    derived = derivation.finish()
    # A recorder that died, or has not ended yet, has not written what it was still summing.
    if session.status != "closed" and not derivation.rows.differences(recorded):
        derived = derivation.rows
    _compare(report, derived, recorded, first_days)


async def _verify_rows(
    connection: TrioConnection, report: SessionReport, session: RecordedSession, walk: _Walk
) -> None:
    """The rows agree with the ledger's counts and with each other."""
    recorded = await _sum_rows(connection, session.session_id)
    there = dict.fromkeys(_ROWS, 0)
    for bucket, count in recorded.counts.items():
        there[bucket.kind] += count
    report.gaps = there["gap"]
    first_days = await _first_days(connection, report, session)
    for kind, count in there.items():
        if kind not in first_days and count != walk.rows.get(kind, 0):
            report.find(f"{kind} rows: {count} where the ledger counts {walk.rows.get(kind, 0)}")
    is_from_start = not ({"delta", "snapshot"} & first_days.keys())
    for finding in await check_rows(connection, session.session_id, is_from_start=is_from_start):
        report.find(finding)


async def _first_days(
    connection: TrioConnection, report: SessionReport, session: RecordedSession
) -> dict[RowKind, int | None]:
    """Of the kinds of which retention has dropped rows of this session: the first day that is kept."""
    first_days: dict[RowKind, int | None] = {}
    for kind, table in ROW_TABLES.items():
        first_day = await fetch_first_day(connection, table)
        if _is_dropped(session.row["started_us"], first_day):
            first_days[cast("RowKind", kind)] = first_day
            report.notes.append(
                f"{kind} rows of the first days were not compared: retention has dropped them"
            )
    return first_days


def _is_dropped(time_us: int, first_day: int | None) -> bool:
    return first_day is None or time_us // DAY_US < first_day


async def _sum_rows(connection: TrioConnection, session_id: int) -> RowSums:
    sums = RowSums()
    for kind, statement in _ROWS.items():
        async with connection.cursor(f"verify_{kind}") as cursor:
            await cursor.execute(statement.encode(), (session_id,))
            while rows := await cursor.fetchmany(PAGE_ROWS):
                for received_us, *values in rows:
                    sums.add(kind, received_us, tuple(_hashable(kind, value) for value in values))
    return sums


def _hashable(kind: RowKind, value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    """A book side or an event as the derivation has it, anything else as it is."""
    if kind == "event" and isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    if isinstance(value, dict):
        levels = cast("dict[str, int]", value)
        return frozenset((int(price), size) for price, size in levels.items())
    return value


def _compare(
    report: SessionReport, derived: RowSums, recorded: RowSums, first_days: dict[RowKind, int | None]
) -> None:
    for bucket in derived.differences(recorded):
        if bucket.kind in first_days and _is_dropped(bucket.number * BUCKET_US, first_days[bucket.kind]):
            continue
        expected, there = derived.counts.get(bucket, 0), recorded.counts.get(bucket, 0)
        what = f"{there} rows where the frames give {expected}" if there != expected else "rows that differ"
        report.find(f"{bucket.kind} rows received {_span(bucket)}: {what}")


def _span(bucket: Bucket) -> str:
    first = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=bucket.number * BUCKET_US)
    return f"{first:%Y-%m-%d %H:%M} to {first + timedelta(microseconds=BUCKET_US):%H:%M} UTC"
