"""
How a batch is written.

A batch is one transaction. Its ledger row is inserted first. When there is an equal one, a transaction whose
answer was lost has committed, and nothing is written again. A transaction that is still being committed makes
the insert wait for its outcome, so the ledger's answer is right at any moment.
"""

import msgspec

from collector.database._chain import append_entry
from collector.database._copy import copy_rows
from collector.database._ledger import Needed, StoredSession, enter_ledger, fetch_last_row
from collector.database._markets import store_noted_records
from collector.database._sessions import add_joined_markets, count_batch
from collector.database._transactions import in_transaction
from collector.postgres import TrioConnection, translate_errors
from collector.rawblocks import Lexicon, encode_block, hash_block
from collector.storage import GAP, RAW_BLOCK, Batch, EntryKind, MarketIds, numbered_markets


async def fetch_last_lexicon(connection: TrioConnection, session_id: int) -> int:
    """The highest number of a session's dictionaries; 0 when it has none."""
    async with in_transaction(connection):
        cursor = await connection.execute(
            "SELECT COALESCE(max(lexicon_number), 0) FROM rl_raw_lexicons WHERE session_id = %s",
            (session_id,),
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def write_batch(
    connection: TrioConnection,
    session: StoredSession,
    batch: Batch,
    market_ids: MarketIds,
    lexicon: Lexicon = Lexicon(),  # noqa: B008 - frozen
    *,
    is_lexicon_stored: bool = False,
    is_trial: bool = False,
) -> bool:
    """
    Write a batch, whole or not at all, with the dictionary of its block unless that is already stored. A
    trial is taken back.

    Returns False when the batch was already stored. After a cancellation or a lost connection the batch may
    be stored or not; repeat the call with the same batch. Raises StoreUnavailable, after which the caller
    must repeat the call, and StoreRejected. StoreChanged and LedgerConflict: see `enter_ledger`.
    """
    session_id = session.session_id
    has_block = bool(batch.frames or batch.notes)
    block = (
        encode_block(batch.first_frame, batch.frames, batch.notes, lexicon, batch_number=batch.number)
        if has_block
        else None
    )
    rows = batch.rows
    block_hash = b"" if block is None else hash_block(block.payload, lexicon.content)
    is_late = session.is_late(batch)
    with translate_errors():
        async with connection.transaction(force_rollback=is_trial):
            named = {ticker: market_ids[ticker] for ticker in sorted(numbered_markets(rows))}
            before = session.hash
            if is_late:
                _, before = await fetch_last_row(connection, session_id, before=batch.number)
            row = session.row_of(batch, block_hash, before)
            needed = Needed(named, lexicon.number if is_lexicon_stored else 0)
            if not await enter_ledger(connection, session, batch, row, needed):
                return False
            for kind, facts in rows.items():
                await copy_rows(connection, kind, facts, session_id=session_id, market_ids=market_ids)
            if block is not None:
                if lexicon.number and not is_lexicon_stored:
                    await _insert_lexicon(connection, session_id, lexicon)
                await copy_rows(connection, RAW_BLOCK, [block], session_id=session_id, market_ids={})
            await store_noted_records(connection, batch.notes)
            await add_joined_markets(connection, session_id, batch.facts)
            await count_batch(connection, session_id, batch, len(rows[GAP]), is_late=is_late)
            if is_late:
                content = msgspec.json.encode({"batch_number": batch.number}).decode()
                await append_entry(connection, EntryKind.LATE, session.key, row.hash, content)
    if not is_trial:
        session.advance(batch, row)
    return True


async def _insert_lexicon(connection: TrioConnection, session_id: int, lexicon: Lexicon) -> None:
    await connection.execute(
        "INSERT INTO rl_raw_lexicons (session_id, lexicon_number, content) VALUES (%s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (session_id, lexicon.number, lexicon.content),
    )
