"""
What a failover costs that loses the newest commits: nothing, within the rewrite window.

A simulator sends generated flow, `collector run` records it into a PostgreSQL that a streaming replica
follows. Then the replica receives nothing more; `--lose` seconds later the server is killed with SIGKILL and
the replica is promoted in its place. With `--restart` the collector is stopped before that, and started again
after it. When nothing waits any more, the collector is stopped in order, `collector verify` has to find
nothing, and every frame of the simulator's account has to be in the database that was the replica.

    python -m bench.failover --lose 10 --rate 2000
    python -m bench.failover --lose 10 --rate 2000 --restart
"""

import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import click
import httpx2
import psycopg
import trio
from attrs import define, evolve, field, frozen

from bench.ordeal import Bench, Proof, Server, open_bench, open_server, prove
from bench.outage import rss_mb_of
from bench.rig import (
    START_S_MAX,
    end_on_sigterm,
    finish,
    has_line,
    print_table,
    start_program,
    stop_program,
    temporary_folder,
    wait_until,
)
from tests.tcp_proxy import TcpProxy, open_proxy, through_port

BEFORE_S: Final = 5.0
AFTER_S: Final = 5.0
CAUGHT_UP_S_MAX: Final = 120.0
RUN_S_MAX: Final = 600.0
POLL_S: Final = 0.1
LEDGER_FRAMES: Final = "SELECT coalesce(sum(last_frame - first_frame + 1), 0)::bigint FROM rl_write_ledger"


@frozen
class Plan:
    """The options of a run."""

    lose_s: float
    markets: int
    rate: float
    seed: int
    is_restarted: bool


@define
class Outcome:
    """What was seen."""

    lost_frames: int = 0
    repeated_batches: int = 0
    whole_after_s: float = 0.0
    kept_bytes: int = 0
    kept_frames: int = 0
    peak_mb: float = 0.0
    findings: list[str] = field(factory=list[str])


@frozen
class Stage:
    """What the steps of a run work with."""

    plan: Plan
    bench: Bench
    proxy: TcpProxy
    primary: Server
    replica: Server
    outcome: Outcome


async def run(plan: Plan, folder: Path) -> tuple[Outcome, Proof]:
    """All of it."""
    outcome = Outcome()
    with trio.fail_after(RUN_S_MAX):
        async with open_server() as primary, open_proxy(("127.0.0.1", primary.port)) as proxy:
            url = through_port(primary.url, proxy.port)
            async with open_bench(folder, plan.markets, plan.rate, plan.seed, url) as bench:
                replica = evolve(primary, folder=primary.folder / "replica")
                stage = Stage(plan, bench, proxy, primary, replica, outcome)
                try:
                    await _record(stage)
                    return outcome, await prove(replica, bench.account_path)
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.to_thread.run_sync(replica.stop)


async def _record(stage: Stage) -> None:
    async with _collector(stage) as collector:
        await trio.sleep(BEFORE_S)
        await trio.to_thread.run_sync(_follow, stage)
        before = await _status(stage.bench)
        await trio.sleep(stage.plan.lose_s)
        await _note_kept(stage, before)
        if not stage.plan.is_restarted:
            await _fail_over(stage)
            await _wait_until_whole(stage, collector)
            return
    await _fail_over(stage)
    async with _collector(stage) as collector:
        await _wait_until_whole(stage, collector)


@asynccontextmanager
async def _collector(stage: Stage) -> AsyncGenerator[trio.Process]:
    """A running collector, stopped in order at the end."""
    log_path = stage.bench.folder / f"collector-{time.monotonic_ns()}.log"
    collector = await start_program(["run"], stage.bench.environ, log_path)
    try:
        await wait_until("collector", lambda: has_line(log_path, "Listening on"), collector, START_S_MAX)
        yield collector
        stage.outcome.peak_mb = max(stage.outcome.peak_mb, rss_mb_of(collector.pid))
    finally:
        with trio.CancelScope(shield=True):
            await stop_program(collector)
        if collector.returncode != 0:
            stage.outcome.findings.append(f"the collector has ended with {collector.returncode}")


