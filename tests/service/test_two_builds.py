"""Two builds of the program at one database: the newer one changes the schema while the older one records."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
import trio

from collector.database import apply_schema
from collector.errors import ConfigError
from collector.postgres import open_connection
from collector.simulator import Simulator, open_simulator
from tests.conftest import REPOSITORY
from tests.service.harness import (
    Service,
    assert_verified,
    flow,
    query,
    raw_frames,
    sent_frames,
    serve,
    settings_for,
)
from tests.service.processes import Program, free_port, program
from tests.service.test_failover import wait_for_batches
from tests.service.test_refusals import wait_for_store

LONG = flow(markets=3, rate_per_s=300.0, messages_max=100_000, speed=1.0, keep_account=True)
ADD_A_COLUMN = "ALTER TABLE rl_delta_rows ADD COLUMN remark text;"
VERSIONS = "SELECT version, oldest_program FROM rl_schema_versions ORDER BY 1"


@pytest.fixture
def database_url(each_database_url: str) -> str:
    """Each test runs on the oldest and on the newest PostgreSQL."""
    return each_database_url


def make_build(folder: Path, change: str, oldest_program: int) -> Path:
    """A newer build of the program in a folder: this one, with one migration more."""
    shutil.copytree(
        REPOSITORY / "collector", folder / "collector", ignore=shutil.ignore_patterns("__pycache__")
    )
    entry = f"INSERT INTO rl_schema_versions (version, oldest_program) VALUES (2, {oldest_program});"
    migration = folder / "collector" / "database" / "migrations" / "0002_a_change.sql"
    migration.write_text(f"{change}\n{entry}\n", encoding="utf-8")
    schema = (REPOSITORY / "schema.sql").read_text(encoding="utf-8")
    (folder / "schema.sql").write_text(f"{schema}\n{change}\n{entry}\n", encoding="utf-8")
    return folder


def environ_for(simulator: Simulator, url: str, spool: Path) -> dict[str, str]:
    return {
        **simulator.environ,
        "DATABASE_URL": url,
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "RL_SPOOL_DIR": str(spool),
        "RL_FLUSH_INTERVAL": "0.1",
        "RL_LOG_LEVEL": "INFO",
    }


async def end_of(running: Program) -> tuple[int, list[str]]:
    with trio.fail_after(60):
        status = await trio.to_thread.run_sync(running.process.wait, abandon_on_cancel=True)
        await trio.to_thread.run_sync(running._reader.join, 5)
    return status, running.lines


async def stop(running: Program) -> int:
    return await trio.to_thread.run_sync(running.stop)


async def wait_for(url: str, question: str, answer: Sequence[tuple[object, ...]]) -> None:
    with trio.fail_after(40):
        while query(url, question) != list(answer):
            await trio.sleep(0.05)


def assert_nothing_lost(url: str, simulator: Simulator) -> None:
    """What is recorded of each connection is what was sent on it, up to the stop."""
    sent = sent_frames(simulator)
    recorded = list(raw_frames(url).values())
    assert len(recorded) == len(sent)
    for frames, all_frames in zip(recorded, sent, strict=True):
        assert frames == all_frames[: len(frames)]


async def test_overlap_and_rollback(database_url: str, tmp_path: Path) -> None:
    """The older build records on while the newer one changes the schema, and can be started again later."""
    newer = make_build(tmp_path / "newer", ADD_A_COLUMN, oldest_program=1)
    async with open_simulator(LONG) as simulator:
        environ = environ_for(simulator, database_url, tmp_path / "spool")
        async with serve(settings_for(simulator, database_url)) as older:
            await wait_for_batches(database_url, 3)
            with program("run", environ=environ, folder=newer) as running:
                await wait_for(database_url, VERSIONS, [(1, 1), (2, 1)])
                await wait_for(database_url, "SELECT count(*) FROM rl_orderbook_sessions", [(2,)])
                await wait_for_batches(database_url, 10)
                await wait_for_store(older, "ok")
                await older.stop()
                await wait_for_batches(database_url, 3)
                assert await stop(running) == 0, running.lines
        assert older.is_safe

        async with serve(settings_for(simulator, database_url)) as again:
            await wait_for(database_url, "SELECT count(*) FROM rl_orderbook_sessions", [(3,)])
            await wait_for_batches(database_url, 3)
            await wait_for_store(again, "ok")
        assert again.is_safe

    assert query(database_url, VERSIONS) == [(1, 1), (2, 1)], "the older build has applied nothing"
    await assert_verified(database_url)
    assert_nothing_lost(database_url, simulator)
    with program("verify", environ={"DATABASE_URL": database_url}, folder=newer) as verifying:
        status, lines = await end_of(verifying)
    assert status == 0, lines


async def test_change_that_the_older_build_can_not_write_with(database_url: str, tmp_path: Path) -> None:
    """It stops writing and keeps its frames; the newer build writes them, and the older one is refused."""
    newer = make_build(tmp_path / "newer", ADD_A_COLUMN, oldest_program=2)
    spool = tmp_path / "spool"
    async with open_simulator(LONG) as simulator:
        settings = settings_for(simulator, database_url, spool_dir=spool)
        async with serve(settings) as older:
            await wait_for_batches(database_url, 3)
            with program("schema", environ={"DATABASE_URL": database_url}, folder=newer) as applying:
                assert (await end_of(applying))[0] == 0, applying.lines
            with trio.fail_after(20):
                while "run the newer program again" not in await wait_for_store(older, "failed"):
                    await trio.sleep(0.05)
            await _wait_for_spool(older)
        assert older.is_safe

        with pytest.RaisesGroup(
            pytest.RaisesExc(ConfigError, match="run the newer program again"), flatten_subgroups=True
        ):
            async with serve(settings):
                pass

        environ = environ_for(simulator, database_url, spool)
        with program("run", environ=environ, folder=newer) as running:
            await wait_for(
                database_url,
                "SELECT count(*), count(*) FILTER (WHERE status = 'closed') FROM rl_orderbook_sessions",
                [(2, 1)],
            )
            await wait_for_batches(database_url, 3)
            assert await stop(running) == 0, running.lines
    assert_nothing_lost(database_url, simulator)


async def test_change_behind_a_reader_that_takes_its_time(database_url: str, tmp_path: Path) -> None:
    """A query that is open for long holds up the change, and no frames of either build."""
    newer = make_build(tmp_path / "newer", ADD_A_COLUMN, oldest_program=1)
    async with open_connection(database_url) as connection:
        await apply_schema(connection)
    async with open_simulator(LONG) as simulator:
        environ = environ_for(simulator, database_url, tmp_path / "spool")
        async with serve(settings_for(simulator, database_url)) as older:
            await wait_for_batches(database_url, 3)
            with psycopg.connect(database_url) as reader:
                reader.execute("SELECT count(*) FROM rl_orderbook_deltas")
                with program("schema", environ={"DATABASE_URL": database_url}, folder=newer) as applying:
                    status, lines = await end_of(applying)
                assert (status, len(lines)) == (1, 1), lines
                assert "cannot update the schema: process" in lines[0]
                with program("run", environ=environ, folder=newer) as running:
                    starting = Service(url=f"http://127.0.0.1:{environ['PORT']}")
                    await trio.to_thread.run_sync(running.wait_for_line, "Listening on")
                    await wait_for_store(starting, "degraded")
                    await _wait_for_reason(starting, "cannot update the schema: process")
                    await wait_for_batches(database_url, 5)
                    assert query(database_url, VERSIONS) == [(1, 1)]
                    reader.rollback()
                    await wait_for(database_url, VERSIONS, [(1, 1), (2, 1)])
                    await wait_for(database_url, "SELECT count(*) FROM rl_orderbook_sessions", [(2,)])
                    await wait_for_batches(database_url, 3)
                    assert await stop(running) == 0, running.lines
        assert older.is_safe
    await assert_verified(database_url)
    assert_nothing_lost(database_url, simulator)


async def _wait_for_reason(service: Service, words: str) -> None:
    """Until the status of the database says this."""
    with trio.fail_after(20):
        while words not in (await service.get("/rl/status"))[1]["store"]["reason"]:
            await trio.sleep(0.05)


async def _wait_for_spool(service: Service) -> None:
    """Until frames wait on the disk."""
    with trio.fail_after(20):
        while True:
            _, status = await service.get("/rl/status")
            if status["stats"]["spool"]["bytes"]:
                return
            await trio.sleep(0.05)
