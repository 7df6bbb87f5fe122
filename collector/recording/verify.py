"""
Proves sessions complete and consistent from the database alone, or says where they are not.

For each session: batches and frames follow each other without a hole; each raw block is what its checksum and
the ledger say; the frames in it, folded anew, lead to exactly the rows that are there, digests included; the
ledger's counts are those of the frames, and add up to the session's. One read-only transaction gives one
state of the database, so a session that is still being recorded is checked up to its last batch.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from attrs import define, field, frozen
from psycopg.rows import dict_row

from collector.protocol.facts import FrameCounts
from collector.recording.derive import BUCKET_US, Bucket, Derivation, RowKind, RowSums
from collector.store.connection import TrioConnection, translate_errors
from collector.store.rawblock import DamagedBlock, checksum_of, decode_block

PAGE_BATCHES: Final = 200
PAGE_ROWS: Final = 5000
FINDINGS_MAX: Final = 100
"""For each session: a recording that is wrong in a hundred places is wrong."""

_BATCHES = (
    "SELECT l.*, r.payload, r.checksum AS block_checksum, r.last_frame AS block_last_frame, x.content"
    " FROM rl_write_ledger l"
    " LEFT JOIN rl_raw_blocks r ON r.session_id = l.session_id AND r.first_frame = l.first_frame"
    "  AND l.last_frame >= l.first_frame"
    " LEFT JOIN rl_raw_lexicons x ON x.session_id = r.session_id AND x.lexicon_number = r.lexicon_number"
    " WHERE l.session_id = %s AND l.batch_number > %s ORDER BY l.batch_number LIMIT %s"
)
_ROWS: Final[dict[RowKind, str]] = {
    "delta": "SELECT d.received_us, m.market_ticker, d.sequence_number, d.timestamp_ms, d.received_us,"
    " d.is_yes, d.price_e4, d.delta_e2, d.old_size_e2 FROM rl_delta_rows d"
    " JOIN rl_markets m USING (market_id) WHERE session_id = %s",
    "snapshot": "SELECT s.received_us, m.market_ticker, s.sequence_number, s.received_us, s.origin,"
    " s.yes_bids, s.no_bids, s.digest FROM rl_snapshot_rows s JOIN rl_markets m USING (market_id)"
    " WHERE session_id = %s AND origin <> 'checkpoint'",
    "trade": "SELECT t.received_us, m.market_ticker, t.sequence_number, t.timestamp_ms, t.received_us,"
    " t.trade_id, t.is_taker_yes, t.price_e4, t.count_e2, t.is_block_trade FROM rl_trade_rows t"
    " JOIN rl_markets m USING (market_id) WHERE session_id = %s",
    "gap": "SELECT detected_us, sid, expected, received, detected_us, frame_number, cause, market_ticker"
    " FROM rl_orderbook_gaps WHERE session_id = %s",
    "reject": "SELECT received_us, frame_number, received_us, frame FROM rl_orderbook_rejects"
    " WHERE session_id = %s",
}


@define
class SessionReport:
    """What has been checked of one session, and what is wrong with it."""

    session_id: int
    status: str
    frames: int = 0
    batches: int = 0
    gaps: int = 0
    findings: list[str] = field(factory=list[str])

    @property
    def is_good(self) -> bool:
        """Whether nothing is off. Recorded gaps are no fault of the recording."""
        return not self.findings

    def find(self, text: str) -> None:
        """Note what is wrong."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(text)


@frozen
class _Session:
    session_id: int
    market_tickers: tuple[str, ...]
    sample_rate: int
    row: dict[str, Any]


async def verify_sessions(
    connection: TrioConnection, session_id: int | None, on_report: Callable[[SessionReport], None]
) -> list[SessionReport]:
    """
    Check one session, or all, in one state of the database; each report is told as soon as it is there.

    Reads only. Takes as long as reading everything takes. Raises StoreUnavailable.
    """
    reports: list[SessionReport] = []
    with translate_errors():
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            for session in await _sessions(connection, session_id):
                report = await _verify(connection, session)
                on_report(report)
                reports.append(report)
    return reports


async def _sessions(connection: TrioConnection, session_id: int | None) -> list[_Session]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT * FROM rl_orderbook_sessions WHERE %(id)s::integer IS NULL OR session_id = %(id)s"
            " ORDER BY session_id",
            {"id": session_id},
        )
        rows = await cursor.fetchall()
    return [
        _Session(row["session_id"], tuple(row["market_tickers"]), row["sample_rate"], row) for row in rows
    ]