def _follow(stage: Stage) -> None:
    """Start a replica, and cut it off as soon as it has everything of this moment."""
    primary, replica = stage.primary, stage.replica
    copy = ["pg_basebackup", "-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres", "-R", "-c", "fast"]
    subprocess.run(["mkdir", str(replica.folder)], check=True, user=primary.user)
    subprocess.run(
        [str(primary.programs / copy[0]), *copy[1:], "-D", str(replica.folder / "data")],
        check=True,
        cwd=replica.folder,
        user=primary.user,
        timeout=CAUGHT_UP_S_MAX,
        stdout=subprocess.DEVNULL,
    )
    replica.start()
    ((position,),) = primary.query("SELECT pg_current_wal_lsn()::text")
    deadline_s = time.monotonic() + CAUGHT_UP_S_MAX
    while replica.query(f"SELECT pg_last_wal_replay_lsn() < '{position}'::pg_lsn") != [(False,)]:
        if time.monotonic() > deadline_s:
            raise RuntimeError("the replica does not catch up")
        time.sleep(POLL_S)
    with psycopg.connect(replica.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
        connection.execute("SELECT pg_reload_conf()")


async def _fail_over(stage: Stage) -> None:
    confirmed = await trio.to_thread.run_sync(stage.primary.query, LEDGER_FRAMES)
    await trio.to_thread.run_sync(stage.primary.kill)
    await trio.to_thread.run_sync(stage.replica.query, "SELECT pg_promote()")
    held = await trio.to_thread.run_sync(stage.replica.query, LEDGER_FRAMES)
    stage.outcome.lost_frames = confirmed[0][0] - held[0][0]
    stage.proxy.target = ("127.0.0.1", stage.replica.port)
    stage.proxy.cut()


async def _wait_until_whole(stage: Stage, collector: trio.Process) -> None:
    """Until nothing waits for the database any more, for some seconds."""
    began_s = time.monotonic()
    well_since_s = float("inf")
    while time.monotonic() - well_since_s < AFTER_S:
        await trio.sleep(POLL_S)
        status = await _status(stage.bench)
        # In direct writing at most a second's frames wait.
        is_well = bool(status) and not status["spool"]["bytes"] and status["database"]["phase"] == "available"
        well_since_s = min(well_since_s, time.monotonic()) if is_well else float("inf")
        stage.outcome.repeated_batches = status.get("database", {}).get("repeated_batches", 0)
        stage.outcome.peak_mb = max(stage.outcome.peak_mb, rss_mb_of(collector.pid))
    stage.outcome.whole_after_s = well_since_s - began_s


async def _note_kept(stage: Stage, before: dict[str, Any]) -> None:
    after = await _status(stage.bench)
    stage.outcome.kept_bytes = after["spool"]["kept_bytes"] - before["spool"]["kept_bytes"]
    stage.outcome.kept_frames = after["frames_received"] - before["frames_received"]


async def _status(bench: Bench) -> dict[str, Any]:
    """The collector's statistics; nothing when nobody answers."""
    try:
        async with httpx2.AsyncClient(timeout=5) as client:
            response = await client.get(f"http://127.0.0.1:{bench.port}/rl/status")
            found: dict[str, Any] = response.json()["stats"]
            return found
    except httpx2.TransportError:
        return {}


@click.command()
@click.option("--lose", "lose_s", type=click.FloatRange(1, 50), default=10.0, show_default=True,
              help="Seconds of commits that the replica lacks.")  # fmt: skip
@click.option("--markets", type=click.IntRange(1, 500), default=50, show_default=True)
@click.option("--rate", type=click.FloatRange(1, 40_000), default=2000.0, show_default=True,
              help="Generated messages a second, over all markets.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--restart", "is_restarted", is_flag=True, help="Restart the collector during the failover.")
def main(lose_s: float, markets: int, rate: float, seed: int, is_restarted: bool) -> None:
    """Fail over to a replica that lacks the newest commits, read back, and print."""
    end_on_sigterm()
    plan = Plan(lose_s, markets, rate, seed, is_restarted)
    with temporary_folder() as folder:
        outcome, proof = trio.run(run, plan, folder)
    each = outcome.kept_bytes / max(1, outcome.kept_frames)
    print_table(
        f"failover that loses {lose_s:g} s at {rate:,.0f} messages a second"
        + (", the collector restarted in between" if is_restarted else ""),
        [
            ("frames sent", f"{proof.sent:,}"),
            ("frames recorded", f"{proof.recorded:,}"),
            ("committed frames that the replica lacked", f"{outcome.lost_frames:,}"),
            ("batches written again", f"{outcome.repeated_batches:,}"),
            ("whole again after", f"{outcome.whole_after_s:.1f} s"),
            ("kept, bytes a frame", f"{each:.0f}"),
            ("memory, peak", f"{outcome.peak_mb:.0f} MB"),
        ],
    )
    lost = proof.sent - proof.recorded
    finish([*outcome.findings, *proof.findings, *([f"{lost:,} frames"] if lost else [])])


if __name__ == "__main__":
    main()
