"""A database that has the tables of an earlier program, whose names are ours."""

import threading
from typing import Final

import psycopg
import pytest
import trio
from click.testing import Result

from collector.cli import _schema
from collector.errors import ConfigError
from collector.simulator import open_simulator
from tests.recording.recordings import execute, invoke
from tests.service.harness import assert_verified, flow, query, serve, settings_for
from tests.tcp_proxy import change_url

SIMULATION = flow(markets=2, rate_per_s=1000, messages_max=200, keep_account=True)
OLD: Final = (
    "rl_models",
    "rl_orderbook_deltas",
    "rl_orderbook_sessions",
    "rl_orderbook_snapshots",
    "rl_trading_actions",
    "rl_trading_episodes",
)
MADE: Final = (
    "CREATE TABLE rl_orderbook_sessions (session_id bigserial PRIMARY KEY, market_tickers text[] NOT NULL,"
    " started_at timestamptz NOT NULL DEFAULT now(), ended_at timestamptz, status text DEFAULT 'active')",
    "CREATE TABLE rl_orderbook_snapshots (id bigserial PRIMARY KEY, session_id bigint NOT NULL REFERENCES"
    " rl_orderbook_sessions ON DELETE CASCADE, market_ticker text NOT NULL, yes_bids jsonb, no_bids jsonb,"
    " sequence_number bigint, created_at timestamptz DEFAULT now())",
    "CREATE TABLE rl_orderbook_deltas (id bigserial PRIMARY KEY, session_id bigint NOT NULL REFERENCES"
    " rl_orderbook_sessions ON DELETE CASCADE, market_ticker text, price integer CHECK (price BETWEEN 1 AND"
    " 99), old_size integer, new_size integer, created_at timestamptz DEFAULT now(),"
    " UNIQUE (session_id, id))",
    "CREATE TABLE rl_models (id bigserial PRIMARY KEY, model_name text UNIQUE)",
    "CREATE TABLE rl_trading_episodes (id bigserial PRIMARY KEY, model_id bigint REFERENCES rl_models)",
    "CREATE TABLE rl_trading_actions (id bigserial PRIMARY KEY, episode_id bigint REFERENCES"
    " rl_trading_episodes, price integer, created_at timestamptz DEFAULT now())",
    # Names that ours have too.
    "CREATE INDEX rl_orderbook_sessions_active ON rl_orderbook_sessions (status) WHERE status = 'active'",
    "CREATE INDEX rl_market_events_market ON rl_orderbook_deltas (market_ticker, created_at)",
    "CREATE FUNCTION note_session() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE rl_orderbook_sessions"
    " SET status = 'seen' WHERE session_id = NEW.session_id; RETURN NEW; END $$",
    "CREATE TRIGGER seen AFTER INSERT ON rl_orderbook_deltas FOR EACH ROW EXECUTE FUNCTION note_session()",
    "ALTER TABLE rl_orderbook_deltas ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY everybody ON rl_orderbook_deltas FOR SELECT USING (true)",
    "CREATE VIEW newest_deltas AS SELECT market_ticker, max(id) AS id FROM rl_orderbook_deltas GROUP BY 1",
    "CREATE VIEW newest_names AS SELECT market_ticker FROM newest_deltas",
    "CREATE TABLE reports (id bigserial PRIMARY KEY, session_id bigint REFERENCES rl_orderbook_sessions)",
    "INSERT INTO rl_orderbook_sessions (market_tickers) VALUES ('{A,B}'), ('{C}')",
    "INSERT INTO rl_orderbook_deltas (session_id, market_ticker, price, old_size, new_size)"
    " VALUES (1, 'A', 50, 0, 7), (2, 'C', 3, 4, 5)",
    "INSERT INTO rl_models (model_name) VALUES ('first')",
    "INSERT INTO rl_trading_episodes (model_id) VALUES (1)",
    "INSERT INTO rl_trading_actions (episode_id, price) VALUES (1, 42)",
    "INSERT INTO reports (session_id) VALUES (2)",
)
STATE: Final = (
    # Everything that belongs to the tables, apart from the schema that it is in.
    "SELECT c.relname, k.conname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c"
    " ON c.oid = k.conrelid WHERE c.relname = ANY (%(old)s)"
    " UNION ALL SELECT tablename, indexname, split_part(indexdef, ' USING ', 2) FROM pg_indexes"
    " WHERE tablename = ANY (%(old)s)"
    " UNION ALL SELECT c.relname, g.tgname, g.tgenabled::text FROM pg_trigger g JOIN pg_class c"
    " ON c.oid = g.tgrelid WHERE c.relname = ANY (%(old)s) AND NOT g.tgisinternal"
    " UNION ALL SELECT tablename, policyname, cmd FROM pg_policies WHERE tablename = ANY (%(old)s)"
    " UNION ALL SELECT relname, relrowsecurity::text, relkind::text FROM pg_class"
    " WHERE relname = ANY (%(old)s || ARRAY(SELECT t || '_id_seq' FROM unnest(%(old)s) AS t))"
    " ORDER BY 1, 2, 3"
)


@pytest.fixture(autouse=True)
def short_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writers of these tests write often."""
    monkeypatch.setattr(_schema, "WATCH_S", 2.5)


@pytest.fixture
def old_url(each_database_url: str) -> str:
    """A database with an earlier program's tables, and rows in them."""
    execute(each_database_url, *MADE)
    return each_database_url


