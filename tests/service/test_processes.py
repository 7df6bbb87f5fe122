"""The commands as processes: signals, exit statuses, and what is in the database afterwards."""

import json
import random
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from tests.service.harness import query, raw_frames
from tests.service.processes import START_S_MAX, Program, free_port, program, read_env_file

FLOW = ("--markets", "10", "--rate", "1000", "--speed", "max")


def run_environ(env_file: Path, database_url: str) -> dict[str, str]:
    return {
        **read_env_file(env_file),
        "DATABASE_URL": database_url,
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "RL_LOG_FORMAT": "json",
        "RL_SPOOL_DIR": str(env_file.parent / "spool"),
    }


@contextmanager
def steady_exchange(folder: Path, account: Path) -> Generator[tuple[Program, Path]]:
    """A simulated exchange with a thousand messages a second, and the file of variables to reach it with."""
    env_file = folder / "sim.env"
    flow = ("--markets", "10", "--rate", "1000", "--write-env", str(env_file), "--account", str(account))
    with program("simulate", *flow) as simulator:
        simulator.wait_for_line("simulated exchange on")
        yield simulator, env_file


def wait_for_rows(url: str, rows: int) -> dict[str, Any]:
    """The statistics of a service once it has written more than so many rows; fails when that takes long."""
    for _ in range(400):
        stats: dict[str, Any] = httpx2.get(f"{url}/rl/status").json()["stats"]
        if stats["rows_written"] > rows:
            return stats
        time.sleep(0.05)
    raise AssertionError(f"only {stats['rows_written']} rows written")


