"""
How old a frame is when it is safe, with many markets at the speed of life.

Throughput says what is possible; this says what an ordinary day looks like: 300 markets, generated flow at a
fixed rate or copies of recorded tapes at recorded speed, for a bounded time, then an orderly stop. For every
frame the receive time (from the raw blocks) is compared with the commit of its batch (by the server's
own clock, which is the same clock here). At quiet times the delay is RL_FLUSH_INTERVAL by design: up to a
second, half of it on average.

Generated messages carry the time at which they were sent, so for them the way from the exchange to the
receive stamp is told too. The exchange's times are cut off to milliseconds: that way seems up to 1 ms longer.

What is in the database is compared frame by frame with what the simulator sent on each connection. The two
must be the same up to where the recording ends. Frames behind that end were sent, but the collector had gone
before it took them: none when the stop was orderly, some when the connection could not be emptied within the
time for that. They are told, and are no loss. Exit status 1 when anything else differs, or a hole was
recorded.

    python -m bench.lag
    python -m bench.lag --tape FILE --stagger 30 --seconds 60
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path

import click
import trio
from attrs import define, field, frozen

from bench.rig import (
    Database,
    Tally,
    finish,
    open_database,
    open_recording,
    percentile,
    print_table,
    read_losses,
    read_sent,
    read_tally,
    tape_option,
    temporary_folder,
)
from collector.rawblocks import decode_block

BLOCKS = """
    SELECT session_id, r.first_frame, r.payload,
           (extract(epoch FROM pg_xact_commit_timestamp(l.xmin)) * 1e6)::bigint, x.content
      FROM rl_raw_blocks r JOIN rl_write_ledger l USING (session_id, batch_number)
      LEFT JOIN rl_raw_lexicons x USING (session_id, lexicon_number)
     ORDER BY session_id, batch_number"""
UNDERWAY = """
    SELECT ((received_us - timestamp_ms * 1000) / 1000.0)::float8 FROM rl_delta_rows
     WHERE timestamp_ms IS NOT NULL"""
SHARES = (0.5, 0.9, 0.99, 0.999)


@frozen
class Lag:
    """One measurement."""

    seconds: float
    tally: Tally
    collector_cpu_s: float
    peak_mb: float
    complaints: list[str]
    delays_ms: list[float]
    underway_ms: list[float]
    busiest_s_frames: int
    left_frames: int
    losses: list[str]


@define
class Comparison:
    """What was recorded, beside what was sent. Sessions and connections are in the same order."""

    delays_ms: list[float] = field(factory=list[float])
    seconds: Counter[int] = field(factory=Counter[int])
    left_frames: int = 0
    losses: list[str] = field(factory=list[str])


async def measure(simulate: Sequence[str], seconds: float, is_generated: bool, folder: Path) -> Lag:
    """Record for so long, stop, and read what came of it."""
    async with open_database(folder / "data") as database:
        async with open_recording(database, folder, simulate) as recording:
            began_s = trio.current_time()
            await trio.sleep(seconds)
            seconds = trio.current_time() - began_s
            collector_cpu_s, peak_mb = recording.collector_cpu_s(), recording.peak_mb()
        tally = read_tally(database)
        found = await trio.to_thread.run_sync(compare, database, recording.sent.path)
        losses = read_losses(tally.frames, tally) + found.losses
        if tally.gaps:
            losses.append(f"holes: {tally.gaps:,}")
        underway_ms = [row[0] for row in database.query(UNDERWAY)] if is_generated else []
        return Lag(
            seconds,
            tally,
            collector_cpu_s,
            peak_mb,
            recording.complaints(),
            found.delays_ms,
            underway_ms,
            max(found.seconds.values(), default=0),
            found.left_frames,
            losses,
        )


def compare(database: Database, account_path: Path) -> Comparison:
    """Read every frame back: was it sent in this place, and how long did it take to its commit?"""
    found = Comparison()
    sent = list(read_sent(account_path).values())
    for number, (_, blocks) in enumerate(groupby(database.query(BLOCKS), key=itemgetter(0))):
        place = 0
        for _, first_frame, payload, committed_us, lexicon in blocks:
            frames = decode_block(first_frame, payload, lexicon or b"").frames
            recorded = [hash(frame.text) for frame in frames]
            if first_frame != place + 1 or recorded != sent[number][place : place + len(frames)]:
                found.losses.append(f"session {number + 1}: not what was sent, from frame {place + 1:,} on")
                break
            place += len(frames)
            found.delays_ms += [(committed_us - frame.received_us) / 1000 for frame in frames]
            found.seconds.update(frame.received_us // 1_000_000 for frame in frames)
        found.left_frames += len(sent[number]) - place
    return found


def print_lag(title: str, lag: Lag) -> None:
    """The table."""
    rows = [
        ("frames", f"{lag.tally.frames:,} in {lag.seconds:.1f} s"),
        ("frames/s", f"{lag.tally.frames / lag.seconds:,.0f}, busiest second {lag.busiest_s_frames:,}"),
        ("batches", f"{lag.tally.batches:,}, {lag.tally.rows / max(1, lag.tally.batches):,.0f} rows each"),
        ("receive to commit, ms", _percentiles(lag.delays_ms)),
        ("exchange to receive, ms", _percentiles(lag.underway_ms)),
        ("sent, not taken at the end", f"{lag.left_frames:,}"),
        ("sessions", f"{lag.tally.sessions}"),
        ("holes", f"{lag.tally.gaps}"),
        ("rejected frames", f"{lag.tally.rejects}"),
        ("warnings and errors", f"{len(lag.complaints)}"),
        ("collector", f"{lag.collector_cpu_s / lag.seconds:.0%} of a core, peak memory {lag.peak_mb:.0f} MB"),
    ]
    print_table(title, rows)
    for line in lag.complaints[:5]:
        click.echo(f"  {line[:200]}")


def _percentiles(values_ms: Sequence[float]) -> str:
    if not values_ms:
        return "not known for tapes"
    parts = (f"p{share * 100:g} {percentile(values_ms, share):.1f}" for share in SHARES)
    return f"{', '.join(parts)}, max {max(values_ms):.1f}"


@click.command(help=__doc__.split("\n\n")[0].strip() if __doc__ else None)
@tape_option
@click.option("--markets", type=click.IntRange(1, 2000), default=300, show_default=True,
              help="Markets; tapes are copied until there are so many.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(1, 20_000), default=2000.0, show_default=True,
              help="Generated messages a second, over all markets.")  # fmt: skip
@click.option("--stagger", type=click.FloatRange(0, 86_400), default=0.0, show_default=True,
              help="Seconds over which the copies of tapes begin.")  # fmt: skip
@click.option("--speed", type=click.FloatRange(0.01, 100), default=1.0, show_default=True,
              help="Times the recorded speed.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(1, 3600), default=60.0, show_default=True)
def main(
    tapes: tuple[Path, ...], markets: int, rate: float, stagger: float, speed: float, seconds: float
) -> None:
    """Measure once and print."""
    if tapes:
        copies = math.ceil(markets / len(tapes))
        served = chain.from_iterable(("--tape", str(tape.absolute())) for tape in tapes)
        simulate = [*served, "--copies", str(copies), "--stagger", str(stagger)]
        title = f"{copies * len(tapes)} markets of {len(tapes)} tapes, {speed:g} times recorded speed"
    else:
        simulate = ["--markets", str(markets), "--rate", str(rate)]
        title = f"{markets} markets, {rate:g} generated messages a second, {speed:g} times as fast"
    with temporary_folder() as folder:
        lag = trio.run(measure, [*simulate, "--speed", str(speed)], seconds, not tapes, folder)
    print_lag(title, lag)
    finish(lag.losses)


if __name__ == "__main__":
    main()
