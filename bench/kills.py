"""
A hundred kills: what is in the database afterwards is the beginning of what was sent, each time.

A simulated exchange keeps sending; `collector run` is started and killed with SIGKILL at a random instant,
over and over. Every fourth time or so the database can't be reached, from the start or from that instant on;
then the kill comes some seconds later, so that it strikes while the spool is written. A last run brings in
what the others have left, records a while, and is stopped in order.

Then, for every connection of the simulator's account, the frames of the session that belongs to it must be an
exact beginning of what was sent on it; nothing may be there twice; a session that lacks an end must say that
its recorder died; and `collector verify` must find nothing. What a kill costs is what had not reached a disk:
the frames of the last flush interval. A connection of which nothing had is not in the database at all.

    python -m bench.kills --kills 100
"""

import random
import time
from collections import Counter
from pathlib import Path
from typing import Literal, get_args

import click
import trio
from attrs import define, field, frozen

from bench.ordeal import (
    Account,
    Bench,
    Match,
    Proof,
    open_bench,
    open_server,
    prove,
    read_complaints,
)
from bench.rig import (
    LAST_WORDS_CHARACTERS,
    START_S_MAX,
    end_on_sigterm,
    finish,
    has_line,
    percentile,
    print_table,
    start_program,
    stop_program,
    temporary_folder,
    wait_until,
)
from collector.session._writer import DIRECT_S_MAX
from tests.tcp_proxy import TcpProxy, open_proxy, through_port

DRAIN_S_MAX = 120.0
KILL_S_MAX = 10.0
LAST_RUN_S = 2.0
LOST_S_MAX = 3.0
"""So long a run may go on after it has lost the database: a flush interval, and some batches in the spool."""
AWAY_SHARE = 0.25
Database = Literal["there", "away", "lost"]
"""For a run: whether the database can be reached, can't be, or can't be any more from some instant on."""


@frozen
class Plan:
    """What is asked for."""

    kills: int
    markets: int
    rate: float
    seed: int
    after_s_min: float
    after_s_max: float
    flush_s: float

    def s_max(self) -> float:
        """No run of this program may take longer."""
        return self.kills * (self.after_s_max + DIRECT_S_MAX + 2.0) + 300.0


@frozen
class Kill:
    """One run that was killed."""

    number: int
    database: Database
    after_s: float
    killed_us: int
    connections: list[int]


@define
class Runs:
    """What came of all runs."""

    kills: list[Kill] = field(factory=list[Kill])
    last_connections: list[int] = field(factory=list[int])
    spool_left: int = 0
    torn: int = 0
    put_aside: int = 0
    drain_s: float = 0.0
    findings: list[str] = field(factory=list[str])

    def read_log(self, path: Path) -> None:
        """Count what a run has told."""
        text = path.read_text(errors="replace")
        self.torn += text.count("skipped a torn last record")
        self.put_aside += text.count("damaged and was put aside")
        complaints = read_complaints(path)
        if complaints:
            self.findings.append(f"{path.name}: {text[-LAST_WORDS_CHARACTERS:]}")


async def run_ordeal(plan: Plan, folder: Path) -> tuple[Runs, Proof]:
    """All of it."""
    runs = Runs()
    with trio.fail_after(plan.s_max()):
        async with open_server() as server, open_proxy(("127.0.0.1", server.port)) as proxy:
            url = through_port(server.url, proxy.port)
            changes = {"RL_FLUSH_INTERVAL": f"{plan.flush_s:g}", "RL_REWRITE_WINDOW": "0"}
            async with open_bench(folder, plan.markets, plan.rate, plan.seed, url, **changes) as bench:
                await kill_often(plan, bench, proxy, runs)
                await run_last(bench, runs)
            return runs, await prove(server, bench.account_path)


async def kill_often(plan: Plan, bench: Bench, proxy: TcpProxy, runs: Runs) -> None:
    """Start and kill, start and kill."""
    rng = random.Random(plan.seed)
    account = Account(bench.account_path)
    for number in range(1, plan.kills + 1):
        database: Database = rng.choice(("away", "lost")) if rng.random() < AWAY_SHARE else "there"
        after_s = rng.uniform(plan.after_s_min, plan.after_s_max)
        log_path = bench.folder / f"collector-{number:03d}.log"
        proxy.refuse(database == "away")
        collector = await start_program(["run"], bench.environ, log_path)
        try:
            await _let_live(after_s, rng.random(), database, proxy)
            if collector.returncode is not None:
                runs.findings.append(f"run {number} has ended by itself with {collector.returncode}")
        finally:
            killed_us = time.time_ns() // 1000
            collector.kill()
            with trio.move_on_after(KILL_S_MAX, shield=True):
                await collector.wait()
            proxy.refuse(False)
        connections = await trio.to_thread.run_sync(account.read)
        runs.kills.append(Kill(number, database, after_s, killed_us, connections))
        runs.spool_left += bool(bench.spool_sizes())
        runs.read_log(log_path)


async def _let_live(after_s: float, share: float, database: Database, proxy: TcpProxy) -> None:
    await trio.sleep(after_s)
    if database == "lost":
        proxy.refuse()
        proxy.cut()
        await trio.sleep(share * LOST_S_MAX)
    elif database == "away":
        await trio.sleep(DIRECT_S_MAX + share)


