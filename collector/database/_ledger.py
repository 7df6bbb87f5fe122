"""
The write ledger: one row for each committed batch.

Numbers that a database gave to a session and to markets are valid for one state of that database. A restored
backup may have given them to others, and a replica that took over may lack the last batches. So the statement
that enters a batch checks, in the batch's own transaction, that this is the database that gave the numbers,
that they are still those of this session and these markets, that the session's newest row is the one that the
recorder knows, and that no newer program has made the tables unfit for this one. Rows are linked: each has a
hash over that of the row written before it, and over all its own columns.
"""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from attrs import define, frozen

from collector.database._identity import DatabaseIdentity
from collector.database._schema import known_version, require_known_version
from collector.errors import LedgerConflict, StoreChanged
from collector.facts import FRAME_COUNTS
from collector.postgres import TrioConnection
from collector.rawblocks import DamagedBlock, decode_block
from collector.storage import KINDS, Batch, ledger_hash

ROW_COUNTS: Final = tuple(kind.rows_column for kind in KINDS)
"""Columns with the number of rows of each kind, in the order of KINDS."""
LEDGER_COUNTS: Final = (*FRAME_COUNTS, *ROW_COUNTS)
"""Columns with counts: of the batch's frames, and of its rows."""

LEDGER_NUMBERS: Final = (
    *("batch_number", "first_frame", "last_frame", "first_received_us", "last_received_us"),
    *LEDGER_COUNTS,
    "written_us",
)
"""Columns with numbers, in the order of the table: what the hash of a row covers beside the block's hash."""
_INSERT: Final = (
    # A server that confirms what is not on its disk would lose it in a crash. Stronger than `on` stays.
    "WITH durable AS MATERIALIZED (SELECT set_config('synchronous_commit',"
    " CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)"
    " AS mode)"
    f" INSERT INTO rl_write_ledger (session_id, block_hash, hash, {', '.join(LEDGER_NUMBERS)})"
    f" SELECT s.session_id, %s::bytea, %s::bytea, {', '.join(['%s::bigint'] * len(LEDGER_NUMBERS))}"
    " FROM rl_orderbook_sessions s, durable d WHERE s.session_id = %s AND s.session_key = %s"
    " AND d.mode <> '' AND EXISTS (SELECT FROM rl_database WHERE database_key = %s)"
    # A newer program may have changed the tables so that what we would write is wrong.
    " AND %s::integer >= (SELECT max(oldest_program) FROM rl_schema_versions)"
    " AND %s = COALESCE((SELECT l.hash FROM rl_write_ledger l WHERE l.session_id = s.session_id"
    " ORDER BY l.batch_number DESC LIMIT 1), ''::bytea) AND NOT EXISTS"
    " (SELECT FROM unnest(%s::text[], %s::integer[]) AS m (ticker, id) LEFT JOIN rl_markets k"
    " ON k.market_id = m.id AND k.market_ticker = m.ticker WHERE k.market_id IS NULL)"
    # It may be part of a summary.
    " AND NOT EXISTS (SELECT FROM rl_write_ledger c WHERE c.session_id = s.session_id"
    "  AND c.batch_number > %s AND c.first_batch <= %s)"
    " AND (%s::integer = 0 OR EXISTS (SELECT FROM rl_raw_lexicons x"
    " WHERE x.session_id = s.session_id AND x.lexicon_number = %s::integer))"
    " ON CONFLICT DO NOTHING RETURNING batch_number"
).encode()
_STORED: Final = (
    b"SELECT s.session_key, l.first_frame, l.last_frame, l.block_hash, l.first_batch, r.payload, x.content"
    b" FROM rl_orderbook_sessions s"
    b" LEFT JOIN rl_write_ledger l ON l.session_id = s.session_id AND l.batch_number >= %s"
    b"  AND COALESCE(l.first_batch, l.batch_number) <= %s"
    b" LEFT JOIN rl_raw_blocks r ON r.session_id = l.session_id AND r.batch_number = l.batch_number"
    b" LEFT JOIN rl_raw_lexicons x ON x.session_id = r.session_id AND x.lexicon_number = r.lexicon_number"
    b" WHERE s.session_id = %s"
)


@frozen
class LedgerRow:
    """A row of the ledger: values for LEDGER_NUMBERS, and its two hashes."""

    numbers: tuple[int | None, ...]
    block_hash: bytes
    hash: bytes


