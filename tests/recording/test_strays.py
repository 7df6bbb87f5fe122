"""Rows of sessions or markets that do not exist are found, though no session counts them."""

import pytest
import trio

from collector.storage import KINDS, RAW_BLOCK
from tests.recording.recordings import TEXTS, at, execute, invoke, write_recording
from tests.service.harness import query

TABLES = [kind.table for kind in (*KINDS, RAW_BLOCK)] + ["rl_write_ledger", "rl_raw_lexicons"]


def copy_row(url: str, table: str, **changes: int) -> None:
    """Copy a row of a table with other values, past its foreign keys; without a row, one of nulls is made."""
    columns = [
        name
        for (name,) in query(
            url,
            "SELECT attname FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped"
            f" AND attrelid = '{table}'::regclass ORDER BY attnum",
        )
    ]
    values = ", ".join(str(changes.get(name, name)) for name in columns)
    execute(
        url,
        "SET session_replication_role = replica",
        f"INSERT INTO {table} SELECT {values} FROM {table} LIMIT 1",
    )


async def verify(url: str) -> tuple[int, str]:
    result = await trio.to_thread.run_sync(invoke, url, "verify")
    return result.exit_code, result.output


async def test_a_row_without_its_session_is_found_in_each_table(database_url: str) -> None:
    """Also where no foreign key forbids it, and where one was dropped."""
    await write_recording(database_url, at(*TEXTS))
    assert (await verify(database_url))[0] == 0
    tables = [
        table for table in TABLES if query(database_url, f"SELECT count(*) > 0 FROM {table}") == [(True,)]
    ]
    assert {"rl_delta_rows", "rl_snapshot_rows", "rl_raw_blocks", "rl_write_ledger", "rl_book_states"} <= set(
        tables
    )
    for table in tables:
        copy_row(database_url, table, session_id=77)
    status, text = await verify(database_url)
    assert status == 1
    assert "chain and tables: NOT GOOD" in text
    assert [line for line in text.splitlines() if "rows of sessions" in line] == [
        f"  {table}: 1 rows of sessions that do not exist" for table in tables
    ]


@pytest.mark.parametrize("table", ["rl_delta_rows", "rl_snapshot_rows"])
async def test_a_row_without_its_market_is_found(database_url: str, table: str) -> None:
    """Deltas and trades have no foreign key: it would cost a trigger for each row."""
    await write_recording(database_url, at(*TEXTS))
    copy_row(database_url, table, market_id=77)
    status, text = await verify(database_url)
    assert status == 1
    assert f"{table}: 1 rows of markets that do not exist" in text
