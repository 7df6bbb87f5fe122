"""
Rows anew from the raw frames of a session, into the place of those that are there.

One transaction for each session. The rows that the present code derives go into temporary tables, batch by
batch, through the encoders of live recording; PostgreSQL compares them with those that are there, and then
they take their place. So memory holds a page of batches, and a session is replaced as a whole or not at all.
Nothing is replaced by less than the raw frames prove: a block that is missing or damaged refuses the session.
"""

# ruff: noqa: S608 - the only names put into statements are those of our own tables and columns

from collections.abc import Callable, Sequence
from typing import Final

from attrs import define, field, frozen

from collector.errors import CollectorError
from collector.protocol.facts import (
    AuditFact,
    DeltaFact,
    EventFact,
    Fact,
    FrameCounts,
    GapFact,
    RejectFact,
    SnapshotFact,
    TradeFact,
)
from collector.recording.blocks import (
    FRAME_KINDS,
    NotProven,
    RecordedBatch,
    RecordedSession,
    fetch_batches,
    fetch_sessions,
)
from collector.recording.derive import Derivation, RowKind
from collector.store.batch import DAY_US, add_joined_markets, ensure_partitions, fetch_market_ids
from collector.store.connection import TrioConnection, translate_errors
from collector.store.copyformat import (
    DELTA_COLUMNS,
    SNAPSHOT_COLUMNS,
    TRADE_COLUMNS,
    encode_deltas,
    encode_snapshots,
    encode_trades,
)

TABLES: Final[dict[RowKind, str]] = {
    "delta": "rl_delta_rows",
    "snapshot": "rl_snapshot_rows",
    "trade": "rl_trade_rows",
    "event": "rl_market_events",
    "gap": "rl_orderbook_gaps",
    "audit": "rl_orderbook_audits",
    "reject": "rl_orderbook_rejects",
}
_KINDS: Final[dict[type[Fact], RowKind]] = {
    DeltaFact: "delta",
    SnapshotFact: "snapshot",
    TradeFact: "trade",
    EventFact: "event",
    GapFact: "gap",
    AuditFact: "audit",
    RejectFact: "reject",
}
_LEDGER_COLUMNS: Final = (*(f"{kind}_frames" for kind in FRAME_KINDS), *(f"{kind}_rows" for kind in TABLES))
_SESSION_COUNTS: Final = ("deltas", "snapshots", "trades", "controls", "stales", "rejects")


class NotRederivable(CollectorError):  # noqa: N818 - a state of a session
    """A session is still being recorded."""


@frozen
class KindDifference:
    """One kind of rows. A row that has changed is one of the missing and one of the extra ones."""

    there: int
    derived: int
    missing: int
    """Derived, but not there."""
    extra: int
    """There, but not derived."""


@define
class RederiveReport:
    """What became of one session. `refusal` says why nothing was replaced, and is None when all is well."""

    session_id: int
    is_applied: bool = False
    refusal: str | None = None
    kinds: dict[RowKind, KindDifference] = field(factory=dict[RowKind, KindDifference])

    @property
    def is_different(self) -> bool:
        """Whether the rows that were there are not those that the frames give."""
        return any(kind.missing or kind.extra for kind in self.kinds.values())


@define
class _Work:
    """One session, underway."""

    connection: TrioConnection
    session: RecordedSession
    market_ids: dict[str, int] = field(factory=dict[str, int])
    days: set[int] = field(factory=set[int])


OnProgress = Callable[[int, int, int], None]
"""Session number, batches done, batches of the session."""


def _ignore_progress(session_id: int, done: int, batches: int) -> None:
    """Nobody looks."""


async def rederive_sessions(
    connection: TrioConnection,
    session_id: int | None,
    on_report: Callable[[RederiveReport], None],
    on_progress: OnProgress = _ignore_progress,
    *,
    is_dry: bool = False,
) -> list[RederiveReport]:
    """
    Derive one session, or all, anew. With `is_dry` everything is done and taken back: only the report stays.

    Raises StoreUnavailable; what was reported as applied before that stays.
    """
    with translate_errors():
        sessions = await fetch_sessions(connection, session_id)
    reports: list[RederiveReport] = []
    for session in sessions:
        report = RederiveReport(session.session_id)
        try:
            with translate_errors():
                async with connection.transaction(force_rollback=is_dry):
                    await _rederive(connection, session.session_id, report, on_progress)
            report.is_applied = not is_dry
        except (NotProven, NotRederivable) as error:
            report.refusal = str(error)
            report.kinds.clear()
        on_report(report)
        reports.append(report)
    return reports


