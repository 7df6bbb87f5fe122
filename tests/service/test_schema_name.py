"""Tables in a PostgreSQL schema of the operator's choice."""

import json

import psycopg
import pytest
import trio
from click.testing import CliRunner, Result

from collector.cli import main
from collector.postgres import open_connection
from collector.recording import verify_recording
from collector.simulator import open_simulator
from tests.maintenance.test_maintenance import COUNT_BY_TICKER, RECENT_BY_TICKER
from tests.pgbouncer import open_pgbouncer
from tests.service.harness import flow, query, serve, settings_for
from tests.service.test_refusals import wait_for_store
from tests.tcp_proxy import change_url

SIMULATION = flow(markets=3, rate_per_s=1000, messages_max=400, keep_account=True)
RELATIONS = "SELECT DISTINCT relnamespace::regnamespace::text FROM pg_class WHERE relname LIKE 'rl%'"


def invoke(url: str, schema: str, *arguments: str) -> Result:
    environ = {"DATABASE_URL": url, "RL_DATABASE_SCHEMA": schema}
    return CliRunner().invoke(main, arguments, env=environ)


@pytest.mark.parametrize("schema", ["public", "kalshi", "user"])
@pytest.mark.parametrize("is_pooled", [False, True])
async def test_recording_into_a_schema(each_database_url: str, schema: str, is_pooled: bool) -> None:
    """Made where it is missing; the two queries of the specification work with it on the search path."""
    with open_pgbouncer(each_database_url, "transaction") as pooled_url:
        async with open_simulator(SIMULATION) as simulator:
            settings = settings_for(
                simulator,
                each_database_url,
                database_schema=schema,
                database_url_pooled=pooled_url if is_pooled else None,
            )
            async with serve(settings) as service:
                await simulator.wait_finished()
            assert service.is_safe
    assert query(each_database_url, RELATIONS) == [(f'"{schema}"' if schema == "user" else schema,)]
    async with open_connection(each_database_url, schema=schema) as connection:
        reports = (await verify_recording(connection)).sessions
    assert [report.findings for report in reports] == [[]]
    with psycopg.connect(change_url(each_database_url, options=f"-csearch_path={schema}")) as reader:
        counts = reader.execute(COUNT_BY_TICKER).fetchall()
        assert sorted(ticker for ticker, _ in counts) == sorted(simulator.tickers)
        assert len(reader.execute(RECENT_BY_TICKER).fetchall()) == len(simulator.tickers)


async def test_two_recordings_in_one_database(database_url: str) -> None:
    """Recorders with a schema each, at the same time, know nothing of each other."""
    async with open_simulator(SIMULATION) as simulator:
        settings = [
            settings_for(simulator, database_url, database_schema=schema) for schema in ("one", "two")
        ]
        async with serve(settings[0]) as first, serve(settings[1]) as second:
            await wait_for_store(first, "ok")
            await wait_for_store(second, "ok")
            await simulator.wait_finished()
    for schema in ("one", "two"):
        result = await trio.to_thread.run_sync(invoke, database_url, schema, "verify", "--json")
        assert result.exit_code == 0, result.output
        report, rest = map(json.loads, result.stdout.splitlines())
        assert rest["is_good"]
        assert report["is_good"]
        keys = query(
            database_url, f"SELECT session_key::text, count(*) FROM {schema}.rl_orderbook_sessions GROUP BY 1"
        )
        assert keys == [(report["session_key"], 1)]
    nothing = await trio.to_thread.run_sync(invoke, database_url, "three", "verify")
    assert nothing.exit_code == 1


@pytest.mark.parametrize("name", ["Kalshi", "pg_mine", "1st", "a-b", 'a"; DROP', "rl_predecessor", "x" * 64])
def test_names_that_can_be_none(name: str) -> None:
    """One line, and the database is not asked."""
    result = invoke("postgresql://nobody@127.0.0.1:1/none", name, "verify")
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith("RL_DATABASE_SCHEMA must be a schema's name")
