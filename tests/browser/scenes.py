"""
The service in good and in bad times, as processes, for whoever looks at its pages.

Each scene is a collector against a simulator and a database, at the URL of its web server. What goes wrong
goes wrong for real: the exchange refuses, frames are lost on the way, the database is closed.
"""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psycopg
from attrs import define
from psycopg import sql

from tests.service.processes import Program, free_port, program, read_env_file
from tests.tcp_proxy import change_url

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = ROOT / "collector" / "web" / "dist" / "rl-stats.html"
AXE = ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
STATE_S_MAX = 60.0


@define(eq=False)
class Scene:
    """A running collector and what it depends on."""

    url: str
    collector: Program
    simulator: Program
    database_url: str
    environ: Mapping[str, str]

    def status(self) -> dict[str, Any]:
        """What the collector says of itself."""
        found: dict[str, Any] = httpx2.get(f"{self.url}/rl/status").json()
        return found

    def wait_serving(self) -> None:
        """Until the web server answers."""
        deadline = time.monotonic() + STATE_S_MAX
        while time.monotonic() < deadline:
            with suppress(httpx2.HTTPError):
                httpx2.get(f"{self.url}/health/live")
                return
            assert self.collector.process.poll() is None, "".join(self.collector.lines)
            time.sleep(0.05)
        raise AssertionError(f"no answer: {''.join(self.collector.lines)}")

    def wait_for(self, what: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Poll the status until something is so; fails with `what` when that takes long."""
        deadline = time.monotonic() + STATE_S_MAX
        while time.monotonic() < deadline:
            status = self.status()
            if is_so(status):
                return status
            time.sleep(0.05)
        raise AssertionError(f"never {what}: {''.join(self.collector.lines[-20:])}")

    def wait_for_problem(self, title: str) -> None:
        """Until the collector itself tells of a problem with these words in its title."""
        self.wait_for(
            f"told of {title}",
            lambda status: any(title in problem["title"] for problem in status["stats"]["problems"]),
        )

    def wait_all_exact(self) -> None:
        """Until every market has an exact book."""
        self.wait_for(
            "all exact",
            lambda status: 0 < status["stats"]["markets_tracked"] == status["stats"]["markets_active"],
        )

    def stop_the_flow(self) -> dict[str, Any]:
        """The exchange falls silent; the last statistics, once everything is written."""
        self.simulator.process.send_signal(signal.SIGSTOP)
        before: list[int] = []

        def is_settled(status: dict[str, Any]) -> bool:
            stats = status["stats"]
            before.append(stats["frames_received"])
            return before[-20:] == [stats["frames_received"]] * 20 and stats["db_queue_size"] == 0

        return self.wait_for("settled", is_settled)

    @contextmanager
    def start_again(self) -> Generator[Program]:
        """The collector anew, at the same place, for the time of the block."""
        with program("run", environ=self.environ) as collector:
            self.collector = collector
            yield collector

    def close_database(self) -> None:
        """The database takes no connection any more, and ends those that it has."""
        self._for_database("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false")
        with psycopg.connect(change_url(self.database_url, dbname="postgres"), autocommit=True) as other:
            name = psycopg.conninfo.conninfo_to_dict(self.database_url)["dbname"]
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )

    def open_database(self) -> None:
        """The database is back."""
        self._for_database("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true")

    def _for_database(self, statement: str) -> None:
        name = str(psycopg.conninfo.conninfo_to_dict(self.database_url)["dbname"])
        with psycopg.connect(change_url(self.database_url, dbname="postgres"), autocommit=True) as other:
            other.execute(sql.SQL(statement).format(sql.Identifier(name)))  # pyright: ignore[reportArgumentType]


@contextmanager
def open_scene(
    database_url: str,
    *simulated: str,
    markets: int = 12,
    rate: float = 200,
    settings: Mapping[str, str] | None = None,
) -> Generator[Scene]:
    """
    A collector over generated flow; `simulated` are more options of the simulator. It answers when the block
    begins.

    A database that was closed is open again afterwards, so that it can be dropped.
    """
    with tempfile.TemporaryDirectory(prefix="scene-") as folder:
        env_file = Path(folder) / "sim.env"
        flow = ("--markets", str(markets), "--rate", str(rate), "--write-env", str(env_file))
        with program("simulate", *flow, *simulated) as simulator:
            simulator.wait_for_line("simulated exchange on")
            port = free_port()
            environ = {
                **read_env_file(env_file),
                "DATABASE_URL": database_url,
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "RL_LOG_FORMAT": "json",
                "RL_SPOOL_DIR": os.path.join(folder, "spool"),
                **(settings or {}),
            }
            with program("run", environ=environ) as collector:
                scene = Scene(f"http://127.0.0.1:{port}", collector, simulator, database_url, environ)
                scene.wait_serving()
                try:
                    yield scene
                finally:
                    for stopped in (simulator, scene.collector):
                        stopped.process.send_signal(signal.SIGCONT)
                    scene.open_database()