async def _verify(connection: TrioConnection, session: _Session) -> SessionReport:
    report = SessionReport(session.session_id, session.row["status"])
    derivation = Derivation.of_session(session.market_tickers, session.sample_rate)
    totals = FrameCounts()
    is_whole = True
    while page := await _page_of_batches(connection, session.session_id, report.batches):
        for batch in page:
            counts = _verify_batch(report, derivation, batch)
            is_whole = is_whole and counts is not None
            totals = totals + _ledger_counts(batch)
    derivation.finish()
    _verify_totals(report, session, totals)
    if is_whole:
        recorded = await _sum_rows(connection, session.session_id)
        _compare(report, derivation.rows, recorded)
        report.gaps = sum(n for bucket, n in recorded.counts.items() if bucket.kind == "gap")
    else:
        report.find("rows were not compared, since raw frames are missing or damaged")
    return report


async def _page_of_batches(connection: TrioConnection, session_id: int, after: int) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_BATCHES, (session_id, after, PAGE_BATCHES))
        return await cursor.fetchall()


def _verify_batch(report: SessionReport, derivation: Derivation, batch: dict[str, Any]) -> FrameCounts | None:
    """Check one ledger row and its block; None when its frames can't be had."""
    number = batch["batch_number"]
    if number != report.batches + 1:
        report.find(f"batch {report.batches + 1} is missing in the ledger: the next one is {number}")
    if batch["first_frame"] != report.frames + 1:
        report.find(f"batch {number} begins with frame {batch['first_frame']}, not {report.frames + 1}")
    report.batches = number
    report.frames = batch["last_frame"]
    if batch["last_frame"] < batch["first_frame"]:
        return FrameCounts()
    frames = _frames_of(report, batch)
    if frames is None:
        return None
    counts = derivation.fold(frames)
    if counts != _ledger_counts(batch):
        report.find(f"batch {number}: the ledger's counts of frames are not those of its frames")
    return counts


def _frames_of(report: SessionReport, batch: dict[str, Any]) -> Any:  # noqa: ANN401 - frames or None
    number, payload = batch["batch_number"], batch["payload"]
    if payload is None:
        report.find(f"batch {number}: the raw block of frame {batch['first_frame']} is missing")
        return None
    if checksum_of(payload) != batch["block_checksum"] or batch["block_checksum"] != batch["checksum"]:
        report.find(f"batch {number}: checksums of raw block and ledger do not agree")
        return None
    try:
        frames = decode_block(batch["first_frame"], payload, batch["content"] or b"")
    except DamagedBlock as error:
        report.find(f"batch {number}: the raw block can't be read: {error}")
        return None
    if frames[-1].number != batch["last_frame"] or batch["block_last_frame"] != batch["last_frame"]:
        report.find(f"batch {number}: the raw block ends with frame {frames[-1].number}")
    return frames


def _ledger_counts(batch: dict[str, Any]) -> FrameCounts:
    names = ("delta", "snapshot", "trade", "control", "stale", "rejected")
    return FrameCounts(*(batch[f"{name}_frames"] for name in names))


def _verify_totals(report: SessionReport, session: _Session, totals: FrameCounts) -> None:
    """The session's own row agrees with the ledger."""
    row = session.row
    recorded = FrameCounts(
        row["deltas"], row["snapshots"], row["trades"], row["controls"], row["stales"], row["rejects"]
    )
    if recorded != totals or row["frames"] != report.frames:
        report.find(f"the session's counts ({recorded}) are not the ledger's ({totals})")
    if row["batches"] != report.batches:
        report.find(f"the session counts {row['batches']} batches, the ledger {report.batches}")


async def _sum_rows(connection: TrioConnection, session_id: int) -> RowSums:
    sums = RowSums()
    for kind, statement in _ROWS.items():
        async with connection.cursor(f"verify_{kind}") as cursor:
            await cursor.execute(statement.encode(), (session_id,))
            while rows := await cursor.fetchmany(PAGE_ROWS):
                for received_us, *values in rows:
                    sums.add(kind, received_us, tuple(_hashable(value) for value in values))
    return sums


def _hashable(value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    """A book side as the derivation has it, anything else as it is."""
    if isinstance(value, dict):
        levels = cast("dict[str, int]", value)
        return frozenset((int(price), size) for price, size in levels.items())
    return value


def _compare(report: SessionReport, derived: RowSums, recorded: RowSums) -> None:
    for bucket in derived.differences(recorded):
        expected, there = derived.counts.get(bucket, 0), recorded.counts.get(bucket, 0)
        what = f"{there} rows where the frames give {expected}" if there != expected else "rows that differ"
        report.find(f"{bucket.kind} rows received {_span(bucket)}: {what}")


def _span(bucket: Bucket) -> str:
    first = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=bucket.number * BUCKET_US)
    return f"{first:%Y-%m-%d %H:%M} to {first + timedelta(microseconds=BUCKET_US):%H:%M} UTC"
