"""Recordings of frames whose times and numbers a test chooses, written as the service writes them."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

import psycopg
from click.testing import CliRunner, Result

from collector.cli import main
from collector.database import apply_schema, ensure_partitions
from collector.database._batches import write_batch
from collector.database._markets import fetch_market_ids
from collector.database._sessions import close_session, open_session
from collector.facts import DECODER_VERSION, LastExact, ReceivedFrame
from collector.postgres import open_connection
from collector.recording import SessionReport, verify_recording
from collector.recording._verify import Verdict
from collector.storage import (
    DAY_US,
    Batch,
    SessionEnding,
    SessionOpening,
    ending_note,
    fold_of,
    opening_note,
)
from tests.frames import RECEIVED_US, delta_text, event_text, snapshot_text, subscribed_text

START_US = RECEIVED_US
DAY = RECEIVED_US // DAY_US
TICKERS = ("A", "B")
SECOND_US = 1_000_000

TEXTS = (
    subscribed_text("orderbook_delta", 1),
    snapshot_text("A", 1, yes={"0.4500": "10.00"}, no={"0.5000": "3.25"}),
    snapshot_text("B", 2),
    delta_text("A", 3, "0.4500", "-4.00"),
    delta_text("B", 4, "0.9900", "1.50", side="no"),
    delta_text("A", 5, "0.4600", "2.00"),
    snapshot_text("A", 6, yes={"0.4500": "6.00", "0.4600": "2.00"}, no={"0.5000": "3.25"}, command_id=9),
    delta_text("A", 9, "0.4500", "-6.00"),
    snapshot_text("A", 10, yes={"0.4600": "2.00"}, no={"0.5000": "3.25"}, command_id=10),
    delta_text("B", 11, "0.9900", "0.50", side="no"),
    '{"sid":2}',
    event_text("A", 1, settlement_value="0.5000", odd="\0", few=1e-7, many=10**30, some=[1.50, -0.0, None]),
    event_text("OTHER", 2),
)
"""An audit that agrees (number 6), a gap (7 and 8), and A's recovery from it (number 10)."""


def at(
    *texts: str, first: int = 1, start_us: int = START_US, step_us: int = SECOND_US
) -> list[ReceivedFrame]:
    """Frames a step apart, the first one a step after the start."""
    return [
        ReceivedFrame(number, start_us + number * step_us, text) for number, text in enumerate(texts, first)
    ]


async def write_recording(
    url: str,
    frames: Sequence[ReceivedFrame],
    *,
    tickers: Sequence[str] = TICKERS,
    started_us: int = START_US,
    ended_us: int | None = START_US + 100 * SECOND_US,
    reason: str = "stopped",
    batch_frames: int = 3,
    sample_rate: int = 1,
    last_exact: tuple[LastExact, ...] = (),
    key: uuid.UUID | None = None,
) -> int:
    """Write a session; without `ended_us` it stays active."""
    opening = SessionOpening(
        key=key or uuid.uuid4(),
        recorder_key=7,
        market_tickers=tuple(tickers),
        ws_url="ws://x/",
        environment="demo",
        code_version="1",
        decoder_version=DECODER_VERSION,
        sample_rate=sample_rate,
        use_yes_price=False,
        started_us=started_us,
        last_exact=last_exact,
    )
    fold = fold_of(opening)
    ending = None
    if ended_us is not None:
        ending = SessionEnding(ended_us, "closed", reason, None, frames[-1].number)
    async with open_connection(url) as connection:
        await apply_schema(connection)
        await ensure_partitions(connection, DAY, DAY + 1)
        session = await open_session(connection, opening)
        market_ids = await fetch_market_ids(connection, list(tickers))
        for number, start in enumerate(range(0, len(frames), batch_frames), 1):
            batch, rows = fold.process(frames[start : start + batch_frames])
            notes = [opening_note(opening)] if number == 1 else []
            if ending is not None and start + batch_frames >= len(frames):
                rows += fold.finish()
                notes.append(ending_note(ending, frames[-1].number))
            next_frame = batch.frames[-1].number + 1
            await write_batch(
                connection,
                session,
                Batch(
                    number, batch.frames, rows, batch.counts, next_frame, formed_us=started_us, notes=notes
                ),
                market_ids,
            )
        if ending is not None:
            await close_session(connection, session, ending)
    return session.session_id


def execute(url: str, *statements: str) -> int:
    """Change something in one transaction. Returns the number of rows that this touched."""
    with psycopg.connect(url) as connection:
        return sum(connection.execute(statement.encode()).rowcount for statement in statements)


def drop_before(url: str, *parents: str, day: int) -> None:
    """What retention does."""
    for parent in parents:
        execute(
            url,
            f"SELECT rl_drop_partition('{parent}', to_date(right(c.relname, 8), 'YYYYMMDD'), 30, 0, '1.0.0')"
            " FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            f" WHERE i.inhparent = '{parent}'::regclass"
            f" AND to_date(right(c.relname, 8), 'YYYYMMDD') < date '1970-01-01' + {day}",
        )


async def verify(url: str) -> list[SessionReport]:
    return (await verify_all(url)).sessions


async def verify_all(url: str, expected_hash: str = "") -> Verdict:
    async with open_connection(url) as connection:
        return await verify_recording(connection, expected_hash=expected_hash)


def invoke(url: str, *arguments: str) -> Result:
    """Run a command as from a shell, with DATABASE_URL set; not from within a Trio run."""
    return CliRunner().invoke(main, arguments, env={"DATABASE_URL": url})


def invoke_json(url: str, *arguments: str) -> dict[str, Any]:
    result = invoke(url, *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[0])
    return found