def state(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        found = connection.execute(STATE.encode(), {"old": list(OLD)}).fetchall()
    return [tuple(str(value).replace("rl_predecessor.", "") for value in row) for row in found]


def contents(url: str, schema: str) -> list[object]:
    return [query(url, f"SELECT t::text FROM {schema}.{table} t ORDER BY 1") for table in OLD]


def test_they_are_moved_and_moved_back(old_url: str) -> None:
    """Whole, with all that belongs to them; the printed statements undo it."""
    was, rows = state(old_url), contents(old_url, "public")

    moved = invoke(old_url, "schema", "--move-old-tables")

    assert moved.exit_code == 0, moved.output
    assert f"Tables of another program: {', '.join(OLD)}" in moved.output
    assert (
        "Views that use them, and will go on working: public.newest_deltas, public.newest_names"
        in moved.output
    )
    assert "Functions that use or name them, to be looked at: public.note_session()" in moved.output
    assert (state(old_url), contents(old_url, "rl_predecessor")) == (was, rows)
    assert query(old_url, "SELECT to_regclass(t) FROM unnest(ARRAY['" + "','".join(OLD) + "']) AS t") == [
        (None,)
    ] * len(OLD)
    assert query(old_url, "SELECT market_ticker FROM newest_names ORDER BY 1") == [("A",), ("C",)]
    execute(old_url, "INSERT INTO rl_predecessor.rl_models (model_name) VALUES ('second')")
    assert query(old_url, "SELECT id FROM rl_predecessor.rl_models ORDER BY 1") == [(1,), (2,)]
    execute(old_url, "DELETE FROM rl_predecessor.rl_models WHERE id = 2")

    undo = [line.strip() for line in moved.output.splitlines() if line.startswith("  ALTER TABLE")]
    assert len(undo) == len(OLD)
    execute(old_url, *undo)
    assert (state(old_url), contents(old_url, "public")) == (was, rows)
    again = invoke(old_url, "schema", "--move-old-tables")
    assert again.exit_code == 0, again.output


async def test_recording_beside_them(old_url: str) -> None:
    """`run` and `schema` refuse in one line that names the command; after it they work."""
    rows = contents(old_url, "public")
    refused = await _invoke(old_url, "schema")
    assert refused.exit_code == 2
    (line,) = refused.output.splitlines()
    assert "tables of another program" in line
    assert "rl_models, rl_orderbook_deltas" in line
    assert "collector schema --move-old-tables" in line
    async with open_simulator(SIMULATION) as simulator:
        with pytest.RaisesGroup(
            pytest.RaisesExc(ConfigError, match="move-old-tables"), flatten_subgroups=True
        ):
            async with serve(settings_for(simulator, old_url)):
                pass
        assert not simulator.account.entries

        assert (await _invoke(old_url, "schema", "--move-old-tables")).exit_code == 0
        assert (await _invoke(old_url, "schema")).exit_code == 0
        async with serve(settings_for(simulator, old_url)):
            await simulator.wait_finished()
    await assert_verified(old_url)
    assert contents(old_url, "rl_predecessor") == rows
    assert query(old_url, "SELECT count(*) FROM reports") == [(1,)]
    nothing = await _invoke(old_url, "schema", "--move-old-tables")
    assert nothing.output == "Schema public has no tables of another program.\n"


async def test_another_schema_needs_no_move(old_url: str) -> None:
    """With RL_DATABASE_SCHEMA both live in one database."""
    rows = contents(old_url, "public")
    async with open_simulator(SIMULATION) as simulator:
        async with serve(settings_for(simulator, old_url, database_schema="recording")):
            await simulator.wait_finished()
    assert contents(old_url, "public") == rows
    assert query(old_url, "SELECT count(*) > 0 FROM recording.rl_delta_rows") == [(True,)]


@pytest.mark.parametrize("holds_a_lock", [True, False])
def test_nothing_is_moved_while_somebody_writes(old_url: str, holds_a_lock: bool) -> None:
    """Neither in the middle of a transaction, nor between short ones."""
    insert = b"INSERT INTO rl_models (model_name) VALUES (gen_random_uuid()::text)"
    stopping = threading.Event()
    url = change_url(old_url, application_name="old-recorder")

    def write() -> None:
        with psycopg.connect(url, autocommit=True) as writer:
            while not stopping.wait(0.1):
                writer.execute(insert)

    with psycopg.connect(url) as holder:
        thread = threading.Thread(target=write)
        if holds_a_lock:
            holder.execute(insert)
        else:
            thread.start()
        moved = invoke(old_url, "schema", "--move-old-tables")
        stopping.set()
        if thread.ident:
            thread.join()
    assert moved.exit_code == 1
    assert "into these tables" in moved.output
    assert "old-recorder" in moved.output
    assert query(old_url, "SELECT to_regclass('rl_predecessor.rl_models')") == [(None,)]


def test_names_that_are_taken(old_url: str) -> None:
    """An earlier move is not overwritten."""
    execute(old_url, "CREATE SCHEMA rl_predecessor", "CREATE TABLE rl_predecessor.rl_models (id integer)")
    moved = invoke(old_url, "schema", "--move-old-tables")
    assert moved.exit_code == 1
    assert "schema rl_predecessor has rl_models already" in moved.output
    assert query(old_url, "SELECT to_regclass('rl_predecessor.rl_orderbook_deltas')") == [(None,)]


async def _invoke(url: str, *arguments: str) -> Result:
    return await trio.to_thread.run_sync(invoke, url, *arguments)