async def _rederive(
    connection: TrioConnection, session_id: int, report: RederiveReport, on_progress: OnProgress
) -> None:
    # A writer that comes back to this session waits here, and then adds to what we have left.
    await connection.execute(
        "SELECT FROM rl_orderbook_sessions WHERE session_id = %s FOR UPDATE", (session_id,)
    )
    (session,) = await fetch_sessions(connection, session_id)
    if session.status == "active":
        raise NotRederivable(
            "the session is still being recorded (or its recorder died: the next start of one ends it)"
        )
    work = _Work(connection, session)
    await _make_tables(connection)
    await _derive(work, on_progress)
    for kind, table in TABLES.items():
        report.kinds[kind] = await _compare(work, kind, table)
    for day in sorted(work.days):
        await ensure_partitions(connection, day, day)
    for kind, table in TABLES.items():
        await connection.execute(f"DELETE FROM {table} WHERE session_id = %s".encode(), (session_id,))
        await connection.execute(f"INSERT INTO {table} SELECT * FROM new_{kind}".encode())
    await _correct_counts(connection, session_id)
    for name in (*TABLES, "ledger"):
        await connection.execute(f"DROP TABLE new_{name}".encode())


async def _make_tables(connection: TrioConnection) -> None:
    for kind, table in TABLES.items():
        await connection.execute(f"CREATE TEMP TABLE new_{kind} (LIKE {table}) ON COMMIT DROP".encode())
    columns = ", ".join(f"{name} integer NOT NULL" for name in _LEDGER_COLUMNS)
    await connection.execute(
        f"CREATE TEMP TABLE new_ledger (batch_number integer PRIMARY KEY, {columns}) ON COMMIT DROP".encode()
    )


async def _derive(work: _Work, on_progress: OnProgress) -> None:
    session = work.session
    derivation = Derivation.of_session(session.first_tickers, session.sample_rate)
    batches = frames = 0
    while page := await fetch_batches(work.connection, session.session_id, batches):
        for batch in page:
            for problem in batch.place_problems(batches, frames):
                raise NotProven(problem)
            batches, frames = batch.number, batch.last_frame
            facts, counts = derivation.facts_of(batch.frames())
            if batch.number == session.row["batches"]:
                facts += derivation.last_facts()
            await _store(work, batch, facts, counts)
        on_progress(session.session_id, batches, session.row["batches"])
    if (batches, frames) != (session.row["batches"], session.row["frames"]):
        raise NotProven(
            f"the session counts {session.row['frames']} frames in {session.row['batches']} batches,"
            f" the ledger {frames} in {batches}"
        )


async def _store(work: _Work, batch: RecordedBatch, facts: Sequence[Fact], counts: FrameCounts) -> None:
    """Put the rows of one batch into the temporary tables, and its counts."""
    by_kind: dict[RowKind, int] = dict.fromkeys(TABLES, 0)
    for fact in facts:
        if type(fact) in _KINDS:
            by_kind[_KINDS[type(fact)]] += 1
    await _copy_rows(work, facts)
    await _insert_rows(work, facts)
    await add_joined_markets(work.connection, work.session.session_id, facts)
    values = (batch.number, counts.deltas, counts.snapshots, counts.trades, counts.controls, counts.stales,
              counts.rejects, *by_kind.values())  # fmt: skip
    places = ", ".join(["%s"] * len(values))
    await work.connection.execute(f"INSERT INTO new_ledger VALUES ({places})".encode(), values)