@define
class StoredSession:
    """
    A session in one state of a database: the number that it has there, and its newest batch.

    `hash` is that of the newest row of its ledger, empty without any. `write_batch` keeps both in step.
    """

    key: UUID
    session_id: int
    database: DatabaseIdentity
    last_batch: int = 0
    hash: bytes = b""

    def continues(self, earlier: "StoredSession") -> bool:
        """Whether the database has lost nothing since then, so that the numbers that it gave still hold."""
        is_same = (self.session_id, self.database) == (earlier.session_id, earlier.database)
        return is_same and self.last_batch >= earlier.last_batch

    def row_of(self, batch: Batch, block_hash: bytes, before: bytes) -> LedgerRow:
        """
        The row of a batch whose block has this hash, which is empty without a block; `before` is the hash of
        the row before it.
        """
        numbers = ledger_numbers(batch)
        return LedgerRow(numbers, block_hash, ledger_hash(before, self.key, numbers, block_hash))

    def is_late(self, batch: Batch) -> bool:
        """Whether a batch is not the next one: it is stored already, or fills a hole."""
        return batch.number <= self.last_batch

    def advance(self, batch: Batch, row: LedgerRow) -> None:
        """Note that a batch was committed with this row."""
        if batch.number > self.last_batch:
            self.last_batch, self.hash = batch.number, row.hash


@frozen
class Needed:
    """
    What a batch relies on: the numbers of its markets, and the stored dictionary of its raw block; 0 when the
    batch brings its dictionary along.
    """

    market_ids: Mapping[str, int]
    dictionary_number: int


async def enter_ledger(
    connection: TrioConnection,
    session: StoredSession,
    batch: Batch,
    row: LedgerRow,
    needed: Needed,
) -> bool:
    """
    Insert the ledger row of a batch. False when the same batch is stored already.

    A transaction that is still committing the same batch makes this wait for its outcome. Raises StoreChanged
    when what the batch needs is not there, LedgerConflict when the stored batch has another content, and
    StoreUnsuitable when the database is for newer programs only.
    """
    cursor = await connection.execute(
        _INSERT,
        (
            row.block_hash,
            row.hash,
            *row.numbers,
            session.session_id,
            session.key,
            session.database.key,
            known_version(),
            session.hash,
            list(needed.market_ids),
            list(needed.market_ids.values()),
            batch.number,
            batch.number,
            needed.dictionary_number,
            needed.dictionary_number,
        ),
    )
    if await cursor.fetchone() is not None:
        return True
    await require_known_version(connection)
    await _require_same(connection, session, batch, row.block_hash)
    return False


async def fetch_last_row(
    connection: TrioConnection, session_id: int, *, before: int | None = None
) -> tuple[int, bytes]:
    """
    The number and the hash of the last row of a session's ledger, or of the last one before a batch, in the
    caller's transaction. 0 and nothing without any.
    """
    cursor = await connection.execute(
        "SELECT batch_number, hash FROM rl_write_ledger WHERE session_id = %(id)s"
        " AND (%(before)s::integer IS NULL OR batch_number < %(before)s)"
        " ORDER BY batch_number DESC LIMIT 1",
        {"id": session_id, "before": before},
    )
    batch_number, last_hash = await cursor.fetchone() or (0, b"")
    return batch_number, bytes(last_hash)


async def _require_same(
    connection: TrioConnection, session: StoredSession, batch: Batch, block_hash: bytes
) -> None:
    """The batch is stored with this content. Raises StoreChanged and LedgerConflict where it is not."""
    cursor = await connection.execute(_STORED, (batch.number, batch.number, session.session_id))
    row = await cursor.fetchone()
    if row is None or row[0] != session.key or row[1] is None:
        raise StoreChanged(
            f"session {session.key}, its newest batch, a market of it or its dictionary is not in the"
            " database any more as it was: was a backup restored, or a replica promoted?"
        )
    first_frame, last_frame, stored_hash, first_batch, payload, dictionary = row[1:]
    if first_batch is not None and first_frame <= batch.first_frame and batch.last_frame <= last_frame:
        return
    is_same = (first_frame, last_frame) == (batch.first_frame, batch.last_frame)
    if is_same and stored_hash != block_hash and payload is not None:
        # Another process may have compressed the same frames with another dictionary.
        is_same = _holds(payload, dictionary or b"", batch)
    elif stored_hash != block_hash:
        is_same = False
    if not is_same:
        raise LedgerConflict(
            f"batch {batch.number} of session {session.key} is stored with another content:"
            f" frames {first_frame} to {last_frame}, not {batch.first_frame} to {batch.last_frame}"
        )


def _holds(payload: bytes, dictionary: bytes, batch: Batch) -> bool:
    try:
        content = decode_block(batch.first_frame, payload, dictionary)
    except DamagedBlock:
        return False
    return (content.frames, content.notes) == (tuple(batch.frames), tuple(batch.notes))


def ledger_numbers(batch: Batch) -> tuple[int | None, ...]:
    """Values for the columns LEDGER_NUMBERS."""
    return (
        *(batch.number, batch.first_frame, batch.last_frame, *batch.received_us),
        *counts_of(batch),
        batch.formed_us,
    )


def counts_of(batch: Batch) -> tuple[int, ...]:
    """Values for the columns LEDGER_COUNTS."""
    return (*batch.counts.values(), *(len(facts) for facts in batch.rows.values()))
