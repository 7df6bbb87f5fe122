"""What is found out about the database before the exchange is contacted, and what follows from it."""

import time

import pytest
import trio

from collector.database import apply_schema
from collector.errors import ConfigError, leaves_of
from collector.maintenance import _maintenance as maintenance
from collector.postgres import open_connection
from collector.simulator import Simulator, open_simulator
from tests.pgbouncer import open_pgbouncer
from tests.recording.recordings import execute
from tests.service.harness import (
    assert_verified,
    execute_beside,
    flow,
    query,
    raw_frames,
    record,
    sent_frames,
    serve,
    settings_for,
)
from tests.service.processes import free_port, program
from tests.service.test_refusals import wait_for_store
from tests.tcp_proxy import open_proxy, server_target, through_port

SIMULATION = flow(markets=3, rate_per_s=1000, messages_max=500, keep_account=True)
REFUSED_S_MAX = 10.0

# What the predecessor's tables look like.
FOREIGN = {
    "deltas": "CREATE TABLE rl_orderbook_deltas (id bigserial, market_ticker text, price integer)",
    "sessions": "CREATE TABLE rl_orderbook_sessions (id bigserial, started_at timestamptz)",
    "actions": "CREATE TABLE rl_trading_actions (id bigserial, episode_id bigint, created_at timestamptz)",
}


@pytest.fixture
def database_url(each_database_url: str) -> str:
    """Each test runs on the oldest and on the newest PostgreSQL."""
    return each_database_url


def environ_for(simulator: Simulator, url: str, folder: object) -> dict[str, str]:
    return {
        **simulator.environ,
        "DATABASE_URL": url,
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "RL_SPOOL_DIR": str(folder),
        "RL_LOG_LEVEL": "ERROR",
    }


async def refusal_of(simulator: Simulator, url: str) -> str:
    """The one line with which the start is refused."""
    with pytest.RaisesGroup(ConfigError, flatten_subgroups=True) as caught:
        async with serve(settings_for(simulator, url)):
            pass
    (error,) = leaves_of(caught.value)
    assert isinstance(error, ConfigError)
    (problem,) = error.problems
    return problem


@pytest.mark.parametrize("settings", ["", "default_pool_size = 1", "server_round_robin = 1"])
async def test_transaction_pooler_as_database_url(database_url: str, settings: str) -> None:
    """It is recognised soon, however the pooler lends its connections; the exchange is not contacted."""
    with open_pgbouncer(database_url, "transaction", settings=settings) as url:
        async with open_simulator(SIMULATION) as simulator:
            began_s = time.monotonic()
            problem = await refusal_of(simulator, url)
            assert time.monotonic() - began_s < REFUSED_S_MAX
            assert "transaction pooler" in problem
            assert "DATABASE_URL_POOLED" in problem
            assert not simulator.account.entries
    assert query(database_url, "SELECT to_regclass('rl_orderbook_sessions')") == [(None,)]


async def test_statement_pooler_as_database_url(database_url: str) -> None:
    """A pooler that has no transactions is refused in the same way."""
    with open_pgbouncer(database_url, "statement") as url:
        async with open_simulator(SIMULATION) as simulator:
            assert "transaction pooler" in await refusal_of(simulator, url)


async def test_command_ends_with_one_line(database_url: str, tmp_path: object) -> None:
    """`collector run` through a transaction pooler: exit status 2 and one line, in time."""
    with open_pgbouncer(database_url, "transaction") as url:
        async with open_simulator(SIMULATION) as simulator:
            with program("run", environ=environ_for(simulator, url, tmp_path)) as running:
                with trio.fail_after(REFUSED_S_MAX):
                    status = await trio.to_thread.run_sync(running.process.wait, abandon_on_cancel=True)
                await trio.to_thread.run_sync(running._reader.join, 5)
    assert status == 2
    (line,) = running.lines
    assert line.startswith("collector: DATABASE_URL names a transaction pooler")


async def test_session_pooler_as_database_url(database_url: str) -> None:
    """A pooler in session mode keeps the locks, and is accepted."""
    with open_pgbouncer(database_url, "session", settings="default_pool_size = 20") as url:
        simulator = await record(SIMULATION, url)
    assert list(raw_frames(database_url).values()) == sent_frames(simulator)


@pytest.mark.parametrize("name", list(FOREIGN))
async def test_tables_of_another_program(database_url: str, name: str) -> None:
    """They are recognised, named, and not touched."""
    execute(database_url, FOREIGN[name])
    async with open_simulator(SIMULATION) as simulator:
        problem = await refusal_of(simulator, database_url)
    assert f"rl_{'trading' if name == 'actions' else 'orderbook'}_{name}" in problem
    assert query(
        database_url, "SELECT count(*) FROM pg_class WHERE relname LIKE 'rl_%' AND relkind = 'r'"
    ) == [(1,)]


