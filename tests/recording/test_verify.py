"""A recording is proved from the database alone, and anything that is off is found."""

import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from collector.database import PostgresSession, apply_schema
from collector.facts import ReceivedFrame, StreamNote, command_note
from collector.postgres import open_connection
from collector.recording import SessionReport, verify_recording
from collector.storage import Batch, SessionEnding, ending_note, fold_of, opening_note
from tests.database.test_batches import opening
from tests.recording.recordings import START_US, TEXTS, TICKERS, at, execute, write_recording
from tests.service.harness import flow, record
from tests.tcp_proxy import change_url

RECORDING = flow(
    markets=4, rate_per_s=1000, messages_max=1500, faults=("drop@200x1", "garble@400x1", "duplicate@300x1")
)


async def verify(url: str) -> list[SessionReport]:
    async with open_connection(url) as connection:
        return (await verify_recording(connection)).sessions


@pytest.mark.parametrize("sample_rate", [1, 7])
async def test_good_recording(database_url: str, sample_rate: int) -> None:
    """Holes, rejects and repetitions that are on record are no fault; thinned rows neither."""
    await record(RECORDING, database_url, sample_rate=sample_rate)

    (report,) = await verify(database_url)

    assert report.findings == []
    assert report.gaps == 3
    assert report.frames > 1500


SPOILS = {
    "a size": (
        "UPDATE rl_delta_rows SET delta_e2 = delta_e2 + 1 WHERE ctid = (SELECT min(ctid) FROM rl_delta_rows)",
        "delta rows",
    ),
    "a lost row": (
        "DELETE FROM rl_delta_rows WHERE ctid = (SELECT min(ctid) FROM rl_delta_rows)",
        "delta rows",
    ),
    "a doubled row": ("INSERT INTO rl_delta_rows SELECT * FROM rl_delta_rows LIMIT 1", "delta rows"),
    "a market": (
        "UPDATE rl_trade_rows SET market_id = market_id + 1 WHERE ctid = (SELECT min(ctid) FROM"
        " rl_trade_rows)",
        "trade rows",
    ),
    "a level": (
        "UPDATE rl_snapshot_rows SET yes_bids = yes_bids || '{\"1\": 5}' WHERE origin = 'initial'",
        "snapshot rows",
    ),
    "a digest": ("UPDATE rl_snapshot_rows SET digest = sha256('') WHERE origin = 'initial'", "snapshot rows"),
    "a gap": (
        "DELETE FROM rl_orderbook_gaps WHERE ctid = (SELECT min(ctid) FROM rl_orderbook_gaps)",
        "gap rows",
    ),
    "a reject": ("UPDATE rl_orderbook_rejects SET frame = 'x'", "reject rows"),
    "a block's byte": (
        "UPDATE rl_raw_blocks SET payload = set_byte(payload, 50, get_byte(payload, 50) # 1)"
        " WHERE first_frame = 1",
        "another hash",
    ),
    "a block and its hash": (
        "WITH changed AS (UPDATE rl_raw_blocks SET payload = '\\x00' WHERE first_frame = 1 RETURNING 1)"
        " UPDATE rl_write_ledger SET block_hash = sha256('\\x00') WHERE batch_number = 1",
        "batch 1",
    ),
    "a lost block": ("DELETE FROM rl_raw_blocks WHERE first_frame = 1", "is missing"),
    "a ledger's count": (
        "UPDATE rl_write_ledger SET deltas = deltas - 1, controls = controls + 1 WHERE batch_number = 1",
        "batch 1",
    ),
    "a book's state": ("UPDATE rl_book_states SET cause = NULL WHERE cause = 'sequence'", "book_state rows"),
    "a ledger's receive time": (
        "UPDATE rl_write_ledger SET last_received_us = last_received_us - 1 WHERE batch_number = 1",
        "receive times",
    ),
    "a session's count": ("UPDATE rl_orderbook_sessions SET deltas = deltas + 1", "session's counts"),
    "a lost dictionary": ("DELETE FROM rl_raw_lexicons", "another hash"),
}


async def test_everything_that_is_spoiled_is_found(server_url: str, database_url: str) -> None:
    """One change at a time to a row, a block, the ledger or a count: each is said, and in the right words."""
    await record(RECORDING, database_url)
    for name, (statement, words) in SPOILS.items():
        with copy_of(server_url, database_url) as spoiled:
            with psycopg.connect(spoiled) as spoiler:
                assert spoiler.execute(statement.encode()).rowcount > 0, name
            (report,) = await verify(spoiled)
        assert any(words in finding for finding in report.findings), (name, report.findings)


async def test_events_that_are_spoiled_are_found(database_url: str) -> None:
    """A lifecycle event whose content, kind or existence is off."""
    await write_recording(database_url, at(*TEXTS))
    (report,) = await verify(database_url)
    assert report.findings == []
    for statement in (
        """UPDATE rl_market_events SET event = event || '{"settlement_value": "1.0000"}'""",
        "UPDATE rl_market_events SET event = '[]'",
        "UPDATE rl_market_events SET event_type = 'settled'",
        "DELETE FROM rl_market_events",
    ):
        assert execute(database_url, statement) == 1
        (report,) = await verify(database_url)
        assert any("event rows" in finding for finding in report.findings), statement


@contextmanager
def copy_of(server_url: str, url: str) -> Generator[str]:
    """A database with everything that is in another one, for the time of the block."""
    original = sql.Identifier(str(conninfo_to_dict(url)["dbname"]))
    copy = f"copy_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(copy), original))
        yield change_url(url, dbname=copy)
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(copy)))


async def test_batches_without_frames_are_told_apart(database_url: str) -> None:
    """In a quiet time several batches hold commands alone, all before the same next frame."""
    session = opening(market_tickers=TICKERS)
    ending = SessionEnding(START_US + 100_000_000, "closed", "recorder stopped", None, len(TEXTS))
    fold, frames = fold_of(session), at(*TEXTS)
    runs: list[tuple[Sequence[ReceivedFrame], Sequence[StreamNote]]] = [
        (frames[:4], [opening_note(session)]),
        *(((), [command_note(f'{{"id":{n}}}', 4, START_US + n)]) for n in (1, 2, 3)),
        (frames[4:], [ending_note(ending, len(frames))]),
    ]
    async with open_connection(database_url) as connection:
        await apply_schema(connection)
    async with PostgresSession(session, partial(open_connection, database_url)).connect() as link:
        await link.begin()
        next_frame = 1
        for number, (run, notes) in enumerate(runs, 1):
            batch, rows = fold.process(run, notes)
            next_frame += len(run)
            await link.write(
                Batch(number, run, rows, batch.counts, next_frame, formed_us=START_US, notes=notes)
            )
        await link.end(ending)

    (report,) = await verify(database_url)

    assert (report.findings, report.batches, report.frames) == ([], 5, len(frames))