def sent_by_connection(account: Path) -> list[list[str]]:
    """The simulator's account, a list of frames for each connection."""
    sent: dict[int, list[str]] = {}
    for line in account.read_text().splitlines():
        entry = json.loads(line)
        sent.setdefault(entry["connection"], []).append(entry["frame"])
    return [sent[number] for number in sorted(sent)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_at_full_load_lose_nothing(tmp_path: Path, database_url: str, number: int) -> None:
    """Five times at random instants of full load: exit status 0, and all that was sent is in the database."""
    env_file, account = tmp_path / "sim.env", tmp_path / "account.ndjson"
    rng = random.Random(number)
    with program("simulate", *FLOW, "--write-env", str(env_file), "--account", str(account)) as simulator:
        simulator.wait_for_line("simulated exchange on")
        environ = run_environ(env_file, database_url)
        for _ in range(5):
            with program("run", environ=environ) as collector:
                collector.wait_for_line('"connected"')
                time.sleep(rng.uniform(0, 1.0))
                assert collector.stop(number) == 0, "".join(collector.lines)
        assert simulator.stop() == 0, "".join(simulator.lines)

    sessions = query(
        database_url,
        "SELECT session_id, frames, status, end_reason FROM rl_orderbook_sessions ORDER BY started_us",
    )
    assert [session[2:] for session in sessions] == [("closed", "recorder stopped")] * 5, sessions
    sent = sent_by_connection(account)
    assert [frames for _, frames, _, _ in sessions] == [len(frames) for frames in sent]
    recorded = raw_frames(database_url)
    assert [recorded[session_id] for session_id, *_ in sessions] == sent
    assert query(database_url, "SELECT count(*) FROM rl_orderbook_gaps") == [(0,)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_impatient_operator(tmp_path: Path, number: int) -> None:
    """Signal upon signal until it has ended: still an orderly end, with its last word and status 0."""
    with program("demo", "--dir", str(tmp_path / "demo"), "--port", str(free_port())) as demo:
        demo.wait_for_line("Open http")
        assert demo.stop_impatiently(number) == 0, "".join(demo.lines)
    assert json.loads(demo.lines[-1])["event"].startswith("stopped: ")
    assert not (tmp_path / "demo" / "postgres" / "postmaster.pid").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_service_in_the_background_of_a_script(tmp_path: Path, number: int) -> None:
    """Where the shell has SIGINT ignored, both signals still end it in order, its PostgreSQL too."""
    folder, port = tmp_path / "demo", str(free_port())
    with program("demo", "--dir", str(folder), "--port", port, sigint=signal.SIG_IGN) as demo:
        demo.wait_for_line("Open http")
        assert demo.stop(number) == 0, "".join(demo.lines)
    assert json.loads(demo.lines[-1])["event"].startswith("stopped: ")
    assert not (folder / "postgres" / "postmaster.pid").exists()


def test_killed_recorder_is_found_dead_by_the_next(tmp_path: Path, database_url: str) -> None:
    """A session that SIGKILL left active is closed by the next start; its rows are whole batches."""
    env_file, account = tmp_path / "sim.env", tmp_path / "account.ndjson"
    with program("simulate", *FLOW, "--write-env", str(env_file), "--account", str(account)) as simulator:
        simulator.wait_for_line("simulated exchange on")
        environ = run_environ(env_file, database_url)
        with program("run", environ=environ) as collector:
            collector.wait_for_line('"connected"')
            # The first start may connect before its tables are there.
            url = f"http://127.0.0.1:{environ['PORT']}"
            assert wait_for_rows(url, 2000)["is_simulated"]
            collector.stop(signal.SIGKILL)
        states = query(database_url, "SELECT status, environment FROM rl_orderbook_sessions")
        assert states == [("active", "demo")]
        with program("run", environ=environ) as collector:
            collector.wait_for_line('"connected"')
            ending = "SELECT status, end_reason FROM rl_orderbook_sessions WHERE session_id = 1"
            while query(database_url, ending) == [("active", None)]:
                time.sleep(0.05)
            assert collector.stop() == 0
    assert query(database_url, ending) == [("error", "recorder_died")]
    recorded, sent = next(iter(raw_frames(database_url).values())), sent_by_connection(account)[0]
    # The account does not count a write that the kill broke off, of which a part had arrived.
    both = min(len(recorded), len(sent))
    assert both > 1000
    assert recorded[:both] == sent[:both]


def test_killed_while_spooling(tmp_path: Path, database_url: str, refusing_port: int) -> None:
    """What was on the disk when a recorder without its database was killed, the next start brings in."""
    account = tmp_path / "account.ndjson"
    nowhere = f"postgresql://postgres@127.0.0.1:{refusing_port}/postgres"
    with steady_exchange(tmp_path, account) as (_, env_file):
        environ = {**run_environ(env_file, database_url), "RL_REWRITE_WINDOW": "0"}
        with program("run", environ={**environ, "DATABASE_URL": nowhere}) as collector:
            while sum(path.stat().st_size for path in tmp_path.glob("spool/*.spool")) < 50_000:
                assert collector.process.poll() is None, "".join(collector.lines)
                time.sleep(0.05)
            collector.stop(signal.SIGKILL)
        with program("run", environ=environ) as collector:
            collector.wait_for_line("journal_replayed")
            assert collector.stop() == 0
    assert not list(tmp_path.glob("spool/*.spool"))
    endings = query(database_url, "SELECT status, end_reason FROM rl_orderbook_sessions ORDER BY started_us")
    assert (len(endings), endings[0][0]) == (2, "error")
    assert endings[0][1].startswith("recorder_died")
    first = next(iter(raw_frames(database_url).values()))
    sent = sent_by_connection(account)
    assert any(len(first) > 1000 and first == frames[: len(first)] for frames in sent)
    with program("verify", environ={"DATABASE_URL": database_url}) as verify:
        assert verify.process.wait(60) == 0


def test_stop_without_a_database_loses_nothing(tmp_path: Path, database_url: str, refusing_port: int) -> None:
    """Stopped while PostgreSQL is away: exit status 0 within seconds, and the next start has every frame."""
    account = tmp_path / "account.ndjson"
    nowhere = f"postgresql://postgres@127.0.0.1:{refusing_port}/postgres"
    with steady_exchange(tmp_path, account) as (simulator, env_file):
        environ = run_environ(env_file, database_url)
        with program("run", environ={**environ, "DATABASE_URL": nowhere}) as collector:
            collector.wait_for_line('"connected"')
            time.sleep(1)
            assert collector.stop() == 0, "".join(collector.lines)
        assert simulator.stop() == 0
    last_word = json.loads(collector.lines[-1])
    assert last_word["event"].startswith("stopped: what is not in the database is in the spool")
    sent = sent_by_connection(account)
    assert "the drain time is over" not in "".join(collector.lines)
    assert last_word["spooled"] == last_word["frames"] == sum(len(frames) for frames in sent)
    environ["KALSHI_WS_URL"] = f"ws://127.0.0.1:{refusing_port}"
    with program("run", environ={**environ, "DATABASE_URL": nowhere}) as collector:
        collector.wait_for_line("feed_down")
        assert collector.stop() == 0
    assert json.loads(collector.lines[-1])["event"] == last_word["event"]
    with program("run", environ=environ) as collector:
        collector.wait_for_line("journal_replayed")
        assert collector.stop() == 0
    assert json.loads(collector.lines[-1])["event"] == "stopped: all is in the database"
    assert list(raw_frames(database_url).values()) == sent
    assert query(database_url, "SELECT status, end_reason FROM rl_orderbook_sessions") == [
        ("closed", "recorder stopped")
    ]


def test_demo_runs_with_nothing_to_configure(tmp_path: Path) -> None:
    """It says in one line where to look and that the data are simulated, shows them, and ends on Ctrl-C."""
    port = free_port()
    with program("demo", "--dir", str(tmp_path / "demo"), "--port", str(port)) as demo:
        url = demo.wait_for_line(rf"Open (http://127\.0\.0\.1:{port})/rl-stats .*simulated").group(1)
        assert wait_for_rows(url, 50)["is_simulated"]
        assert demo.stop(signal.SIGINT) == 0, "".join(demo.lines)
    assert not (tmp_path / "demo" / "postgres" / "postmaster.pid").exists()


def test_port_that_is_taken(tmp_path: Path, database_url: str) -> None:
    """One line that says what to do, and exit status 1."""
    port = str(free_port())
    with program("demo", "--dir", str(tmp_path / "demo"), "--port", port) as demo:
        demo.wait_for_line("Open http")
        with program("demo", "--dir", str(tmp_path / "other"), "--port", port) as second:
            assert second.process.wait(30) == 1
            second._reader.join(5)
            said = [line for line in second.lines if not line.startswith("{")]
            assert said == [
                f"collector: can't listen on 127.0.0.1 port {port}: it is taken;"
                " set PORT (--port of a demo) to a free one\n"
            ]
        assert demo.stop() == 0


def test_verify_command(tmp_path: Path, database_url: str) -> None:
    """Exit status 0 and a line for each session when all is good; 1 and what is wrong when not."""
    env_file = tmp_path / "sim.env"
    with program("simulate", *FLOW, "--write-env", str(env_file)) as simulator:
        simulator.wait_for_line("simulated exchange on")
        with program("run", environ=run_environ(env_file, database_url)) as collector:
            collector.wait_for_line('"connected"')
            time.sleep(0.3)
            assert collector.stop() == 0
    environ = {"DATABASE_URL": database_url}
    with program("verify", environ=environ) as verify:
        assert verify.process.wait(60) == 0
        verify._reader.join(5)
    ((key,),) = query(database_url, "SELECT session_key FROM rl_orderbook_sessions")
    assert verify.lines[0].startswith(f"session 1 {key} (closed): good; ")

    with psycopg.connect(database_url) as spoiler:
        spoiler.execute("DELETE FROM rl_delta_rows WHERE ctid = (SELECT min(ctid) FROM rl_delta_rows)")
    with program("verify", "--json", environ=environ) as verify:
        assert verify.process.wait(60) == 1
        verify._reader.join(5)
    report = json.loads(verify.lines[0])
    assert not report["is_good"]
    assert "rows where the frames give" in report["findings"][0]["text"]
    with program("verify", "--session", "9", environ=environ) as verify:
        assert verify.process.wait(60) == 1


def test_schema_command(database_url: str) -> None:
    """It says which version the tables have, as often as it is asked."""
    for _ in range(2):
        with program("schema", environ={"DATABASE_URL": database_url}) as schema:
            assert schema.process.wait(30) == 0
            schema._reader.join(5)
            assert schema.lines == ["The tables are at schema version 1, in PostgreSQL schema public.\n"]
    assert query(database_url, "SELECT count(*) FROM rl_orderbook_deltas") == [(0,)]


def test_schema_command_without_a_database(refusing_port: int) -> None:
    """A database that can't be reached: one line, no password, exit status 1."""
    url = f"postgresql://user:secret-word@127.0.0.1:{refusing_port}/none"
    with program("schema", environ={"DATABASE_URL": url}) as schema:
        assert schema.process.wait(30) == 1
        schema._reader.join(5)
    assert len(schema.lines) == 1
    assert "refused" in schema.lines[0]
    assert "secret-word" not in schema.lines[0]


@pytest.fixture
def mute_database() -> Generator[socket.socket]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(START_S_MAX)
        yield listener


def url_of(listener: socket.socket) -> str:
    return f"postgresql://user@127.0.0.1:{listener.getsockname()[1]}/none"


def test_reading_command_is_interrupted(mute_database: socket.socket) -> None:
    """Ctrl-C ends a command that waits for the database at once, with exit status 130 and no traceback."""
    with program("verify", environ={"DATABASE_URL": url_of(mute_database)}, sigint=signal.SIG_DFL) as verify:
        connection, _ = mute_database.accept()
        with connection:
            assert verify.stop(signal.SIGINT) == 130
    assert verify.lines == []


def test_reading_command_in_the_background_of_a_script(mute_database: socket.socket) -> None:
    """The shell has SIGINT ignored there, and the command keeps it so; SIGTERM ends it."""
    with program("verify", environ={"DATABASE_URL": url_of(mute_database)}, sigint=signal.SIG_IGN) as verify:
        connection, _ = mute_database.accept()
        with connection:
            verify.process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                verify.process.wait(0.5)
            assert verify.stop(signal.SIGTERM) == -signal.SIGTERM