async def _copy_rows(work: _Work, facts: Sequence[Fact]) -> None:
    deltas = [fact for fact in facts if isinstance(fact, DeltaFact)]
    snapshots = [fact for fact in facts if isinstance(fact, SnapshotFact)]
    trades = [fact for fact in facts if isinstance(fact, TradeFact)]
    rows: list[DeltaFact | SnapshotFact | TradeFact] = [*deltas, *snapshots, *trades]
    work.days |= {row.received_us // DAY_US for row in rows}
    unknown = {row.market_ticker for row in rows} - work.market_ids.keys()
    if unknown:
        work.market_ids.update(await fetch_market_ids(work.connection, sorted(unknown)))
    session_id, market_ids = work.session.session_id, work.market_ids
    if deltas:
        await _copy(work, "delta", DELTA_COLUMNS, encode_deltas(deltas, session_id, market_ids))
    if snapshots:
        await _copy(work, "snapshot", SNAPSHOT_COLUMNS, encode_snapshots(snapshots, session_id, market_ids))
    if trades:
        await _copy(work, "trade", TRADE_COLUMNS, encode_trades(trades, session_id, market_ids))


async def _copy(work: _Work, kind: RowKind, columns: str, data: bytes) -> None:
    statement = f"COPY new_{kind} ({columns}) FROM STDIN (FORMAT BINARY)"
    async with work.connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        await copy.write(data)


async def _insert_rows(work: _Work, facts: Sequence[Fact]) -> None:
    """The kinds that are few."""
    session_id = work.session.session_id
    for fact in facts:
        match fact:
            case EventFact():
                await work.connection.execute(
                    "INSERT INTO new_event (session_id, market_ticker, sequence_number, timestamp_ms,"
                    " received_us, event_type, event) VALUES (%s, %s, %s, %s, %s, %s, %s::jsonb)",
                    (session_id, fact.market_ticker, fact.sequence_number, fact.timestamp_ms,
                     fact.received_us, fact.event_type, fact.event),
                )  # fmt: skip
            case GapFact():
                await work.connection.execute(
                    "INSERT INTO new_gap (session_id, sid, expected, received, detected_us, frame_number,"
                    " cause, market_ticker, channel) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                    (session_id, fact.sid, fact.expected, fact.received, fact.detected_us, fact.frame_number,
                     fact.cause, fact.market_ticker, fact.channel),
                )  # fmt: skip
            case AuditFact():
                await work.connection.execute(
                    "INSERT INTO new_audit (session_id, market_ticker, sequence_number, received_us,"
                    " is_match, first_difference) VALUES (%s, %s, %s, %s, %s, %s)",
                    (session_id, fact.market_ticker, fact.sequence_number, fact.received_us, fact.is_match,
                     fact.first_difference),
                )  # fmt: skip
            case RejectFact():
                await work.connection.execute(
                    "INSERT INTO new_reject (session_id, frame_number, received_us, reason, frame)"
                    " VALUES (%s, %s, %s, %s, %s)",
                    # PostgreSQL's text has no place for NUL characters.
                    (session_id, fact.frame_number, fact.received_us, fact.reason.replace("\0", "\\0"),
                     fact.text.encode()),
                )  # fmt: skip
            case _:
                pass


async def _compare(work: _Work, kind: RowKind, table: str) -> KindDifference:
    old = f"SELECT * FROM {table} WHERE session_id = %(id)s"
    new = f"SELECT * FROM new_{kind}"
    cursor = await work.connection.execute(
        f"SELECT (SELECT count(*) FROM ({old}) o), (SELECT count(*) FROM ({new}) n),"
        f" (SELECT count(*) FROM ({new} EXCEPT ALL {old}) m),"
        f" (SELECT count(*) FROM ({old} EXCEPT ALL {new}) e)".encode(),
        {"id": work.session.session_id},
    )
    row = await cursor.fetchone()
    assert row is not None
    return KindDifference(*row)


async def _correct_counts(connection: TrioConnection, session_id: int) -> None:
    """The ledger's counts, and the session's, become those of the new rows."""
    changes = ", ".join(f"{name} = n.{name}" for name in _LEDGER_COLUMNS)
    await connection.execute(
        f"UPDATE rl_write_ledger l SET {changes} FROM new_ledger n"
        " WHERE l.session_id = %s AND l.batch_number = n.batch_number".encode(),
        (session_id,),
    )
    names = ", ".join((*_SESSION_COUNTS, "gaps"))
    sums = ", ".join(f"COALESCE(sum({kind}_frames), 0)" for kind in FRAME_KINDS)
    await connection.execute(
        f"UPDATE rl_orderbook_sessions SET ({names}) ="
        f" (SELECT {sums}, COALESCE(sum(gap_rows), 0) FROM new_ledger) WHERE session_id = %s".encode(),
        (session_id,),
    )
