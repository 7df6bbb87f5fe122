"""
Thousands of runs by one command: `python -m tests.simulation --first 1000 --count 5000`.

Prints each seed that fails, with what was wrong and what had been done; the same seed alone replays it.
"""

import sys
import time

import click
import structlog

from tests.simulation.check import check_world
from tests.simulation.world import run_world


@click.command()
@click.option("--first", default=0, show_default=True, help="The first seed.")
@click.option("--count", default=1000, show_default=True, help="How many seeds.")
@click.option("--verbose", is_flag=True, help="Tell what was done in each run, and the service's own log.")
def main(first: int, count: int, verbose: bool) -> None:
    """Run the whole service in virtual time, once for each seed, and check that nothing was lost unseen."""
    if not verbose:
        structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    began_s, frames, sessions, kills, gaps, failed = time.monotonic(), 0, 0, 0, 0, 0
    for seed in range(first, first + count):
        world = run_world(seed)
        findings = check_world(world)
        recorded = world.database.sessions.values()
        frames += sum(len(session.frames) for session in recorded)
        sessions += len(recorded)
        kills += sum(line.endswith(" kill") for line in world.log)
        gaps += sum(type(fact).__name__ == "GapFact" for session in recorded for fact in session.facts)
        if findings:
            failed += 1
            click.echo(f"seed {seed}: " + "; ".join(findings))
        if findings or verbose:
            click.echo("\n".join(world.log))
    click.echo(
        f"{count} seeds, {failed} failed; {frames} frames in {sessions} sessions, {kills} kills,"
        f" {gaps} recorded gaps; {time.monotonic() - began_s:.0f} s"
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
