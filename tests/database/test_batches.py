"""Batches into a real PostgreSQL: every row, exactly, and once."""

import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
import trio

from collector.database import apply_schema, ensure_partitions
from collector.database._batches import write_batch
from collector.database._ledger import StoredSession
from collector.database._markets import fetch_market_ids
from collector.database._sessions import close_session, open_session
from collector.errors import LedgerConflict, StoreRejected, StoreUnavailable
from collector.facts import DECODER_VERSION, Fact, FeedTracker, FrameBatch
from collector.postgres import TrioConnection, open_connection
from collector.rawblocks import decode_block, hash_block
from collector.storage import DAY_US, Batch, SessionEnding, SessionOpening
from tests.frames import RECEIVED_US, delta_text, received, snapshot_text, subscribed_text, trade_text
from tests.tcp_proxy import open_proxy, server_target, through_port

DAY = RECEIVED_US // DAY_US
TEXTS = (
    subscribed_text("orderbook_delta", 1),
    snapshot_text("A", 1, yes={"0.4500": "10.00"}, no={"0.5000": "3.25"}, clock=70),
    delta_text("A", 2, "0.4500", "-4.00", clock=71),
    delta_text("B", 3, "0.9900", "1.50", side="no"),
    trade_text("A", 1),
    delta_text("A", 7, "0.4500", "-6.00"),
    "garbled \0 text",
)
STATEMENTS = (
    b"BEGIN",
    b"rl_write_ledger",
    b"COPY rl_delta_rows",
    b"PGCOPY",
    b"COPY rl_raw_blocks",
    b"UPDATE rl_orderbook_sessions",
    b"COMMIT",
)


def opening(**changes: Any) -> SessionOpening:  # noqa: ANN401 - fields of SessionOpening
    values: dict[str, Any] = {
        "key": uuid.uuid4(),
        "recorder_key": 7,
        "market_tickers": ("A", "B"),
        "ws_url": "ws://127.0.0.1/",
        "environment": "demo",
        "code_version": "1",
        "decoder_version": DECODER_VERSION,
        "sample_rate": 1,
        "use_yes_price": False,
        "started_us": RECEIVED_US,
    }
    return SessionOpening(**{**values, **changes})


def batch_of(frames: FrameBatch, number: int = 1, facts: Sequence[Fact] | None = None) -> Batch:
    last = frames.frames[-1].number
    return Batch(
        number,
        frames.frames,
        frames.facts if facts is None else facts,
        frames.counts,
        last + 1,
        formed_us=RECEIVED_US,
    )


@asynccontextmanager
async def ready(url: str) -> AsyncIterator[tuple[TrioConnection, StoredSession, dict[str, int]]]:
    """A connection to a database with the schema, an open session, and numbers for markets A and B."""
    async with open_connection(url) as connection:
        await apply_schema(connection)
        await ensure_partitions(connection, DAY, DAY)
        session = await open_session(connection, opening())
        yield connection, session, await fetch_market_ids(connection, ["A", "B"])


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


async def test_audits_and_the_channel_of_a_gap(database_url: str) -> None:
    """Each verdict is a row, counted in the ledger; a gap names the channel of its subscription."""
    texts = (
        snapshot_text("A", 1, yes={"0.4500": "1.00"}),
        snapshot_text("A", 2, yes={"0.4500": "1.00"}, command_id=4),
        snapshot_text("A", 3, yes={"0.4500": "3.00"}, command_id=5),
        subscribed_text("trade", 2),
        trade_text("B", 2),
        trade_text("B", 9, sid=3),
    )
    frames = FeedTracker.of_markets(["A", "B"]).process(received(*texts))
    async with ready(database_url) as (connection, session, market_ids):
        assert await write_batch(connection, session, batch_of(frames), market_ids)
        assert not await write_batch(connection, session, batch_of(frames), market_ids)

    assert rows(database_url, "SELECT * FROM rl_orderbook_audits ORDER BY sequence_number") == [
        (session.session_id, "A", 1, 2, RECEIVED_US + 2000, True, None),
        (session.session_id, "A", 1, 3, RECEIVED_US + 3000, False, "yes 4500: book 100, exchange 300"),
    ]
    assert rows(database_url, "SELECT audit_rows, gap_rows FROM rl_write_ledger") == [(2, 3)]
    assert rows(
        database_url, "SELECT cause, market_ticker, channel FROM rl_orderbook_gaps ORDER BY frame_number"
    ) == [
        ("audit_mismatch", "A", "orderbook_delta"),
        ("sequence", None, "trade"),
        ("sequence", None, None),
    ]


