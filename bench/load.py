"""
Frames to measure with: recorded tapes, several at once if wished, or generated flow. The same for the same
arguments.

Whatever the source, frames come out as one connection would have carried them: merged by time, without an
end in between, numbered anew from 1 for each channel. That way exactly as many can be taken as are wanted.
"""

import gzip
import heapq
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from attrs import frozen

from collector.facts import ReceivedFrame
from collector.simulator._books import snapshot_msg
from collector.simulator._flow import Flow, FlowSettings, render_event
from collector.simulator._subscription import CHANNEL_OF_KIND, Subscription
from collector.simulator._tape import Tape, copy_msg, load_tape

BEGAN_US: Final = 1_786_400_000_000_000
"""When generated flow begins: some instant, always the same."""
UNDERWAY_US: Final = (5_000, 9_000)
"""From the exchange's time of a generated message to its receive time."""
SEED: Final = 7
FAST: Final = 1
"""Compression of prepared tapes: they are read once."""


@frozen
class Message:
    """One message before it gets its number."""

    received_us: int
    kind: str
    msg: bytes


def recorded_messages(paths: Sequence[Path], copies: int, stagger_s: float) -> Iterator[Message]:
    """
    Tapes and their copies, merged by time: all begin when the first one did.

    Copies begin one after the other within `stagger_s` seconds, all but their opening snapshots.
    """
    tapes = [load_tape(path) for path in paths]
    began_us = tapes[0].began_ns // 1000
    sources = [
        _copied_messages(tape, copy, began_us, int(stagger_s * 1e6) * copy // copies)
        for tape in tapes
        for copy in range(copies)
    ]
    return heapq.merge(*sources, key=lambda message: message.received_us)


def _copied_messages(tape: Tape, copy: int, began_us: int, delay_us: int) -> Iterator[Message]:
    is_opening = True
    for frame in tape.frames:
        is_opening = is_opening and frame.kind == "orderbook_snapshot"
        received_us = began_us + frame.offset_ns // 1000 + (0 if is_opening else delay_us)
        yield Message(received_us, frame.kind, copy_msg(frame.msg, frame.ticker, copy))


def generated_messages(markets: int, rate_per_s: float) -> Iterator[Message]:
    """A snapshot of each market, then order flow without an end."""
    flow = Flow(FlowSettings(markets, rate_per_s), random.Random(SEED))
    rng = random.Random(SEED)
    for market in flow.markets:
        msg = snapshot_msg(market.ticker, market.market_id, market.book.depth())
        yield Message(BEGAN_US, "orderbook_snapshot", msg)
    received_us = BEGAN_US
    for event in flow.events():
        sent_us = BEGAN_US + event.offset_ns // 1000
        received_us = max(received_us, sent_us + rng.randint(*UNDERWAY_US))
        yield Message(received_us, event.kind, render_event(event, sent_us))


def choose_messages(
    paths: Sequence[Path], copies: int, stagger_s: float, markets: int, rate_per_s: float, frames: int
) -> Iterator[Message]:
    """The first `frames` messages of the tapes, or of generated flow when there are none."""
    if paths:
        return itertools.islice(recorded_messages(paths, copies, stagger_s), frames)
    return itertools.islice(generated_messages(markets, rate_per_s), frames)


def number_frames(messages: Iterable[Message]) -> list[ReceivedFrame]:
    """Frames as a session receives them, the sequence numbers of each channel from 1 and without a hole."""
    subscriptions: dict[str, Subscription] = {}
    frames: list[ReceivedFrame] = []
    for message in messages:
        channel = CHANNEL_OF_KIND.get(message.kind, message.kind)
        subscription = subscriptions.get(channel)
        if subscription is None:
            subscription = subscriptions[channel] = Subscription(len(subscriptions) + 1, channel, None)
        text = subscription.data_frame(message.kind, message.msg).decode()
        frames.append(ReceivedFrame(len(frames) + 1, message.received_us, text))
    return frames


def write_tape(path: Path, messages: Iterable[Message]) -> int:
    """Write a tape for the simulator to serve; tells how many frames it has."""
    frames = number_frames(messages)
    with gzip.open(path, "wb", compresslevel=FAST) as tape:
        for frame in frames:
            line = {"recv_ns": frame.received_us * 1000, "frame": frame.text}
            tape.write(msgspec.json.encode(line) + b"\n")
    return len(frames)