async def run_last(bench: Bench, runs: Runs) -> None:
    """Bring everything in, record a while, and stop in order."""
    log_path = bench.folder / "collector-last.log"
    collector = await start_program(["run"], bench.environ, log_path)
    try:
        await wait_until("collector", lambda: has_line(log_path, "Listening on"), collector, START_S_MAX)
        began_s = time.monotonic()
        await wait_until("spool empty", lambda: not bench.spool_sizes(), collector, DRAIN_S_MAX)
        runs.drain_s = time.monotonic() - began_s
        await trio.sleep(LAST_RUN_S)
    finally:
        with trio.CancelScope(shield=True):
            await stop_program(collector)
    if collector.returncode != 0:
        runs.findings.append(f"the last run has ended with {collector.returncode}")
    runs.last_connections = await trio.to_thread.run_sync(Account(bench.account_path).read)
    runs.read_log(log_path)


def judge(runs: Runs, proof: Proof) -> list[str]:
    """Everything that is not as it must be."""
    findings = [*runs.findings, *proof.findings]
    if runs.put_aside:
        findings.append(f"{runs.put_aside} files of the spool were put aside as damaged")
    last = proof.matches[-1]
    if last.connection != runs.last_connections[-1] or last.lost:
        findings.append(f"the last, orderly run lacks {last.lost:,} frames of connection {last.connection}")
    return findings


def print_ordeal(plan: Plan, runs: Runs, proof: Proof) -> None:
    """The table."""
    sessions = [session for session in proof.sessions if session.hashes]
    tails = [found for found in proof.matches if found.lost]
    databases = Counter(kill.database for kill in runs.kills)
    connected = sum(bool(kill.connections) for kill in runs.kills)
    reasons = Counter(f"{session.status}: {session.end_reason}" for session in proof.sessions)
    bad = sum(not report.is_good for report in proof.reports)
    rows = [
        ("kills", ", ".join(f"{count} with the database {name}" for name, count in databases.items())),
        ("kills with a connection", f"{connected}, {len(proof.matches)} connections in all"),
        ("spool files after the kill", f"{runs.spool_left} times"),
        ("frames sent", f"{proof.sent:,}"),
        ("frames recorded", f"{proof.recorded:,}"),
        ("lost in unsynced tails", f"{sum(found.lost for found in tails):,}"),
        *_tail_rows(runs, proof.matches),
        ("sessions", f"{len(proof.sessions)}, {len(sessions)} with frames"),
        ("torn records skipped", f"{runs.torn}"),
        ("files put aside", f"{runs.put_aside}"),
        ("last run: spool empty after", f"{runs.drain_s:.1f} s"),
        ("verify", f"{len(proof.reports)} sessions, {bad} with findings"),
    ]
    rows += [(f"sessions {reason}", str(count)) for reason, count in reasons.items()]
    print_table(f"{plan.kills} kills, {plan.markets} markets, {plan.rate:g} messages a second", rows)


def _tail_rows(runs: Runs, matches: list[Match]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for database in get_args(Database):
        killed_us = {
            number: kill.killed_us
            for kill in runs.kills
            if kill.database == database
            for number in kill.connections
        }
        of_these = [found for found in matches if found.connection in killed_us]
        received_ms = [
            (killed_us[found.connection] - found.session.last_received_us) // 1000
            for found in of_these
            if found.session is not None
        ]
        unseen = [found for found in of_these if found.session is None]
        rows += [
            (f"  database {database}: frames a kill", _spread([found.lost for found in of_these])),
            ("    first to last lost, by send times, ms", _spread([found.lost_ms for found in of_these])),
            ("    last recorded to kill, by receive times, ms", _spread(received_ms)),
            ("    connections without a recorded frame", f"{len(unseen)}, of {_lost(unseen):,} frames"),
        ]
    return rows


def _lost(matches: list[Match]) -> int:
    return sum(found.lost for found in matches)


def _spread(values: list[int]) -> str:
    if not values:
        return "none"
    return f"median {percentile(values, 0.5):,.0f}, p90 {percentile(values, 0.9):,.0f}, max {max(values):,}"


@click.command(help=__doc__.split("\n\n")[0].strip() if __doc__ else None)
@click.option("--kills", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--markets", type=click.IntRange(1, 2000), default=20, show_default=True)
@click.option("--rate", type=click.FloatRange(1, 20_000), default=500.0, show_default=True,
              help="Generated messages a second, over all markets.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Of the flow and of the kills.")
@click.option("--after", "after_s", type=(click.FloatRange(0, 60), click.FloatRange(0, 60)),
              default=(0.3, 1.5), show_default=True, help="Seconds to the kill, least and most.")  # fmt: skip
@click.option("--flush", "flush_s", type=click.FloatRange(0.01, 60), default=1.0, show_default=True,
              help="RL_FLUSH_INTERVAL of the collector.")  # fmt: skip
def main(
    kills: int, markets: int, rate: float, seed: int, after_s: tuple[float, float], flush_s: float
) -> None:
    """Kill, kill, read back, and print."""
    end_on_sigterm()
    plan = Plan(kills, markets, rate, seed, min(after_s), max(after_s), flush_s)
    with temporary_folder() as folder:
        runs, proof = trio.run(run_ordeal, plan, folder)
    print_ordeal(plan, runs, proof)
    finish(judge(runs, proof))


if __name__ == "__main__":
    main()
