"""
Bytes on disk: of a delta with its indexes, of a frame in the raw blocks and in the ledger, of a trade, of a
snapshot. The first two beside the limits of the specification.

What a row costs depends on how it comes in. At full speed a batch holds what has come in during the write
before it; in a quiet hour it holds RL_BATCH_SIZE rows, and raw blocks and ledger cost the most. And an
index over markets and times grows at one end with one market, and in many places with many. So there are four
cases: one market and many, recorded by the service at full speed and, with --paced, written by the service's
own function in batches of exactly RL_BATCH_SIZE rows with the receive times of the tape.

Sizes are taken after VACUUM and CHECKPOINT, with TOAST, indexes, free space map and empty partitions. Bytes
of the write-ahead log are not in them. The limits are the specification's; exit status 1 only means lost
rows.

Tapes were recorded before frames had `clock` and `sending_ts_ms`. Raw blocks are therefore measured twice,
also with both members added to the frames, which have a limit of their own: in memory in blocks of several
sizes, with the time for a frame, and with --paced in PostgreSQL. --blocks measures in memory alone.

    python -m bench.storage --paced
    python -m bench.storage --paced --tape FILE --tape FILE
    python -m bench.storage --blocks
"""

import math
import random
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import click
import trio
from attrs import frozen
from msgspec.structs import replace

from bench.load import Message, choose_messages, number_frames, write_tape
from bench.rig import (
    Database,
    finish,
    open_database,
    open_recording,
    read_losses,
    read_tally,
    tape_option,
    temporary_folder,
)
from collector.database import apply_schema, ensure_partitions
from collector.database._batches import write_batch
from collector.database._markets import fetch_market_ids
from collector.database._sessions import open_session
from collector.facts import FeedTracker, ReceivedFrame
from collector.postgres import open_connection
from collector.rawblocks import LexiconBuilder, decode_block, encode_block
from collector.storage import Batch, SessionOpening, numbered_markets

DELTA_BYTES_MAX: Final = 136
FRAME_BYTES_MAX: Final = 20
"""Of a frame without `clock` and `sending_ts_ms`."""
TODAY_BYTES_MAX: Final = 24
"""Of a frame with both."""
BATCH_ROWS: Final = 100
"""The default of RL_BATCH_SIZE."""
RECORD_S_MAX: Final = 300.0
BLOCK_FRAMES: Final = (100, 1000, 4000)
"""Sizes of the raw blocks that are measured in memory: a quiet hour, full speed, and the largest batch."""
ROUNDS: Final = 5

SEED: Final = 7
FIRST_CLOCK: Final = 12_000_000_000
CLOCK_STEP: Final = (1, 40)
"""From one change to the next: most changes of the exchange are in markets that are not recorded."""
SENDING_DELAY_MS: Final = (0, 8)
"""From the exchange's time of a message to its sending time."""
_EXCHANGE_TIME = re.compile(r'"ts_ms":([0-9]{13})')

SIZE = """
    SELECT pg_total_relation_size('{table}') + coalesce(sum(pg_total_relation_size(relid)), 0)::bigint
      FROM pg_partition_tree('{table}') WHERE isleaf AND relid <> '{table}'::regclass"""
EMPTY_SIZE = """
    SELECT coalesce(sum(pg_total_relation_size(relid)), 0)::bigint
      FROM pg_partition_tree('rl_delta_rows') WHERE isleaf AND pg_relation_size(relid) = 0"""
PART_SIZES = """
    SELECT coalesce(sum(pg_table_size(t.relid)), 0)::bigint,
           coalesce(sum((SELECT sum(pg_relation_size(indexrelid)) FROM pg_index i
                          JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = c.relam
                         WHERE i.indrelid = t.relid AND amname = 'btree')), 0)::bigint,
           coalesce(sum((SELECT sum(pg_total_relation_size(indexrelid)) FROM pg_index i
                          JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = c.relam
                         WHERE i.indrelid = t.relid AND amname = 'brin')), 0)::bigint
      FROM pg_partition_tree('rl_delta_rows') t WHERE isleaf"""
