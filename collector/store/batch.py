"""
One batch: frames, what they mean, and its place in the session. And how it goes into PostgreSQL.

A batch is one transaction. The ledger row goes in first: if it is there already, a transaction whose answer
was lost has committed, and nothing is written again. A transaction that is still being committed makes the
insert wait for its outcome, so there is no moment at which the ledger's answer is wrong.
"""

from collections.abc import Sequence
from uuid import UUID

from attrs import frozen

from collector.protocol.facts import (
    AuditFact,
    DeltaFact,
    EventFact,
    Fact,
    FrameCounts,
    GapFact,
    ReceivedFrame,
    RejectFact,
    SnapshotFact,
    TradeFact,
)
from collector.store.connection import TrioConnection, translate_errors
from collector.store.copyformat import (
    DELTA_COLUMNS,
    RAW_BLOCK_COLUMNS,
    SNAPSHOT_COLUMNS,
    TRADE_COLUMNS,
    MarketIds,
    encode_deltas,
    encode_raw_block,
    encode_snapshots,
    encode_trades,
)
from collector.store.lexicon import Lexicon
from collector.store.rawblock import RawBlock, checksum_of, encode_block

DAY_US = 86_400_000_000


@frozen
class SessionOpening:
    """What is known of a session when its connection stands."""

    key: UUID
    recorder_key: int
    market_tickers: tuple[str, ...]
    ws_url: str
    environment: str
    code_version: str
    sample_rate: int
    use_yes_price: bool
    started_us: int


@frozen
class SessionEnding:
    """How a session ended."""

    ended_us: int
    status: str
    reason: str
    close_code: int | None


