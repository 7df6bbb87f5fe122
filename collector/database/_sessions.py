"""The rows of sessions: opened, counted, closed, and closed for recorders that died."""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from attrs import asdict, evolve, frozen
from psycopg.rows import class_row

from collector.database._chain import append_entry, fetch_chain_head, fetch_newest_entry
from collector.database._identity import fetch_identity
from collector.database._ledger import StoredSession, fetch_last_row
from collector.database._schema import require_known_version
from collector.database._transactions import in_transaction
from collector.errors import StoreChanged
from collector.facts import FRAME_COUNTS, Fact, SnapshotFact
from collector.postgres import TrioConnection, translate_errors
from collector.storage import (
    Batch,
    EntryKind,
    SessionEnding,
    SessionOpening,
    ending_content,
    opening_note,
    storable_text,
)

_COUNTS = ("frames", *FRAME_COUNTS, "gaps", "batches")
HOLDS_LOCK: Final = (
    "EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND (l.classid::bigint << 32 | l.objid::bigint) = recorder_key)"
)
"""Of a session's row: whether its recorder lives, as far as its advisory lock shows."""


async def open_session(connection: TrioConnection, opening: SessionOpening) -> StoredSession:
    """
    Make the session's row, or find it when it was made before. A new one gets its entry in the chain.

    Raises StoreUnsuitable where a newer program has made the database unfit for this one.
    """
    async with in_transaction(connection):
        await require_known_version(connection)
        database = await fetch_identity(connection)
        session_id = await _open_row(connection, opening)
        last_batch, ledger_hash = await fetch_last_row(connection, session_id)
        if await fetch_newest_entry(connection, opening.key) is None:
            content = opening_note(opening).content
            await append_entry(connection, EntryKind.OPENING, opening.key, ledger_hash, content)
    return StoredSession(opening.key, session_id, database, last_batch, ledger_hash)


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


async def close_session(connection: TrioConnection, session: StoredSession, ending: SessionEnding) -> str:
    """
    Store how a session ended, and enter it in the chain. May be repeated. Another process ends a session only
    while that is active.

    Returns the newest hash of the chain. Raises StoreChanged when the session has another number now.
    """
    async with in_transaction(connection):
        cursor = await connection.execute(
            "SELECT last_message_us, status FROM rl_orderbook_sessions"
            " WHERE session_id = %s AND session_key = %s FOR UPDATE",
            (session.session_id, session.key),
        )
        row = await cursor.fetchone()
        if row is None:
            raise StoreChanged(f"session {session.key} has another number in the database now")
        last_message_us, status = row
        is_presumed = ending.last_frame is None
        if is_presumed and last_message_us is not None:
            # Another process can't know the last message; the database may.
            ending = evolve(ending, ended_us=max(ending.ended_us, last_message_us))
        if not is_presumed or status == "active":
            await _end(connection, session.session_id, session.key, ending)
        return await fetch_chain_head(connection)


async def _end(connection: TrioConnection, session_id: int, key: UUID, ending: SessionEnding) -> None:
    await connection.execute(
        "UPDATE rl_orderbook_sessions SET ended_us = %s, status = %s, end_reason = %s, close_code = %s,"
        " last_frame = %s WHERE session_id = %s",
        (
            ending.ended_us,
            ending.status,
            storable_text(ending.reason),
            ending.close_code,
            ending.last_frame,
            session_id,
        ),
    )
    _, ledger_hash = await fetch_last_row(connection, session_id)
    kind = EntryKind.PRESUMED if ending.last_frame is None else EntryKind.ENDING
    content = ending_content(ending)
    newest = await fetch_newest_entry(connection, key)
    if newest is None or (newest.kind, newest.ledger_hash or b"", newest.content) != (
        kind.value,
        ledger_hash,
        content,
    ):
        await append_entry(connection, kind, key, ledger_hash, content)


@frozen
class SilentSession:
    """An active session whose recorder does not hold its lock. `now_us` is the database's clock."""

    session_id: int
    key: UUID
    recorder_key: int
    batches: int
    now_us: int


async def fetch_silent_sessions(connection: TrioConnection, recorder_key: int) -> list[SilentSession]:
    """The active sessions of recorders that hold no lock, but for the one with this key."""
    async with in_transaction(connection), connection.cursor(row_factory=class_row(SilentSession)) as cursor:
        await cursor.execute(
            "SELECT session_id, session_key AS key, recorder_key, batches,"
            " (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint AS now_us"
            " FROM rl_orderbook_sessions WHERE status = 'active' AND recorder_key <> %s"
            f" AND NOT {HOLDS_LOCK}".encode(),
            (recorder_key,),
        )
        return await cursor.fetchall()


async def presume_ended(connection: TrioConnection, session: SilentSession) -> bool:
    """
    End a session whose recorder is gone, at its last known message; False where it is not gone after all.

    It is gone if its lock can be taken, and if no batch was written since the session was looked at.
    """
    async with in_transaction(connection):
        cursor = await connection.execute(
            "SELECT COALESCE(last_message_us, started_us) FROM rl_orderbook_sessions"
            " WHERE session_id = %s AND status = 'active' AND batches = %s"
            " AND pg_try_advisory_xact_lock(recorder_key) FOR UPDATE",
            (session.session_id, session.batches),
        )
        row = await cursor.fetchone()
        if row is None:
            return False
        ending = SessionEnding(row[0], "error", "recorder_died", None)
        await _end(connection, session.session_id, session.key, ending)
    return True


async def set_decoder_version(connection: TrioConnection, session_id: int, version: int) -> None:
    """Note which meaning the rows of a session give to its frames, in the caller's transaction."""
    await connection.execute(
        "UPDATE rl_orderbook_sessions SET decoder_version = %s WHERE session_id = %s", (version, session_id)
    )


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


async def count_batch(
    connection: TrioConnection, session_id: int, batch: Batch, gap_rows: int, *, is_late: bool
) -> None:
    """Add a batch to the counts of its session's row. A late one changes nothing about the session's end."""
    counts: Sequence[int] = (batch.counts.total, *batch.counts.values(), gap_rows, 1)
    changes = ", ".join(f"{name} = {name} + %s" for name in _COUNTS)
    last_message_us = batch.frames[-1].received_us if batch.frames else None
    await connection.execute(
        f"UPDATE rl_orderbook_sessions SET {changes},"
        # Of null and a number, GREATEST is the number.
        " last_message_us = GREATEST(%s::bigint, last_message_us) WHERE session_id = %s".encode(),
        (*counts, last_message_us, session_id),
    )
    if is_late:
        return
    await connection.execute(
        # Another recorder may have closed the session while our lock was lost for a moment.
        "UPDATE rl_orderbook_sessions SET status = 'active', ended_us = NULL, end_reason = NULL,"
        " close_code = NULL, last_frame = NULL WHERE session_id = %s AND status <> 'active'",
        (session_id,),
    )