COUNTS = """
    SELECT sum(delta_rows)::bigint, sum(trade_rows)::bigint, sum(snapshot_rows)::bigint,
           sum(last_frame - first_frame + 1)::bigint, count(*) FROM rl_write_ledger"""


@frozen
class Load:
    """What to record: tapes, or generated flow when there are none."""

    tapes: tuple[Path, ...]
    copies: int
    stagger_s: float
    markets: int
    rate_per_s: float
    frames: int

    def write(self, path: Path) -> int:
        """Prepare it for the simulator."""
        return write_tape(path, self._messages())

    def frames_received(self) -> list[ReceivedFrame]:
        """It, as a session would receive it."""
        return number_frames(self._messages())

    def _messages(self) -> Iterator[Message]:
        return choose_messages(
            self.tapes, self.copies, self.stagger_s, self.markets, self.rate_per_s, self.frames
        )


@frozen
class Sizes:
    """Bytes by what they are for; None where there are no rows of a kind."""

    deltas: int
    delta: float | None
    delta_heap: float | None
    delta_btree: float | None
    delta_brin: float | None
    delta_empty: float | None
    frames: int
    raw: float | None
    ledger: float | None
    frames_a_batch: float
    trade: float | None
    snapshot: float | None


@frozen
class BlockCost:
    """What a frame costs in raw blocks of one size: bytes, and microseconds of the processor."""

    frames_each: int
    frame_bytes: float
    encode_us: float
    decode_us: float


def add_members(frames: Iterable[ReceivedFrame]) -> Iterator[ReceivedFrame]:
    """
    Frames as the exchange sends them today: changes with a `clock`, all with a `sending_ts_ms`.

    The same frames always get the same values. A message without a time of the exchange is sent some
    milliseconds before it is received.
    """
    rng = random.Random(SEED)
    clock = FIRST_CLOCK
    for frame in frames:
        text = frame.text.rstrip("\n")
        end = frame.text[len(text) :]
        found = _EXCHANGE_TIME.search(text)
        sending_ms = (
            int(found.group(1)) + rng.randint(*SENDING_DELAY_MS)
            if found
            else frame.received_us // 1000 - rng.randint(*SENDING_DELAY_MS)
        )
        if text.startswith('{"type":"orderbook_'):
            clock += rng.randint(*CLOCK_STEP)
            text = f'{text[:-2]},"clock":{clock}}}}}'
        text = f'{text[:-1]},"sending_ts_ms":{sending_ms}}}'
        yield replace(frame, text=text + end)


def measure_blocks(frames: Sequence[ReceivedFrame], frames_each: int) -> BlockCost:
    """Encode and decode frames in blocks of one size, with their session's dictionary; best of ROUNDS."""
    dictionaries = LexiconBuilder()
    runs = [frames[first : first + frames_each] for first in range(0, len(frames), frames_each)]
    known = [dictionaries.learn(run) for run in runs]
    pairs = list(zip(runs, known, strict=True))
    blocks = [encode_block(run[0].number, run, (), dictionary) for run, dictionary in pairs]

    def encode() -> None:
        for run, dictionary in pairs:
            encode_block(run[0].number, run, (), dictionary)

    def decode() -> None:
        for block, dictionary in zip(blocks, known, strict=True):
            decode_block(block.first_frame, block.payload, dictionary.content)

    return BlockCost(
        frames_each,
        sum(len(block.payload) for block in blocks) / len(frames),
        _quickest_s(encode) / len(frames) * 1e6,
        _quickest_s(decode) / len(frames) * 1e6,
    )


def _quickest_s(run: Callable[[], None]) -> float:
    def once() -> float:
        began_s = time.process_time()
        run()
        return time.process_time() - began_s

    return min(once() for _ in range(ROUNDS))