async def test_a_batch_that_is_part_of_a_summary_is_stored_already(database_url: str) -> None:
    """A spool that is found after years brings nothing twice; frames of another place are a conflict."""
    frames = [
        FeedTracker.of_markets(["A", "B"]).process(received(text, first=number))
        for number, text in enumerate(TEXTS, 1)
    ]
    elsewhere = FeedTracker.of_markets(["A", "B"]).process(received(TEXTS[0], first=100))
    async with ready(database_url) as (connection, session, market_ids):
        for number, each in enumerate(frames, 1):
            assert await write_batch(connection, session, batch_of(each, number), market_ids)
        await connection.execute("SELECT rl_summarise_day(to_timestamp(%s)::date, '1')", (RECEIVED_US / 1e6,))
        for number, each in enumerate(frames, 1):
            assert not await write_batch(connection, session, batch_of(each, number), market_ids)
        with pytest.raises(LedgerConflict):
            await write_batch(connection, session, batch_of(elsewhere, 1), market_ids)
    assert rows(database_url, "SELECT first_batch, batch_number FROM rl_write_ledger") == [(1, len(TEXTS))]


async def test_each_kind_of_row(database_url: str) -> None:
    """Deltas, snapshots, trades, gaps and rejects read back under their names as they were received."""
    frames = FeedTracker.of_markets(["A", "B"]).process(received(*TEXTS))
    async with ready(database_url) as (connection, session, market_ids):
        assert await write_batch(connection, session, batch_of(frames), market_ids)

    assert rows(database_url, "SELECT * FROM rl_orderbook_deltas ORDER BY sequence_number") == [
        (
            session.session_id,
            "A",
            1,
            2,
            71,
            1786410915566,
            RECEIVED_US + 3000,
            "yes",
            "update",
            4500,
            -400,
            1000,
            600,
        ),
        (
            session.session_id,
            "B",
            1,
            3,
            None,
            1786410915566,
            RECEIVED_US + 4000,
            "no",
            "add",
            9900,
            150,
            0,
            150,
        ),
        (
            session.session_id,
            "A",
            1,
            7,
            None,
            1786410915566,
            RECEIVED_US + 6000,
            "yes",
            "remove",
            4500,
            -600,
            600,
            0,
        ),
    ]
    (snapshot,) = rows(database_url, "SELECT * FROM rl_orderbook_snapshots")
    assert snapshot[:10] == (
        session.session_id,
        "A",
        1,
        1,
        70,
        (RECEIVED_US + 2000) // 1000,
        RECEIVED_US + 2000,
        "initial",
        {"4500": 1000},
        {"5000": 325},
    )
    assert rows(database_url, "SELECT * FROM rl_orderbook_trades") == [
        (session.session_id, "A", 2, 1, 1786410063969, RECEIVED_US + 5000, "trade-1", "no", 3500, 10, False)
    ]
    assert rows(
        database_url,
        "SELECT sid, expected, received, cause, market_ticker FROM rl_orderbook_gaps ORDER BY expected",
    ) == [(1, 4, 7, "sequence", None), (1, 8, 8, "reject", None)]
    assert rows(database_url, "SELECT frame_number, frame FROM rl_orderbook_rejects") == [
        (7, b"garbled \0 text")
    ]


async def test_digest_can_be_computed_in_sql(database_url: str) -> None:
    """The stored digest is that of the stored levels, by PostgreSQL's own SHA-256."""
    frames = FeedTracker.of_markets(["A"]).process(received(*TEXTS))
    async with ready(database_url) as (connection, session, market_ids):
        await write_batch(connection, session, batch_of(frames), market_ids)

    assert rows(
        database_url, "SELECT digest = sha256('yes 4500=1000\nno 5000=325') FROM rl_orderbook_snapshots"
    ) == [(True,)]


async def test_raw_block_and_ledger_tell_the_whole_batch(database_url: str) -> None:
    """The block holds every frame verbatim, and the ledger's counts add up to them."""
    frames = FeedTracker.of_markets(["A", "B"]).process(received(*TEXTS))
    async with ready(database_url) as (connection, session, market_ids):
        await write_batch(connection, session, batch_of(frames), market_ids)

    ((first, payload),) = rows(database_url, "SELECT first_frame, payload FROM rl_raw_blocks")
    assert decode_block(first, payload).frames == frames.frames
    assert rows(
        database_url,
        "SELECT first_frame, last_frame, deltas, snapshots, trades, controls,"
        " stales, rejects, delta_rows, gap_rows, reject_rows, block_hash FROM rl_write_ledger",
    ) == [(1, 7, 3, 1, 1, 1, 0, 1, 3, 2, 1, hash_block(payload))]
    assert rows(
        database_url,
        "SELECT frames, deltas, snapshots, trades, controls, stales, rejects, gaps, batches, last_message_us"
        " FROM rl_orderbook_sessions",
    ) == [(7, 3, 1, 1, 1, 0, 1, 2, 1, RECEIVED_US + 7000)]


