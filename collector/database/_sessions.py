"""The rows of sessions: opened, counted, closed, and closed for recorders that died."""

from collections.abc import Iterable, Sequence

from attrs import asdict

from collector.database._identity import fetch_identity
from collector.database._ledger import StoredSession
from collector.database._schema import require_known_version
from collector.database._transactions import in_transaction
from collector.errors import StoreChanged
from collector.facts import FRAME_COUNTS, Fact, SnapshotFact
from collector.postgres import TrioConnection, translate_errors
from collector.storage import Batch, SessionEnding, SessionOpening

_COUNTS = ("frames", *FRAME_COUNTS, "gaps", "batches")


async def open_session(connection: TrioConnection, opening: SessionOpening) -> StoredSession:
    """
    Make the session's row, or find it when it was made before.

    Raises StoreUnsuitable where a newer program has made the database unfit for this one.
    """
    async with in_transaction(connection):
        await require_known_version(connection)
        database = await fetch_identity(connection)
        session_id = await _open_row(connection, opening)
        cursor = await connection.execute(
            "SELECT batch_number, chain FROM rl_write_ledger WHERE session_id = %s"
            " ORDER BY batch_number DESC LIMIT 1",
            (session_id,),
        )
        last_batch, chain = await cursor.fetchone() or (0, b"")
    return StoredSession(opening.key, session_id, database, last_batch, bytes(chain))


async def _open_row(connection: TrioConnection, opening: SessionOpening) -> int:
    values = asdict(opening, recurse=False)
    values["session_key"] = values.pop("key")
    # It stands in the stream; the rows that follow from it name the earlier sessions.
    del values["last_exact"]
    values["market_tickers"] = list(opening.market_tickers)
    places = ", ".join(f"%({name})s" for name in values)
    cursor = await connection.execute(
        f"INSERT INTO rl_orderbook_sessions ({', '.join(values)}) VALUES ({places})"
        " ON CONFLICT (session_key) DO UPDATE SET session_key = EXCLUDED.session_key"
        " RETURNING session_id".encode(),
        values,
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def close_session(connection: TrioConnection, session: StoredSession, ending: SessionEnding) -> None:
    """Store how a session ended. May be repeated. Raises StoreChanged when it has another number now."""
    async with in_transaction(connection):
        cursor = await connection.execute(
            # Another process can't know the last message; the database may.
            "UPDATE rl_orderbook_sessions SET"
            " ended_us = GREATEST(%s::bigint, CASE WHEN %s::bigint IS NULL THEN last_message_us END),"
            " status = %s, end_reason = %s, close_code = %s,"
            " last_frame = %s WHERE session_id = %s AND session_key = %s",
            (
                ending.ended_us,
                ending.last_frame,
                ending.status,
                # PostgreSQL's text can't hold NUL characters, and the exchange's words may.
                ending.reason.replace("\0", "\\0"),
                ending.close_code,
                ending.last_frame,
                session.session_id,
                session.key,
            ),
        )
    if cursor.rowcount == 0:
        raise StoreChanged(f"session {session.key} has another number in the database now")


async def close_orphans(connection: TrioConnection, recorder_key: int) -> list[list[int]]:
    """
    End the active sessions of recorders that died, at their last known message.

    A recorder is dead when its advisory lock is free. Returns the numbers of the sessions, one list a
    recorder.
    """
    closed: list[list[int]] = []
    with translate_errors():
        cursor = await connection.execute(
            "SELECT DISTINCT recorder_key FROM rl_orderbook_sessions"
            " WHERE status = 'active' AND recorder_key <> %s",
            (recorder_key,),
        )
        for (other_key,) in await cursor.fetchall():
            closing = await connection.execute(
                "WITH gone AS MATERIALIZED (SELECT pg_try_advisory_lock(%(key)s) AS is_gone),"
                " closed AS (UPDATE rl_orderbook_sessions SET status = 'error', end_reason = 'recorder_died',"
                " ended_us = COALESCE(last_message_us, started_us) FROM gone"
                " WHERE is_gone AND status = 'active' AND recorder_key = %(key)s RETURNING session_id)"
                " SELECT is_gone, ARRAY(SELECT session_id FROM closed) FROM gone",
                {"key": other_key},
            )
            row = await closing.fetchone()
            if row is not None and row[0]:
                closed.append(row[1])
                await connection.execute("SELECT pg_advisory_unlock(%s)", (other_key,))
    return closed


async def take_recorder_lock(connection: TrioConnection, recorder_key: int) -> bool:
    """
    Take the advisory lock that proves that this recorder lives; False while another connection holds it.
    """
    with translate_errors():
        cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (recorder_key,))
        row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def add_joined_markets(connection: TrioConnection, session_id: int, facts: Iterable[Fact]) -> None:
    """Add to the session's row the markets that have a snapshot and that it did not begin with."""
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


async def count_batch(connection: TrioConnection, session_id: int, batch: Batch, gap_rows: int) -> None:
    """Add a batch to the counts of its session's row."""
    counts: Sequence[int] = (batch.counts.total, *batch.counts.values(), gap_rows, 1)
    changes = ", ".join(f"{name} = {name} + %s" for name in _COUNTS)
    last_message_us = batch.frames[-1].received_us if batch.frames else None
    await connection.execute(
        f"UPDATE rl_orderbook_sessions SET {changes},"
        " last_message_us = COALESCE(%s::bigint, last_message_us),"
        # Another recorder may have closed the session while our lock was lost for a moment.
        " status = 'active', ended_us = NULL, end_reason = NULL, last_frame = NULL"
        " WHERE session_id = %s".encode(),
        (*counts, last_message_us, session_id),
    )
