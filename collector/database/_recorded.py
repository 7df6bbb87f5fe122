"""
What is read of a recorded session: its row, its batches with their raw blocks, and its rows of each kind.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final
from uuid import UUID

from psycopg.rows import TupleRow, dict_row

from collector.database._sessions import HOLDS_LOCK
from collector.database._transactions import Pages, open_pages, read_only
from collector.facts import TrackerStateFact
from collector.postgres import TrioConnection
from collector.storage import ColumnType, RowKind

PAGE_BATCHES: Final = 200

_BATCHES: Final = (
    "SELECT l.*, r.payload, r.first_frame AS block_first_frame, r.last_frame AS block_last_frame,"
    " r.first_received_us AS block_first_us, r.last_received_us AS block_last_us, r.format, x.content"
    " FROM rl_write_ledger l"
    " LEFT JOIN rl_raw_blocks r ON r.session_id = l.session_id AND r.batch_number = l.batch_number"
    " LEFT JOIN rl_raw_lexicons x ON x.session_id = r.session_id AND x.lexicon_number = r.lexicon_number"
    " WHERE l.session_id = %s AND l.batch_number > %s AND l.last_frame >= %s ORDER BY l.batch_number LIMIT %s"
)


async def fetch_session_rows(
    connection: TrioConnection, session_id: int | None
) -> Sequence[Mapping[str, Any]]:
    """The row of one session, or of all, in order of their numbers."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f"SELECT *, {HOLDS_LOCK} AS is_recorder_alive FROM rl_orderbook_sessions"
            " WHERE %(id)s::integer IS NULL OR session_id = %(id)s ORDER BY session_id".encode(),
            {"id": session_id},
        )
        return await cursor.fetchall()


async def find_sessions(connection: TrioConnection, name: str, limit: int) -> list[tuple[int, UUID]]:
    """
    Numbers and keys of the sessions that a name means: the one with this number, if there is one; else those
    whose keys begin with it, with or without dashes. Up to seven digits alone are only ever a number.
    """
    async with read_only(connection):
        cursor = await connection.execute(
            "WITH named AS (SELECT session_id, session_key, session_id::text = %(name)s AS is_number"
            "  FROM rl_orderbook_sessions WHERE session_id::text = %(name)s"
            "  OR (%(name)s !~ '^[0-9]{1,7}$' AND"
            "    starts_with(replace(session_key::text, '-', ''), replace(lower(%(name)s), '-', ''))))"
            " SELECT session_id, session_key FROM named"
            " WHERE is_number OR NOT EXISTS (SELECT FROM named WHERE is_number)"
            " ORDER BY session_id LIMIT %(limit)s",
            {"name": name, "limit": limit},
        )
        return await cursor.fetchall()


async def fetch_batch_rows(
    connection: TrioConnection, session_id: int, after: int, from_frame: int
) -> Sequence[Mapping[str, Any]]:
    """
    The next PAGE_BATCHES ledger rows after a batch number, each with its raw block; empty at the end. Batches
    that end before the frame `from_frame` are left out.
    """
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_BATCHES, (session_id, after, from_frame, PAGE_BATCHES))
        return await cursor.fetchall()


async def fetch_state_frames(connection: TrioConnection, session_id: int) -> list[int]:
    """The numbers of the frames after which a state of a session is stored, in order."""
    cursor = await connection.execute(
        "SELECT frame_number FROM rl_tracker_states WHERE session_id = %s ORDER BY frame_number",
        (session_id,),
    )
    return [frame_number for (frame_number,) in await cursor.fetchall()]


async def fetch_state_after(
    connection: TrioConnection, session_id: int, frame_number: int
) -> TrackerStateFact | None:
    """The stored state after a frame; None without one."""
    return await _fetch_state(connection, "session_id = %s AND frame_number = %s", session_id, frame_number)


async def fetch_tracker_state(
    connection: TrioConnection, session_id: int, at_us: int
) -> TrackerStateFact | None:
    """The newest stored state of a session whose frame was received by then; None without any."""
    return await _fetch_state(connection, "session_id = %s AND received_us <= %s", session_id, at_us)


async def _fetch_state(
    connection: TrioConnection, condition: str, *arguments: int
) -> TrackerStateFact | None:
    cursor = await connection.execute(
        f"SELECT frame_number, received_us, state FROM rl_tracker_states WHERE {condition}"
        " ORDER BY frame_number DESC LIMIT 1".encode(),
        arguments,
    )
    row = await cursor.fetchone()
    return None if row is None else TrackerStateFact(row[0], row[1], bytes(row[2]))


def open_row_pages(
    connection: TrioConnection, kind: RowKind, session_id: int
) -> AbstractAsyncContextManager[Pages[TupleRow]]:
    """All rows of one kind of a session, in no order: columns as in the kind, markets as tickers."""
    names = [
        "m.market_ticker" if column.type is ColumnType.MARKET else f"t.{column.name}"
        for column in kind.columns
    ]
    join = "" if kind.market_index is None else " JOIN rl_markets m USING (market_id)"
    query = f"SELECT {', '.join(names)} FROM {kind.table} t{join} WHERE t.session_id = %(id)s"
    return open_pages(connection, query, {"id": session_id})
