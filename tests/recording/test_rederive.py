"""Rows come anew from raw frames, and what was there before is compared with them."""

import uuid
from collections.abc import Callable

import pytest
import trio

from collector.postgres import open_connection
from collector.protocol import _codec as codec
from collector.protocol._units import parse_price_e4
from collector.recording import RederiveReport, rederive_sessions
from tests.recording.recordings import (
    DAY,
    TEXTS,
    at,
    drop_before,
    execute,
    invoke,
    invoke_json,
    verify,
    write_recording,
)
from tests.service.harness import query

TABLES = (
    "rl_orderbook_deltas",
    "rl_orderbook_snapshots",
    "rl_orderbook_trades",
    "rl_market_events",
    "rl_orderbook_gaps",
    "rl_orderbook_rejects",
    "rl_orderbook_audits",
)
COUNTS = (
    "SELECT frames, snapshots, deltas, trades, controls, stales, rejects, gaps, batches"
    " FROM rl_orderbook_sessions",
    "SELECT to_jsonb(l) FROM rl_write_ledger l ORDER BY batch_number",
)


def contents(url: str) -> list[object]:
    """Everything that is derived: rows, the ledger's counts and the session's."""
    tables = [sorted(query(url, f"SELECT to_jsonb(t)::text FROM {table} t")) for table in TABLES]
    return [*tables, *(query(url, statement) for statement in COUNTS)]


def mistaken_price_e4(text: str) -> int:
    """A parser's mistake: a price that is off, and one that is refused."""
    return parse_price_e4("2.00" if text == "0.4600" else text.replace("0.99", "0.98"))


async def rederive(url: str, *, is_dry: bool = False) -> RederiveReport:
    async with open_connection(url) as connection:
        (report,) = await rederive_sessions(connection, None, lambda report: None, is_dry=is_dry)
    return report


@pytest.mark.parametrize("sample_rate", [1, 3])
async def test_a_parsers_mistake_is_mended(
    make_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch, sample_rate: int
) -> None:
    """After it, everything is as if the mistake had never been made, and the recording is proved."""
    mistaken, right, key = make_database(), make_database(), uuid.UUID(int=7)
    with monkeypatch.context() as patch:
        patch.setattr(codec, "parse_price_e4", mistaken_price_e4)
        await write_recording(mistaken, at(*TEXTS), sample_rate=sample_rate, key=key)
    await write_recording(right, at(*TEXTS), sample_rate=sample_rate, key=key)
    assert contents(mistaken) != contents(right)
    assert not (await verify(mistaken))[0].is_good

    report = await rederive(mistaken)

    assert report.is_applied
    assert report.is_different
    assert contents(mistaken) == contents(right)
    assert (await verify(mistaken))[0].findings == []


async def test_the_difference_is_told_by_kind(database_url: str) -> None:
    """A lost row is missing, a doubled one is extra, and a second run finds no difference."""
    await write_recording(database_url, at(*TEXTS))
    execute(database_url, "DELETE FROM rl_delta_rows WHERE sequence_number = 3")
    execute(database_url, "INSERT INTO rl_orderbook_audits SELECT * FROM rl_orderbook_audits")
    execute(database_url, "UPDATE rl_market_events SET event = '{}'")

    report = await rederive(database_url)

    assert (report.kinds["delta"].missing, report.kinds["delta"].extra) == (1, 0)
    assert (report.kinds["audit"].missing, report.kinds["audit"].extra) == (0, 1)
    assert (report.kinds["event"].missing, report.kinds["event"].extra) == (1, 1)
    assert not (await rederive(database_url)).is_different


async def test_dry_run_changes_nothing(database_url: str) -> None:
    """It tells the same difference and leaves the rows as they are."""
    await write_recording(database_url, at(*TEXTS))
    execute(database_url, "UPDATE rl_delta_rows SET delta_e2 = 1 WHERE sequence_number = 3")
    before = contents(database_url)

    report = await rederive(database_url, is_dry=True)

    assert report.is_different
    assert not report.is_applied
    assert contents(database_url) == before


async def test_rows_that_retention_dropped_come_back(database_url: str) -> None:
    """The raw blocks are enough for all of them."""
    await write_recording(database_url, at(*TEXTS))
    before = contents(database_url)
    drop_before(database_url, "rl_delta_rows", "rl_snapshot_rows", "rl_trade_rows", day=DAY + 1)
    assert contents(database_url) != before

    await rederive(database_url)

    assert contents(database_url) == before


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("UPDATE rl_orderbook_sessions SET status = 'active'", "still being recorded"),
        ("DELETE FROM rl_raw_blocks WHERE first_frame = 4", "is missing"),
        ("UPDATE rl_raw_blocks SET payload = '\\x00' WHERE first_frame = 4", "another hash"),
        ("DELETE FROM rl_write_ledger WHERE first_frame = 4", "batch 2 is missing"),
        ("DELETE FROM rl_write_ledger WHERE batch_number = 5", "frames"),
    ],
)
async def test_nothing_is_replaced_by_less_than_is_proven(database_url: str, spoil: str, words: str) -> None:
    """A session that is active, or whose raw frames are not all sound, is refused and left as it is."""
    await write_recording(database_url, at(*TEXTS))
    assert execute(database_url, spoil) == 1
    before = contents(database_url)

    report = await rederive(database_url)

    assert words in (report.refusal or "")
    assert contents(database_url) == before
    result = await trio.to_thread.run_sync(invoke, database_url, "rederive", "--session", "1")
    assert result.exit_code == 1
    assert "REFUSED" in result.stdout


def test_the_command(database_url: str) -> None:
    """It says by kind what differed and what it did; a session that is not there is an error."""
    trio.run(write_recording, database_url, at(*TEXTS))
    execute(database_url, "DELETE FROM rl_delta_rows WHERE sequence_number = 3")

    dry = invoke(database_url, "rederive", "--dry-run")
    done = invoke(database_url, "rederive")

    assert dry.exit_code == done.exit_code == 0
    assert "the rows differ; not replaced (dry run)" in dry.stdout
    assert "delta rows: 4 were there, 5 derived; 1 were missing or changed, 0 were extra" in dry.stdout
    assert "the rows differ; replaced" in done.stdout
    assert invoke_json(database_url, "rederive")["is_different"] is False
    assert invoke_json(database_url, "verify")["is_good"] is True
    assert invoke(database_url, "rederive", "--session", "7").exit_code == 1