async def test_role_that_may_not_create_tables(database_url: str, new_role: tuple[str, str]) -> None:
    """Recording begins into the spool, health has the command that helps, and no restart is needed."""
    role, url = new_role
    async with open_simulator(SIMULATION) as simulator:
        async with serve(settings_for(simulator, url)) as service:
            why = await wait_for_store(service, "failed")
            assert f'GRANT USAGE, CREATE ON SCHEMA public TO "{role}"' in why
            await simulator.wait_finished()
            await execute_beside(database_url, f"GRANT USAGE, CREATE ON SCHEMA public TO {role}")
            await wait_for_store(service, "ok")
        assert service.is_safe
    await assert_verified(database_url)
    assert list(raw_frames(database_url).values()) == sent_frames(simulator)


@pytest.mark.parametrize("right", ["owner", "INSERT", "UPDATE"])
async def test_role_that_may_not_write_into_the_tables(
    database_url: str, new_role: tuple[str, str], right: str
) -> None:
    """The start finds a missing right on tables that exist; once it is granted, nothing is missing."""
    async with open_connection(database_url) as connection:
        await apply_schema(connection)
    role, url = new_role
    execute(database_url, f"GRANT USAGE, CREATE ON SCHEMA public TO {role}")
    for statement in ownership(database_url, role):
        execute(database_url, statement)
    refuse, mend, words = {
        "owner": (
            "ALTER TABLE rl_delta_rows OWNER TO CURRENT_USER",
            f"ALTER TABLE rl_delta_rows OWNER TO {role}",
            "does not own table public.rl_delta_rows",
        ),
        "INSERT": (
            f"REVOKE INSERT ON rl_write_ledger FROM {role}",
            f"GRANT INSERT ON rl_write_ledger TO {role}",
            "GRANT SELECT, INSERT ON public.rl_write_ledger",
        ),
        "UPDATE": (
            f"REVOKE UPDATE ON rl_markets FROM {role}",
            f"GRANT UPDATE ON rl_markets TO {role}",
            "GRANT SELECT, INSERT, UPDATE ON public.rl_markets",
        ),
    }[right]
    execute(database_url, refuse)
    async with open_simulator(SIMULATION) as simulator:
        async with serve(settings_for(simulator, url)) as service:
            assert words in await wait_for_store(service, "failed")
            await execute_beside(database_url, mend)
            await wait_for_store(service, "ok")
            await simulator.wait_finished()
        assert service.is_safe
    assert list(raw_frames(database_url).values()) == sent_frames(simulator)


def ownership(database_url: str, role: str) -> list[str]:
    """Statements that make a role the owner of everything of ours."""
    kinds = "CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END"
    relations = query(
        database_url,
        f"SELECT {kinds}, relname FROM pg_class WHERE relname LIKE 'rl%' AND relkind IN ('r', 'p', 'v')",
    )
    functions = query(
        database_url, "SELECT oid::regprocedure::text FROM pg_proc WHERE proname LIKE 'rl%' AND prokind = 'f'"
    )
    return [
        *(f"ALTER {kind} {name} OWNER TO {role}" for kind, name in relations),
        *(f"ALTER FUNCTION {name} OWNER TO {role}" for (name,) in functions),
    ]


async def test_server_that_does_not_answer(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recording begins after the time for the check, and all is written when the server answers."""
    monkeypatch.setattr(maintenance, "START_S_MAX", 0.5)
    async with open_proxy(server_target(database_url)) as proxy, open_simulator(SIMULATION) as simulator:
        proxy.stall("to_server")
        url = through_port(database_url, proxy.port)
        async with serve(settings_for(simulator, url)) as service:
            await simulator.wait_finished()
            assert query(database_url, "SELECT to_regclass('rl_orderbook_sessions')") == [(None,)]
            proxy.resume()
            await wait_for_store(service, "ok")
        assert service.is_safe
    await assert_verified(database_url)
    assert list(raw_frames(database_url).values()) == sent_frames(simulator)


async def test_pooler_that_is_found_after_recording_began(database_url: str) -> None:
    """Found out later, a pooler ends nothing: the frames are in the spool for the next start."""
    with open_pgbouncer(database_url, "transaction") as pooled_url:
        async with open_simulator(SIMULATION) as simulator:
            async with open_proxy(server_target(pooled_url)) as proxy:
                proxy.refuse()
                settings = settings_for(simulator, through_port(pooled_url, proxy.port))
                async with serve(settings) as service:
                    await simulator.wait_finished()
                    proxy.refuse(False)
                    assert "transaction pooler" in await wait_for_store(service, "failed")
                    await trio.sleep(1)
                    assert not service.ended.is_set()
                assert service.is_safe
            spool_dir = settings.spool_dir
            async with serve(settings_for(simulator, database_url, spool_dir=spool_dir)) as service:
                with trio.fail_after(20):
                    while query(database_url, "SELECT to_regclass('rl_raw_blocks')") == [(None,)]:
                        await trio.sleep(0.05)
                    while sent_frames(simulator)[0] not in raw_frames(database_url).values():
                        await trio.sleep(0.05)
    await assert_verified(database_url)