async def record_fast(load: Load, folder: Path) -> tuple[Sizes, list[str]]:
    """Record as fast as it goes, with the service."""
    tape = folder / "load.ndjson.gz"
    frames_due = load.write(tape)
    async with open_database(folder / "data") as database:
        async with open_recording(database, folder, ["--tape", str(tape), "--speed", "max"]) as recording:
            await recording.wait_committed(frames_due, RECORD_S_MAX)
        losses = read_losses(recording.sent.read(), read_tally(database))
        return await trio.to_thread.run_sync(read_sizes, database), losses


async def record_paced(load: Load, folder: Path) -> tuple[Sizes, list[str]]:
    """Write in batches of exactly BATCH_ROWS rows, as in a quiet hour."""
    return await write_paced(load.frames_received(), folder)


async def record_paced_today(load: Load, folder: Path) -> tuple[Sizes, list[str]]:
    """The same with `clock` and `sending_ts_ms`."""
    return await write_paced(list(add_members(load.frames_received())), folder)


async def write_paced(frames: Sequence[ReceivedFrame], folder: Path) -> tuple[Sizes, list[str]]:
    """Write frames with the service's own function."""
    async with open_database(folder / "data") as database:
        async with open_connection(database.url) as connection:
            await apply_schema(connection)
            opening = SessionOpening(
                uuid.uuid4(), 1, (), "ws://127.0.0.1", "demo", "bench", 1, 1, False, frames[0].received_us
            )
            session = await open_session(connection, opening)
            market_ids: dict[str, int] = {}
            lexicons = LexiconBuilder()
            for batch in cut_batches(frames):
                unknown = numbered_markets(batch.rows) - market_ids.keys()
                if unknown:
                    market_ids.update(await fetch_market_ids(connection, sorted(unknown)))
                for day in batch.days:
                    await ensure_partitions(connection, day, day)
                lexicon = lexicons.learn(batch.frames)
                await write_batch(connection, session, batch, market_ids, lexicon)
        losses = read_losses(len(frames), read_tally(database))
        return await trio.to_thread.run_sync(read_sizes, database), losses


def cut_batches(frames: Sequence[ReceivedFrame]) -> Iterator[Batch]:
    """Batches as the backlog cuts them when it is never behind: every frame of a tape is a row."""
    tracker = FeedTracker({})
    for number, first in enumerate(range(0, len(frames), BATCH_ROWS), 1):
        folded = tracker.process(frames[first : first + BATCH_ROWS])
        next_frame = first + len(folded.frames) + 1
        yield Batch(number, folded.frames, folded.facts, folded.counts, next_frame, formed_us=0)


def read_sizes(database: Database) -> Sizes:
    """Tidy the tables up and weigh them."""
    database.execute("VACUUM (ANALYZE)")
    database.execute("CHECKPOINT")
    deltas, trades, snapshots, frames, batches = database.query(COUNTS)[0]
    heap, btree, brin = database.query(PART_SIZES)[0]
    return Sizes(
        deltas,
        _each(_size(database, "rl_delta_rows"), deltas),
        _each(heap, deltas),
        _each(btree, deltas),
        _each(brin, deltas),
        _each(int(database.query(EMPTY_SIZE)[0][0]), deltas),
        frames,
        _each(_size(database, "rl_raw_blocks"), frames),
        _each(_size(database, "rl_write_ledger"), frames),
        frames / batches,
        _each(_size(database, "rl_trade_rows"), trades),
        _each(_size(database, "rl_snapshot_rows"), snapshots),
    )


def _size(database: Database, table: str) -> int:
    return int(database.query(SIZE.format(table=table))[0][0])


def _each(total_bytes: int, count: int) -> float | None:
    return total_bytes / count if count else None