async def test_batch_without_times_or_sides(database_url: str) -> None:
    """What the exchange left out is null, not zero."""
    delta = json.loads(delta_text("A", 1, "0.5000", "1.00"))
    del delta["msg"]["ts"], delta["msg"]["ts_ms"]
    trade = json.loads(trade_text("A", 1))
    for name in ("ts", "ts_ms", "taker_side", "taker_outcome_side", "is_block_trade"):
        del trade["msg"][name]
    del trade["sid"], trade["seq"]
    frames = FeedTracker.of_markets(["A"]).process(received(json.dumps(delta), json.dumps(trade)))
    async with ready(database_url) as (connection, session, market_ids):
        await write_batch(connection, session, batch_of(frames), market_ids)

    assert rows(database_url, "SELECT timestamp_ms FROM rl_orderbook_deltas") == [(None,)]
    assert rows(
        database_url,
        "SELECT timestamp_ms, sequence_number, taker_side, is_block_trade FROM rl_orderbook_trades",
    ) == [(None, None, None, None)]


async def test_same_batch_again_is_not_written_again(database_url: str) -> None:
    """The ledger knows the batch, and nothing is stored twice."""
    batch = batch_of(FeedTracker.of_markets(["A", "B"]).process(received(*TEXTS)))
    async with ready(database_url) as (connection, session, market_ids):
        assert await write_batch(connection, session, batch, market_ids)
        assert not await write_batch(connection, session, batch, market_ids)

    assert rows(database_url, "SELECT count(*) FROM rl_orderbook_deltas") == [(3,)]
    assert rows(database_url, "SELECT frames FROM rl_orderbook_sessions") == [(7,)]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("statement", STATEMENTS)
async def test_connection_cut_at_every_statement(database_url: str, statement: bytes, before: bool) -> None:
    """Cut before or after any statement reaches the server: after another try every row is there once."""
    batch = batch_of(FeedTracker.of_markets(["A", "B"]).process(received(*TEXTS)))
    async with ready(database_url) as (connection, session, market_ids):
        async with open_proxy(server_target(database_url)) as proxy:
            proxied = through_port(database_url, proxy.port)
            trap = proxy.cut_before(statement) if before else proxy.cut_after(statement)
            with trio.fail_after(20):
                async with open_connection(proxied) as wire:
                    with pytest.raises(StoreUnavailable):
                        await write_batch(wire, session, batch, market_ids)
            assert trap.sprung.is_set()
        with trio.fail_after(20):
            await write_batch(connection, session, batch, market_ids)

    assert rows(database_url, "SELECT count(*) FROM rl_orderbook_deltas") == [(3,)]
    assert rows(database_url, "SELECT count(*) FROM rl_raw_blocks") == [(1,)]
    assert rows(database_url, "SELECT count(*) FROM rl_write_ledger") == [(1,)]
    assert rows(database_url, "SELECT frames, batches FROM rl_orderbook_sessions") == [(7, 1)]


async def test_day_without_a_partition_is_refused_not_dropped(database_url: str) -> None:
    """A row that has no place is an error of ours, and nothing of its batch goes in."""
    batch = batch_of(FeedTracker.of_markets(["A"]).process(received(*TEXTS)))
    async with ready(database_url) as (connection, session, market_ids):
        await connection.execute("DROP TABLE rl_raw_blocks_20260811")
        with pytest.raises(StoreRejected):
            await write_batch(connection, session, batch, market_ids)

    assert rows(database_url, "SELECT count(*) FROM rl_orderbook_deltas") == [(0,)]
    assert rows(database_url, "SELECT count(*) FROM rl_write_ledger") == [(0,)]


async def test_session_is_opened_once_and_closed(database_url: str) -> None:
    """Opening again with the same key finds the row; the end says how and why."""
    async with open_connection(database_url) as connection:
        await apply_schema(connection)
        same = opening()
        session = await open_session(connection, same)
        assert await open_session(connection, same) == session
        assert await open_session(connection, opening()) != session
        await close_session(connection, session, SessionEnding(RECEIVED_US + 5, "error", "cut", 1006))

    assert rows(
        database_url,
        "SELECT status, end_reason, close_code, ended_us FROM rl_orderbook_sessions"
        f" WHERE session_id = {session.session_id}",
    ) == [("error", "cut", 1006, RECEIVED_US + 5)]
