"""
How many frames a second go from the socket to committed rows, and what that costs.

Simulator, collector and PostgreSQL are processes of their own on one machine, as they never are in service:
the figure is what the whole of them achieves together, and the processor time says how much of it was the
collector's. The simulator sends as fast as the collector reads, the collector has its default settings.
The time runs from the receive time of the first frame to the commit of the last batch, both as the database
has them. The frames are counted three times: by the simulator as it sends them, by the ledger, and by the
tables; a difference is exit status 1.

    python -m bench.throughput
    python -m bench.throughput --tape FILE --copies 10 --frames 400000 --repeat 3
"""

from pathlib import Path

import click
import trio
from attrs import frozen

from bench.load import choose_messages, write_tape
from bench.rig import (
    Database,
    Recording,
    finish,
    open_database,
    open_recording,
    percentile,
    print_table,
    read_losses,
    read_tally,
    spread,
    tape_option,
    temporary_folder,
)

TIMES = """
    SELECT min(first_received_us),
           (extract(epoch FROM max(pg_xact_commit_timestamp(xmin))) * 1e6)::bigint
      FROM rl_write_ledger"""
WRITES = """
    SELECT (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000 - written_us / 1000.0)::float8
      FROM rl_write_ledger"""


@frozen
class Run:
    """One measurement."""

    frames: int
    rows: int
    batches: int
    seconds: float
    collector_cpu_s: float
    database_cpu_s: float
    peak_mb: float
    writes_ms: list[float]
    losses: list[str]


async def measure(tape: Path, frames_due: int, folder: Path, seconds_max: float) -> Run:
    """Record a tape as fast as it goes, into a new database."""
    async with open_database(folder / "data") as database:
        async with open_recording(database, folder, ["--tape", str(tape), "--speed", "max"]) as recording:
            await recording.wait_committed(frames_due, seconds_max)
            run = await trio.to_thread.run_sync(read_run, database, recording)
        # What was said while the collector took its leave is recorded too.
        losses = read_losses(recording.sent.read(), read_tally(database))
        return Run(*run, losses)


def read_run(
    database: Database, recording: Recording
) -> tuple[int, int, int, float, float, float, float, list[float]]:
    """What the witnesses tell when everything is committed and nothing has ended yet."""
    collector_cpu_s, database_cpu_s = recording.collector_cpu_s(), recording.database_cpu_s()
    tally = read_tally(database)
    first_us, last_us = database.query(TIMES)[0]
    writes_ms = [row[0] for row in database.query(WRITES)]
    return (
        tally.frames, tally.counted_rows, tally.batches, (last_us - first_us) / 1e6,
        collector_cpu_s, database_cpu_s, recording.peak_mb(), writes_ms,
    )  # fmt: skip


def print_runs(runs: list[Run]) -> None:
    """The table: smallest, middle and largest of the runs."""
    rows = [
        ("frames", spread([run.frames for run in runs], ",.0f")),
        ("rows", spread([run.rows for run in runs], ",.0f")),
        ("seconds", spread([run.seconds for run in runs], ".2f")),
        ("frames/s", spread([run.frames / run.seconds for run in runs], ",.0f")),
        ("collector, core-s", spread([run.collector_cpu_s for run in runs], ".2f")),
        ("  a 10,000 frames", spread([run.collector_cpu_s / run.frames * 1e4 for run in runs], ".3f")),
        ("  share of a core", spread([run.collector_cpu_s / run.seconds for run in runs], ".0%")),
        ("  peak memory, MB", spread([run.peak_mb for run in runs], ".0f")),
        ("PostgreSQL, core-s", spread([run.database_cpu_s for run in runs], ".2f")),
        ("  a 10,000 frames", spread([run.database_cpu_s / run.frames * 1e4 for run in runs], ".3f")),
        ("batches", spread([run.batches for run in runs], ",.0f")),
        ("rows a batch", spread([run.rows / run.batches for run in runs], ",.0f")),
        ("write p50, ms", spread([percentile(run.writes_ms, 0.5) for run in runs], ".1f")),
        ("write p99, ms", spread([percentile(run.writes_ms, 0.99) for run in runs], ".1f")),
        ("write max, ms", spread([max(run.writes_ms) for run in runs], ".1f")),
    ]
    times = "once" if len(runs) == 1 else f"{len(runs)} times: min / median / max"
    print_table(f"socket to committed rows, {times}", rows)


@click.command(help=__doc__.split("\n\n")[0].strip() if __doc__ else None)
@tape_option
@click.option("--copies", type=click.IntRange(1, 2000), default=1, show_default=True,
              help="Serve each tape's markets this many times.")  # fmt: skip
@click.option("--markets", type=click.IntRange(1, 2000), default=300, show_default=True,
              help="Markets of generated flow.")  # fmt: skip
@click.option("--frames", type=click.IntRange(1000, 2_000_000), default=200_000, show_default=True,
              help="The most frames to send.")  # fmt: skip
@click.option("--repeat", type=click.IntRange(1, 50), default=1, show_default=True)
@click.option("--seconds-max", type=click.FloatRange(1, 3600), default=300.0, show_default=True,
              help="Give up a run after so long.")  # fmt: skip
def main(
    tapes: tuple[Path, ...], copies: int, markets: int, frames: int, repeat: int, seconds_max: float
) -> None:
    """Prepare the frames once, measure, print."""
    runs: list[Run] = []
    with temporary_folder() as folder:
        tape = folder / "load.ndjson.gz"
        frames_due = write_tape(tape, choose_messages(tapes, copies, 0.0, markets, 1000.0, frames))
        for _ in range(repeat):
            with temporary_folder() as run_folder:
                runs.append(trio.run(measure, tape, frames_due, run_folder, seconds_max))
    print_runs(runs)
    finish([loss for run in runs for loss in run.losses])


if __name__ == "__main__":
    main()