def print_blocks(title: str, frames: Sequence[ReceivedFrame]) -> None:
    """The raw blocks of one case, without the members that frames have today and with them."""
    click.echo(f"{title}, raw blocks in memory: {len(frames):,} frames")
    for what, of_a_kind, bytes_max in (
        ("as recorded", frames, FRAME_BYTES_MAX),
        ("with clock and sending time", list(add_members(frames)), TODAY_BYTES_MAX),
    ):
        for frames_each in BLOCK_FRAMES:
            cost = measure_blocks(of_a_kind, frames_each)
            _print_line(f"{what}, {frames_each:,} a block", cost.frame_bytes, bytes_max)
            click.echo(f"    encode {cost.encode_us:.2f} µs, decode {cost.decode_us:.2f} µs a frame")


def print_sizes(title: str, sizes: Sizes, frame_bytes_max: int) -> None:
    """One case."""
    click.echo(
        f"{title}: {sizes.deltas:,} deltas, {sizes.frames:,} frames, {sizes.frames_a_batch:.0f} a batch"
    )
    _print_line("a delta with indexes", sizes.delta, DELTA_BYTES_MAX)
    _print_line("  table", sizes.delta_heap)
    _print_line("  index by market and time", sizes.delta_btree)
    _print_line("  two block range indexes", sizes.delta_brin)
    _print_line("  of it empty partitions", sizes.delta_empty)
    _print_line("a frame in raw blocks", sizes.raw, frame_bytes_max)
    _print_line("a frame in the ledger", sizes.ledger)
    _print_line("a trade with index", sizes.trade)
    _print_line("a snapshot with indexes", sizes.snapshot)


def _print_line(what: str, bytes_each: float | None, bytes_max: int | None = None) -> None:
    if bytes_each is None:
        click.echo(f"  {what:<42} {'none':>8}")
        return
    verdict = ""
    if bytes_max is not None:
        verdict = f"  limit {bytes_max:>3}  {'ok' if bytes_each <= bytes_max else 'OVER'}"
    click.echo(f"  {what:<42} {bytes_each:>8.1f}{verdict}")


@click.command(help=__doc__.split("\n\n")[0].strip() if __doc__ else None)
@tape_option
@click.option("--markets", type=click.IntRange(2, 2000), default=300, show_default=True,
              help="What many markets are; tapes are copied until there are so many.")  # fmt: skip
@click.option("--frames", type=click.IntRange(1000, 2_000_000), default=200_000, show_default=True,
              help="The most frames of a case.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(1, 20_000), default=100.0, show_default=True,
              help="Generated messages a second.")  # fmt: skip
@click.option("--stagger", type=click.FloatRange(0, 86_400), default=60.0, show_default=True,
              help="Seconds over which the copies of tapes begin.")  # fmt: skip
@click.option("--paced", is_flag=True, help="Also in batches of exactly RL_BATCH_SIZE rows.")
@click.option("--blocks", is_flag=True, help="Raw blocks in memory alone, without PostgreSQL.")
def main(
    tapes: tuple[Path, ...],
    markets: int,
    frames: int,
    rate: float,
    stagger: float,
    paced: bool,
    blocks: bool,
) -> None:
    """Measure the cases one after the other."""
    copies = math.ceil(markets / max(1, len(tapes)))
    one = Load(tapes[:1], 1, 0.0, 1, rate, frames)
    many = Load(tapes, copies, stagger, markets, rate, frames)
    losses: list[str] = []
    cases = [("full speed", record_fast, FRAME_BYTES_MAX)]
    if paced:
        cases += [
            ("paced", record_paced, FRAME_BYTES_MAX),
            ("paced, with clock and sending time", record_paced_today, TODAY_BYTES_MAX),
        ]
    for name, load in (("one market", one), (f"{markets} markets", many)):
        print_blocks(name, load.frames_received())
        for how, record, frame_bytes_max in [] if blocks else cases:
            with temporary_folder() as folder:
                sizes, lost = trio.run(record, load, folder)
            print_sizes(f"{name}, {how}", sizes, frame_bytes_max)
            losses += lost
    finish(losses)


if __name__ == "__main__":
    main()
