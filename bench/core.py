"""
What one frame costs in each pure step of the recording: reading, folding, packing, compressing.

Machines differ, and one machine differs from itself from hour to hour. So every figure is also given in turns
of a fixed loop of plain Python that runs in the same process just before and after it: "25 turns" compares
across machines where microseconds don't. Each step is repeated, and the quickest round counts: what disturbs
a round can only make it slower.

    python -m bench.core
    python -m bench.core --tape FILE
"""

import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
from attrs import frozen

from bench.load import choose_messages, number_frames
from bench.rig import tape_option
from collector.facts import DeltaFact, FeedTracker, FrameBatch, ReceivedFrame, TradeFact
from collector.protocol import decode_envelope, decode_message
from collector.rawblocks import decode_block, encode_block
from collector.storage import DELTA, encode_rows
from collector.storage._kinds import TRADE

REFERENCE_TURNS: Final = 300_000
STEP_FRAMES: Final = 1000
"""What the transport hands on at once under load."""


@frozen
class Step:
    """A step to measure: how many things it works through, and the work."""

    name: str
    what: str
    count: int
    run: Callable[[], None]


@frozen
class Cost:
    """The quickest round of a step, and the loop's beside it."""

    step: Step
    seconds: float
    turn_s: float


def turn_reference_loop() -> None:
    """The yardstick: integers, a dictionary, a call. Changing it makes old figures worthless."""
    counts: dict[int, int] = {}
    for turn in range(REFERENCE_TURNS):
        key = turn * 7919 % 1009
        counts[key] = counts.get(key, 0) + (turn & 3)


def pieces_of(frames: list[ReceivedFrame], frames_each: int) -> list[list[ReceivedFrame]]:
    """Frames in runs as the steps get them."""
    return [frames[first : first + frames_each] for first in range(0, len(frames), frames_each)]


def fold(pieces: list[list[ReceivedFrame]]) -> list[FrameBatch]:
    """All pieces through a new tracker."""
    tracker = FeedTracker({})
    return [tracker.process(piece) for piece in pieces]


def make_steps(frames: list[ReceivedFrame]) -> list[Step]:
    """All steps, on the same frames."""
    pieces = pieces_of(frames, STEP_FRAMES)
    batches = fold(pieces)
    deltas = [[fact for fact in batch.facts if isinstance(fact, DeltaFact)] for batch in batches]
    trades = [fact for batch in batches for fact in batch.facts if isinstance(fact, TradeFact)]
    rows: list[DeltaFact | TradeFact] = [*trades, *(fact for facts in deltas for fact in facts)]
    market_ids = {row.market_ticker: 1 for row in rows}
    blocks = [encode_block(piece[0].number, piece) for piece in pieces]
    hundreds = pieces_of(frames, 100)

    def decode() -> None:
        for frame in frames:
            decode_message(decode_envelope(frame.text))

    def read_envelopes() -> None:
        for frame in frames:
            decode_envelope(frame.text)

    def follow() -> None:
        fold(pieces)

    def pack_deltas() -> None:
        for facts in deltas:
            encode_rows(DELTA, facts, 1, market_ids)

    def pack_trades() -> None:
        encode_rows(TRADE, trades, 1, market_ids)

    def compress(runs: list[list[ReceivedFrame]]) -> None:
        for run in runs:
            encode_block(run[0].number, run)

    def decompress() -> None:
        for block in blocks:
            decode_block(block.first_frame, block.payload)

    count = len(frames)
    return [
        Step("codec: envelope", "frame", count, read_envelopes),
        Step("codec: whole message", "frame", count, decode),
        Step("tracker: frames to facts", "frame", count, follow),
        Step("COPY: delta rows", "row", sum(map(len, deltas)), pack_deltas),
        Step("COPY: trade rows", "row", len(trades), pack_trades),
        Step("raw blocks of 100", "frame", count, lambda: compress(hundreds)),
        Step(f"raw blocks of {STEP_FRAMES}", "frame", count, lambda: compress(pieces)),
        Step("raw blocks read back", "frame", count, decompress),
    ]


def measure(step: Step, rounds: int) -> Cost:
    """The quickest of some rounds, with the loop in between."""
    step_s: list[float] = []
    reference_s: list[float] = []
    for _ in range(rounds):
        reference_s.append(_time(turn_reference_loop))
        step_s.append(_time(step.run))
    reference_s.append(_time(turn_reference_loop))
    return Cost(step, min(step_s), min(reference_s) / REFERENCE_TURNS)


def _time(run: Callable[[], None]) -> float:
    gc.collect()
    began_s = time.perf_counter()
    run()
    return time.perf_counter() - began_s


def print_costs(costs: list[Cost]) -> None:
    """The table."""
    turn_ns = statistics.median(cost.turn_s for cost in costs) * 1e9
    click.echo(f"one turn of the reference loop: {turn_ns:.1f} ns")
    click.echo(f"  {'step':<26} {'a second':>12} {'µs each':>9} {'turns each':>11}")
    for cost in costs:
        each_s = cost.seconds / cost.step.count
        rate = f"{1 / each_s:,.0f}"
        click.echo(
            f"  {cost.step.name:<26} {rate:>12} {each_s * 1e6:>9.3f} {each_s / cost.turn_s:>11.1f}"
            f"  a {cost.step.what}"
        )


@click.command(help=__doc__.split("\n\n")[0].strip() if __doc__ else None)
@tape_option
@click.option("--markets", type=click.IntRange(1, 2000), default=300, show_default=True,
              help="Markets of generated flow.")  # fmt: skip
@click.option("--frames", type=click.IntRange(1000, 500_000), default=20_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=7, show_default=True)
def main(tapes: tuple[Path, ...], markets: int, frames: int, rounds: int) -> None:
    """Measure every step and print."""
    received = number_frames(choose_messages(tapes, 1, 0.0, markets, 1000.0, frames))
    steps = [step for step in make_steps(received) if step.count]
    print_costs([measure(step, rounds) for step in steps])


if __name__ == "__main__":
    main()
