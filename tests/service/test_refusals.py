"""A database that answers, and refuses what is written: nothing is lost, and no restart is needed."""

import pytest
import trio

from collector.clock import system_clock
from collector.database import apply_schema
from collector.postgres import open_connection
from collector.simulator import open_simulator
from collector.storage import DAY_US
from tests.recording.recordings import execute
from tests.service.harness import (
    Service,
    assert_verified,
    execute_beside,
    flow,
    query,
    raw_frames,
    sent_frames,
    serve,
    settings_for,
)

RIGHTS = ("REVOKE INSERT ON rl_write_ledger FROM {}", "GRANT INSERT ON rl_write_ledger TO {}")
TABLE = ("ALTER TABLE rl_raw_blocks RENAME TO moved", "ALTER TABLE moved RENAME TO rl_raw_blocks")
COLUMN = (
    "ALTER TABLE rl_delta_rows RENAME COLUMN sid TO moved",
    "ALTER TABLE rl_delta_rows RENAME COLUMN moved TO sid",
)
CHECK = (
    "ALTER TABLE rl_delta_rows ADD CONSTRAINT no CHECK (received_us < 0) NOT VALID",
    "ALTER TABLE rl_delta_rows DROP CONSTRAINT no",
)


@pytest.fixture
def database_url(each_database_url: str) -> str:
    """Each test runs on the oldest and on the newest PostgreSQL."""
    return each_database_url


async def wait_until_stored(url: str) -> None:
    """Until the first batches are in the database."""
    with trio.fail_after(20):
        while query(url, "SELECT to_regclass('rl_write_ledger')") == [(None,)]:
            await trio.sleep(0.05)
        while query(url, "SELECT count(*) > 3 FROM rl_write_ledger") != [(True,)]:
            await trio.sleep(0.05)


async def wait_for_store(service: Service, verdict: str) -> str:
    """Until health calls the store so. Returns why."""
    with trio.fail_after(20):
        while True:
            _, health = await service.get("/health")
            store = health["components"]["store"]
            if store["status"] == verdict:
                return str(store["why"])
            await trio.sleep(0.05)


@pytest.mark.parametrize(
    ("change", "code"),
    [(RIGHTS, "42501"), (TABLE, "42P01"), (COLUMN, "42703"), (CHECK, "23514")],
    ids=["right", "table", "column", "check"],
)
async def test_a_refused_write_costs_nothing(
    database_url: str, new_role: tuple[str, str], change: tuple[str, str], code: str
) -> None:
    """Frames go to the spool, health is `failed` with the reason, and all is written once it is mended."""
    role, recorder_url = new_role
    execute(database_url, f"GRANT CREATE, USAGE ON SCHEMA public TO {role}")
    refuse, mend = (statement.format(role) for statement in change)
    simulation = flow(markets=3, rate_per_s=300, messages_max=2500, speed=1.0, keep_account=True)
    async with open_simulator(simulation) as simulator:
        async with serve(settings_for(simulator, recorder_url)) as service:
            await wait_until_stored(database_url)
            await execute_beside(recorder_url, refuse)
            why = await wait_for_store(service, "failed")
            assert f"[{code}]" in why
            await simulator.wait_finished()
            await execute_beside(recorder_url, mend)
            await wait_for_store(service, "ok")
        assert service.is_safe
    await assert_verified(database_url)
    assert list(raw_frames(database_url).values()) == sent_frames(simulator)


async def test_a_single_refused_batch_holds_up_nothing(database_url: str) -> None:
    """It is set aside, its books are unknown, the rest is recorded. Once mended, the file brings it in."""
    refusal = (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'batch 5 is refused'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON rl_write_ledger FOR EACH ROW WHEN (NEW.batch_number = 5)"
        " EXECUTE FUNCTION refuse()",
    )
    async with open_connection(database_url) as connection:
        await apply_schema(connection)
    execute(database_url, *refusal)
    simulation = flow(markets=3, rate_per_s=300, messages_max=1500, speed=1.0, keep_account=True)
    async with open_simulator(simulation) as simulator:
        settings = settings_for(simulator, database_url)
        async with serve(settings) as service:
            await wait_until_stored(database_url)
            await simulator.wait_finished()
            while query(database_url, "SELECT count(*) FROM rl_ledger_holes") != [(1,)]:
                await trio.sleep(0.05)
            while (await service.get("/health"))[1]["components"]["store"]["status"] != "ok":
                await trio.sleep(0.05)
            _, health = await service.get("/health")
            assert "1 batches are refused" in health["components"]["spool"]["why"]
        assert service.is_safe
        assert query(database_url, "SELECT DISTINCT cause FROM rl_orderbook_gaps") == [("store_lost",)]
        (refused,) = settings.spool_dir.glob("*.refused")
        assert "batch 5 is refused" in refused.with_name(f"{refused.name}.txt").read_text()
        spans = query(database_url, "SELECT count(*) FROM rl_book_spans WHERE cause = 'ledger_hole'")
        assert spans == [(3,)]

        execute(database_url, "DROP TRIGGER refuse ON rl_write_ledger")
        refused.rename(refused.with_suffix(".spool"))
        async with serve(settings):
            while query(database_url, "SELECT count(*) FROM rl_ledger_holes") != [(0,)]:
                await trio.sleep(0.05)
    await assert_verified(database_url)
    first = next(iter(raw_frames(database_url).values()))
    assert first == sent_frames(simulator)[0]


async def test_missing_right_to_make_partitions_at_midnight(
    database_url: str, new_role: tuple[str, str]
) -> None:
    """Batches of a day without partitions wait, those of the day before are written; then all are."""
    role, recorder_url = new_role
    execute(database_url, f"GRANT CREATE, USAGE ON SCHEMA public TO {role}")
    simulation = flow(markets=3, rate_per_s=300, messages_max=2700, speed=1.0, keep_account=True)
    # Receive times follow a clock that was set forward after 5 s.
    midnight_us = (system_clock() // DAY_US + 10) * DAY_US
    set_by_us = 0

    def clock() -> int:
        return system_clock() + set_by_us

    async with open_simulator(simulation) as simulator:
        async with serve(settings_for(simulator, recorder_url), clock=clock) as service:
            await wait_until_stored(database_url)
            await execute_beside(database_url, f"REVOKE CREATE ON SCHEMA public FROM {role}, PUBLIC")
            set_by_us = midnight_us - system_clock()
            why = await wait_for_store(service, "failed")
            assert "[42501]" in why
            await simulator.wait_finished()
            await execute_beside(database_url, f"GRANT CREATE ON SCHEMA public TO {role}")
            await wait_for_store(service, "ok")
        assert service.is_safe
    await assert_verified(database_url)
    assert list(raw_frames(database_url).values()) == sent_frames(simulator)