@frozen
class Batch:
    """A run of frames and its rows. `facts` may be empty, and so may `frames` at the end of a session."""

    number: int
    frames: Sequence[ReceivedFrame]
    facts: Sequence[Fact]
    counts: FrameCounts
    next_frame: int
    """The number that the first frame of the next batch will have."""

    @property
    def market_tickers(self) -> set[str]:
        """Markets that its rows name."""
        return {
            fact.market_ticker
            for fact in self.facts
            if isinstance(fact, DeltaFact | SnapshotFact | TradeFact)
        }

    @property
    def days(self) -> set[int]:
        """Days since 1970 UTC in which its rows were received."""
        times_us = [frame.received_us for frame in self.frames]
        times_us += [fact.received_us for fact in self.facts if isinstance(fact, DeltaFact)]
        return {time_us // DAY_US for time_us in times_us}


async def open_session(connection: TrioConnection, opening: SessionOpening) -> int:
    """Make the session's row, or find it when it was made before, and give its number."""
    with translate_errors():
        cursor = await connection.execute(
            "INSERT INTO rl_orderbook_sessions (session_key, recorder_key, market_tickers, ws_url,"
            " environment, code_version, sample_rate, use_yes_price, started_us)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (session_key) DO UPDATE SET session_key = EXCLUDED.session_key"
            " RETURNING session_id",
            (
                opening.key,
                opening.recorder_key,
                list(opening.market_tickers),
                opening.ws_url,
                opening.environment,
                opening.code_version,
                opening.sample_rate,
                opening.use_yes_price,
                opening.started_us,
            ),
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def close_session(connection: TrioConnection, session_id: int, ending: SessionEnding) -> None:
    """Note how a session ended. May be repeated."""
    with translate_errors():
        await connection.execute(
            "UPDATE rl_orderbook_sessions SET ended_us = %s, status = %s, end_reason = %s, close_code = %s"
            " WHERE session_id = %s",
            (ending.ended_us, ending.status, _storable(ending.reason), ending.close_code, session_id),
        )


async def fetch_last_lexicon(connection: TrioConnection, session_id: int) -> int:
    """The highest number of a session's lexicons; 0 when it has none."""
    with translate_errors():
        cursor = await connection.execute(
            "SELECT COALESCE(max(lexicon_number), 0) FROM rl_raw_lexicons WHERE session_id = %s",
            (session_id,),
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def fetch_market_ids(connection: TrioConnection, tickers: Sequence[str]) -> dict[str, int]:
    """The numbers of markets; new ones get one."""
    with translate_errors():
        await connection.execute(
            "INSERT INTO rl_markets (market_ticker) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
            (tickers,),
        )
        cursor = await connection.execute(
            "SELECT market_ticker, market_id FROM rl_markets WHERE market_ticker = ANY(%s)", (tickers,)
        )
        return dict(await cursor.fetchall())


async def ensure_partitions(connection: TrioConnection, first_day: int, last_day: int) -> int:
    """Make the missing day partitions; days are counted since 1970 UTC. Tells how many were made."""
    with translate_errors():
        cursor = await connection.execute(
            "SELECT rl_ensure_partitions(date '1970-01-01' + %s::integer, date '1970-01-01' + %s::integer)",
            (first_day, last_day),
        )
        row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def write_batch(
    connection: TrioConnection,
    session_id: int,
    batch: Batch,
    market_ids: MarketIds,
    lexicon: Lexicon = Lexicon(),  # noqa: B008 - frozen
    *,
    is_lexicon_stored: bool = False,
) -> bool:
    """
    Put a batch in, whole or not at all, with the lexicon of its block where that is not stored yet. False
    when the batch was in already.

    Cancelled, or cut off, at any place, it is in or it is not: call again with the same batch to be sure.
    Raises StoreUnavailable, after which the same call is due again, and StoreRejected.
    """
    block = encode_block(batch.frames, lexicon) if batch.frames else None
    with translate_errors():
        async with connection.transaction():
            if not await _enter_ledger(connection, session_id, batch, block):
                return False
            await _copy_rows(connection, session_id, batch, market_ids)
            if block is not None:
                if lexicon.number and not is_lexicon_stored:
                    await _insert_lexicon(connection, session_id, lexicon)
                data = encode_raw_block(block, session_id)
                await _copy(connection, "rl_raw_blocks", RAW_BLOCK_COLUMNS, data)
            await _insert_events(connection, session_id, batch.facts)
            await _insert_gaps(connection, session_id, batch.facts)
            await _insert_audits(connection, session_id, batch.facts)
            await _insert_rejects(connection, session_id, batch.facts)
            await add_joined_markets(connection, session_id, batch.facts)
            await _count_in_session(connection, session_id, batch)
    return True


async def _enter_ledger(
    connection: TrioConnection, session_id: int, batch: Batch, block: RawBlock | None
) -> bool:
    counts = batch.counts
    cursor = await connection.execute(
        "INSERT INTO rl_write_ledger (session_id, batch_number, first_frame, last_frame, delta_frames,"
        " snapshot_frames, trade_frames, control_frames, stale_frames, rejected_frames, delta_rows,"
        " snapshot_rows, trade_rows, gap_rows, reject_rows, audit_rows, event_rows, checksum)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING RETURNING batch_number",
        (
            session_id,
            batch.number,
            batch.next_frame - len(batch.frames),
            batch.next_frame - 1,
            counts.deltas,
            counts.snapshots,
            counts.trades,
            counts.controls,
            counts.stales,
            counts.rejects,
            _count(batch.facts, DeltaFact),
            _count(batch.facts, SnapshotFact),
            _count(batch.facts, TradeFact),
            _count(batch.facts, GapFact),
            _count(batch.facts, RejectFact),
            _count(batch.facts, AuditFact),
            _count(batch.facts, EventFact),
            checksum_of(b"") if block is None else block.checksum,
        ),
    )
    return await cursor.fetchone() is not None


async def _copy_rows(
    connection: TrioConnection, session_id: int, batch: Batch, market_ids: MarketIds
) -> None:
    deltas = [fact for fact in batch.facts if isinstance(fact, DeltaFact)]
    snapshots = [fact for fact in batch.facts if isinstance(fact, SnapshotFact)]
    trades = [fact for fact in batch.facts if isinstance(fact, TradeFact)]
    if deltas:
        data = encode_deltas(deltas, session_id, market_ids)
        await _copy(connection, "rl_delta_rows", DELTA_COLUMNS, data)
    if snapshots:
        data = encode_snapshots(snapshots, session_id, market_ids)
        await _copy(connection, "rl_snapshot_rows", SNAPSHOT_COLUMNS, data)
    if trades:
        data = encode_trades(trades, session_id, market_ids)
        await _copy(connection, "rl_trade_rows", TRADE_COLUMNS, data)


async def _insert_lexicon(connection: TrioConnection, session_id: int, lexicon: Lexicon) -> None:
    await connection.execute(
        "INSERT INTO rl_raw_lexicons (session_id, lexicon_number, content) VALUES (%s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (session_id, lexicon.number, lexicon.content),
    )


async def _copy(connection: TrioConnection, table: str, columns: str, data: bytes) -> None:
    statement = f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)"
    async with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        await copy.write(data)


async def _insert_events(connection: TrioConnection, session_id: int, facts: Sequence[Fact]) -> None:
    events = [fact for fact in facts if isinstance(fact, EventFact)]
    if events:
        await connection.execute(
            "INSERT INTO rl_market_events (session_id, market_ticker, sequence_number, timestamp_ms,"
            " received_us, event_type, event) SELECT %s, e.* FROM unnest(%s::text[], %s::bigint[],"
            " %s::bigint[], %s::bigint[], %s::text[], %s::jsonb[]) e",
            (
                session_id,
                [event.market_ticker for event in events],
                [event.sequence_number for event in events],
                [event.timestamp_ms for event in events],
                [event.received_us for event in events],
                [event.event_type for event in events],
                [event.event for event in events],
            ),
        )


async def _insert_gaps(connection: TrioConnection, session_id: int, facts: Sequence[Fact]) -> None:
    gaps = [fact for fact in facts if isinstance(fact, GapFact)]
    if gaps:
        await connection.execute(
            "INSERT INTO rl_orderbook_gaps (session_id, sid, expected, received, detected_us, frame_number,"
            " cause, market_ticker, channel) SELECT %s, g.* FROM unnest(%s::bigint[], %s::bigint[],"
            " %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[]) g",
            (
                session_id,
                [gap.sid for gap in gaps],
                [gap.expected for gap in gaps],
                [gap.received for gap in gaps],
                [gap.detected_us for gap in gaps],
                [gap.frame_number for gap in gaps],
                [gap.cause for gap in gaps],
                [gap.market_ticker for gap in gaps],
                [gap.channel for gap in gaps],
            ),
        )


async def _insert_audits(connection: TrioConnection, session_id: int, facts: Sequence[Fact]) -> None:
    audits = [fact for fact in facts if isinstance(fact, AuditFact)]
    if audits:
        await connection.execute(
            "INSERT INTO rl_orderbook_audits (session_id, market_ticker, sequence_number, received_us,"
            " is_match, first_difference) SELECT %s, a.* FROM"
            " unnest(%s::text[], %s::bigint[], %s::bigint[], %s::boolean[], %s::text[]) a",
            (
                session_id,
                [audit.market_ticker for audit in audits],
                [audit.sequence_number for audit in audits],
                [audit.received_us for audit in audits],
                [audit.is_match for audit in audits],
                [audit.first_difference for audit in audits],
            ),
        )


async def _insert_rejects(connection: TrioConnection, session_id: int, facts: Sequence[Fact]) -> None:
    rejects = [fact for fact in facts if isinstance(fact, RejectFact)]
    if rejects:
        await connection.execute(
            "INSERT INTO rl_orderbook_rejects (session_id, frame_number, received_us, reason, frame)"
            " SELECT %s, r.* FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::bytea[]) r",
            (
                session_id,
                [reject.frame_number for reject in rejects],
                [reject.received_us for reject in rejects],
                [_storable(reject.reason) for reject in rejects],
                [reject.text.encode() for reject in rejects],
            ),
        )


async def add_joined_markets(connection: TrioConnection, session_id: int, facts: Sequence[Fact]) -> None:
    """Put markets into the session's row of which it has had a book, and that it did not begin with."""
    with_book = {
        fact.market_ticker for fact in facts if isinstance(fact, SnapshotFact) and fact.origin != "checkpoint"
    }
    if with_book:
        await connection.execute(
            "UPDATE rl_orderbook_sessions s SET market_tickers = s.market_tickers || new.tickers,"
            " added_tickers = s.added_tickers || new.tickers"
            " FROM (SELECT ARRAY(SELECT unnest(%s::text[]) EXCEPT SELECT unnest(market_tickers)"
            " FROM rl_orderbook_sessions WHERE session_id = %s ORDER BY 1) AS tickers) new"
            " WHERE s.session_id = %s AND cardinality(new.tickers) > 0",
            (sorted(with_book), session_id, session_id),
        )


async def _count_in_session(connection: TrioConnection, session_id: int, batch: Batch) -> None:
    counts = batch.counts
    await connection.execute(
        "UPDATE rl_orderbook_sessions SET frames = frames + %s, deltas = deltas + %s,"
        " snapshots = snapshots + %s, trades = trades + %s, controls = controls + %s, stales = stales + %s,"
        " rejects = rejects + %s, gaps = gaps + %s, batches = batches + 1,"
        " last_message_us = COALESCE(%s::bigint, last_message_us),"
        # Another recorder may have taken us for dead while our lock was away for a moment.
        " status = 'active', ended_us = NULL, end_reason = NULL WHERE session_id = %s",
        (
            counts.total,
            counts.deltas,
            counts.snapshots,
            counts.trades,
            counts.controls,
            counts.stales,
            counts.rejects,
            _count(batch.facts, GapFact),
            batch.frames[-1].received_us if batch.frames else None,
            session_id,
        ),
    )


def _storable(text: str) -> str:
    """PostgreSQL's text has no place for NUL characters, and the exchange's words may hold any."""
    return text.replace("\0", "\\0")


def _count(facts: Sequence[Fact], kind: type[Fact]) -> int:
    return sum(isinstance(fact, kind) for fact in facts)
