"""
A real outage: the database is killed for minutes while the exchange goes on, and nothing is lost.

PostgreSQL is a process of the program's own. Its postmaster and children get SIGKILL, and so long nobody is
there; then it is started again on the same data. All the while the collector records. Its memory, its spool
and what it says of its health are looked at every second. After the restart the spool has to become empty;
then the collector is stopped in order, `collector verify` has to find nothing, and every frame of the
simulator's account has to be in the database.

`--failover`: the server comes back on another port, and the way to it is switched over.
`--disk-full`: the spool may hold 1 MB, and the outage is longer than that lasts. The collector has to stay up
and to say so, the session ends with a reason, receiving stops, and goes on when the database is back. What
was sent in between is lost, and the session's end is the record of it.

    python -m bench.outage --seconds 600 --rate 2000
    python -m bench.outage --disk-full --seconds 60 --rate 8000
"""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import trio
from attrs import define, field, frozen

from bench.ordeal import Bench, Proof, Server, open_bench, open_server, prove, read_complaints
from bench.rig import (
    LAST_WORDS_CHARACTERS,
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

SAMPLE_S = 1.0
BEFORE_S = 10.0
AFTER_S = 5.0
RESUME_S_MAX = 120.0


@frozen
class Plan:
    """What is asked for."""

    seconds: float
    markets: int
    rate: float
    seed: int
    is_failover: bool
    is_disk_full: bool
    spool_mb: int

    def drain_s_max(self) -> float:
        """So long the spool may take to become empty."""
        return 120.0 + self.seconds

    def s_max(self) -> float:
        """No run of this program may take longer."""
        return BEFORE_S + self.seconds + self.drain_s_max() + RESUME_S_MAX + AFTER_S + 300.0


@frozen
class Sample:
    """The collector at a moment."""

    phase: str
    after_s: float
    rss_mb: float
    spool_bytes: int
    status_code: int
    components: dict[str, str]
    """Those that are not well, and how they are."""

    def words(self) -> str:
        """What /health said."""
        parts = [f"{name} {status}" for name, status in sorted(self.components.items())]
        return f"{self.status_code} {', '.join(parts) or 'ok'}"


@define(eq=False)
class Watch:
    """Looks at the collector once a second, until the block is over."""

    bench: Bench
    collector: trio.Process
    phase: str = "before"
    samples: list[Sample] = field(factory=list[Sample])
    whys: dict[str, str] = field(factory=dict[str, str])
    _began_s: float = field(factory=time.monotonic)

    async def run(self) -> None:
        """Until cancelled, or the collector is gone."""
        while self.collector.returncode is None:
            self.samples.append(await self._look())
            await trio.sleep(SAMPLE_S)

    async def _look(self) -> Sample:
        code, body = await self.bench.health()
        components: dict[str, dict[str, Any]] = body.get("components", {})
        unwell = {name: part for name, part in components.items() if part["status"] != "ok"}
        for name, part in unwell.items():
            self.whys[f"{name} {part['status']}"] = str(part["why"])
        return Sample(
            self.phase,
            time.monotonic() - self._began_s,
            await trio.to_thread.run_sync(rss_mb_of, self.collector.pid),
            sum(await trio.to_thread.run_sync(self.bench.spool_sizes)),
            code,
            {name: str(part["status"]) for name, part in unwell.items()},
        )

    def peak(self, phases: set[str], value: Callable[[Sample], float]) -> float:
        """The largest value of some phases."""
        return max((value(sample) for sample in self.samples if sample.phase in phases), default=0.0)


@define
class Outcome:
    """What was measured on the way."""

    outage_s: float = 0.0
    restart_s: float = 0.0
    drain_s: float = 0.0
    well_s: float | None = None
    spooled_bytes: int = 0
    spooled_frames: int = 0
    samples: list[Sample] = field(factory=list[Sample])
    whys: dict[str, str] = field(factory=dict[str, str])
    peak_before_mb: float = 0.0
    peak_outage_mb: float = 0.0
    peak_drain_mb: float = 0.0
    peak_spool_bytes: int = 0
    findings: list[str] = field(factory=list[str])


async def run_ordeal(plan: Plan, folder: Path) -> tuple[Outcome, Proof]:
    """All of it."""
    outcome = Outcome()
    # What is kept after it was written is not what waits.
    changes = {"RL_REWRITE_WINDOW": "0"}
    if plan.spool_mb:
        changes["RL_SPOOL_MAX_MB"] = str(plan.spool_mb)
    with trio.fail_after(plan.s_max()):
        async with open_server() as server, open_proxy(("127.0.0.1", server.port)) as proxy:
            url = through_port(server.url, proxy.port)
            async with open_bench(folder, plan.markets, plan.rate, plan.seed, url, **changes) as bench:
                await _record(plan, bench, server, proxy, outcome)
            return outcome, await prove(server, bench.account_path)


async def _record(plan: Plan, bench: Bench, server: Server, proxy: TcpProxy, outcome: Outcome) -> None:
    log_path = bench.folder / "collector.log"
    collector = await start_program(["run"], bench.environ, log_path)
    try:
        await wait_until("collector", lambda: has_line(log_path, "Listening on"), collector, START_S_MAX)
        watch = Watch(bench, collector)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            await trio.sleep(BEFORE_S)
            await _lose_database(plan, server, proxy, watch, outcome)
            await _drain(plan, bench, watch, outcome)
            nursery.cancel_scope.cancel()
        _sum_up(watch, outcome)
    finally:
        with trio.CancelScope(shield=True):
            await stop_program(collector)
        if collector.returncode != 0:
            words = log_path.read_text(errors="replace")[-LAST_WORDS_CHARACTERS:]
            outcome.findings.append(f"the collector has ended with {collector.returncode}: {words}")
    complaints = Counter(_without_times(line) for line in read_complaints(log_path))
    if not plan.is_disk_full:
        outcome.findings += [f"log, {count} times: {line[:300]}" for line, count in complaints.items()]
    elif tracebacks := [line for line in complaints if "Traceback" in line]:
        outcome.findings += [f"log: {line[:300]}" for line in tracebacks]


def _without_times(line: str) -> str:
    return line.partition('"timestamp"')[0]


async def _lose_database(plan: Plan, server: Server, proxy: TcpProxy, watch: Watch, outcome: Outcome) -> None:
    watch.phase = "outage"
    began_s = time.monotonic()
    await trio.to_thread.run_sync(server.kill)
    await trio.sleep(plan.seconds)
    restart_s = time.monotonic()
    # The place is the same unless it fails over: the proxy is what the collector knows of it.
    await trio.to_thread.run_sync(server.start if plan.is_failover else server.start_again)
    proxy.target = ("127.0.0.1", server.port)
    outcome.restart_s = time.monotonic() - restart_s
    outcome.outage_s = time.monotonic() - began_s
    outcome.spooled_bytes = sum(await trio.to_thread.run_sync(watch.bench.spool_sizes))
    outcome.spooled_frames = await trio.to_thread.run_sync(_waiting_frames, server, watch.bench)
    watch.phase = "drain"


def _waiting_frames(server: Server, bench: Bench) -> int:
    """How many frames were sent and are not in the database."""
    query = "SELECT coalesce(sum(last_frame - first_frame + 1), 0)::bigint FROM rl_write_ledger"
    with bench.account_path.open("rb") as lines:
        sent = sum(1 for _ in lines)
    return sent - int(server.query(query)[0][0])


async def _drain(plan: Plan, bench: Bench, watch: Watch, outcome: Outcome) -> None:
    began_s = time.monotonic()
    await wait_until("spool empty", lambda: not bench.spool_sizes(), watch.collector, plan.drain_s_max())
    outcome.drain_s = time.monotonic() - began_s
    well_since_s = float("inf")
    with trio.move_on_after(RESUME_S_MAX):
        # What waits in memory goes through the spool too: it may be empty, and full again.
        while time.monotonic() - well_since_s < AFTER_S:
            await trio.sleep(SAMPLE_S)
            is_well = (await bench.health())[1].get("status") == "ok"
            well_since_s = min(well_since_s, time.monotonic()) if is_well else float("inf")
            watch.phase = "after" if is_well else "drain"
        outcome.well_s = well_since_s - began_s
    if outcome.well_s is None:
        outcome.findings.append(f"not well for {AFTER_S:g} s on end within {RESUME_S_MAX:g} s")


def _sum_up(watch: Watch, outcome: Outcome) -> None:
    outcome.samples, outcome.whys = watch.samples, watch.whys
    outcome.peak_before_mb = watch.peak({"before"}, lambda sample: sample.rss_mb)
    outcome.peak_outage_mb = watch.peak({"outage"}, lambda sample: sample.rss_mb)
    outcome.peak_drain_mb = watch.peak({"drain", "after"}, lambda sample: sample.rss_mb)
    outcome.peak_spool_bytes = int(watch.peak({"outage", "drain"}, lambda sample: sample.spool_bytes))


def rss_mb_of(process: int) -> float:
    """The memory that a process holds now; none when it is gone."""
    try:
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0.0


def judge(plan: Plan, outcome: Outcome, proof: Proof) -> list[str]:
    """Everything that is not as it must be."""
    findings = [*outcome.findings, *proof.findings]
    lost = proof.sent - proof.recorded
    outages = [sample for sample in outcome.samples if sample.phase == "outage"]
    if any(sample.status_code == 0 for sample in outcome.samples):
        findings.append("/health was not answered at times")
    if not plan.is_disk_full:
        if lost:
            findings.append(f"{lost:,} frames")
        if any(sample.status_code != 200 for sample in outages):
            findings.append("/health said 503 although the spool had room")
        return findings
    if not any(
        sample.status_code == 503 and sample.components.get("spool") == "failed" for sample in outages
    ):
        findings.append("the spool was never full: take more seconds, or a higher rate")
    if len(proof.matches) < 2:
        findings.append("the connection was not given up: take more seconds, or a higher rate")
    return findings


def print_ordeal(plan: Plan, outcome: Outcome, proof: Proof) -> None:
    """The table."""
    bad = sum(not report.is_good for report in proof.reports)
    gaps = sum(report.gaps for report in proof.reports)
    spooled = max(1, outcome.spooled_frames)
    rows = [
        ("outage", f"{outcome.outage_s:.1f} s, {outcome.restart_s:.1f} s of it PostgreSQL's start"),
        ("frames sent", f"{proof.sent:,} on {len(proof.matches)} connections"),
        ("frames recorded", f"{proof.recorded:,} in {len(proof.sessions)} sessions"),
        ("frames lost", f"{proof.sent - proof.recorded:,}"),
        ("holes within sessions", f"{gaps:,}"),
        ("memory before, peak", f"{outcome.peak_before_mb:.0f} MB"),
        ("memory in the outage, peak", f"{outcome.peak_outage_mb:.0f} MB"),
        ("memory after it, peak", f"{outcome.peak_drain_mb:.0f} MB"),
        ("spool, peak, also while it drains", f"{outcome.peak_spool_bytes / 1e6:.2f} MB"),
        ("waiting when the database came", f"{outcome.spooled_frames:,} frames"),
        ("spool, bytes a frame", "-" if plan.is_disk_full else f"{outcome.spooled_bytes / spooled:.1f}"),
        ("spool empty after", f"{outcome.drain_s:.1f} s"),
        ("well from then on after", "never" if outcome.well_s is None else f"{outcome.well_s:.1f} s"),
        ("verify", f"{len(proof.reports)} sessions, {bad} with findings"),
    ]
    rows += [
        (
            f"session {session.session_id}",
            f"{len(session.hashes):,} frames, {session.status}: {session.end_reason}",
        )
        for session in proof.sessions
    ]
    rows += [
        (f"health, {phase}", f"{count} times {words}")
        for (phase, words), count in Counter(
            (sample.phase, sample.words()) for sample in outcome.samples
        ).items()
    ]
    rows += [(f"  {name}", why[:150]) for name, why in outcome.whys.items()]
    print_table(f"{plan.markets} markets, {plan.rate:g} messages a second", rows)


@click.command(help=__doc__.split("\n\n")[0].strip() if __doc__ else None)
@click.option("--seconds", type=click.FloatRange(1, 7200), default=20.0, show_default=True,
              help="How long the database is away.")  # fmt: skip
@click.option("--markets", type=click.IntRange(1, 2000), default=50, show_default=True)
@click.option("--rate", type=click.FloatRange(1, 20_000), default=2000.0, show_default=True,
              help="Generated messages a second, over all markets.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--failover", "is_failover", is_flag=True, help="The server comes back on another port.")
@click.option("--disk-full", "is_disk_full", is_flag=True, help="The spool may hold 1 MB only.")
def main(seconds: float, markets: int, rate: float, seed: int, is_failover: bool, is_disk_full: bool) -> None:
    """Lose the database, get it back, read back, and print."""
    end_on_sigterm()
    plan = Plan(seconds, markets, rate, seed, is_failover, is_disk_full, 1 if is_disk_full else 0)
    with temporary_folder() as folder:
        outcome, proof = trio.run(run_ordeal, plan, folder)
    print_ordeal(plan, outcome, proof)
    finish(judge(plan, outcome, proof))


if __name__ == "__main__":
    main()
