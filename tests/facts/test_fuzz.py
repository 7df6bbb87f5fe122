"""Frames that the exchange would never send."""

import json
import random
from typing import Any

import attrs
import msgspec
import pytest

from collector.facts import FeedTracker
from tests.frames import (
    delta_text,
    error_text,
    event_text,
    received,
    snapshot_text,
    subscribed_text,
    trade_text,
)

FRAMES = 100_000
CHUNK = 1000

SOUND = [
    json.loads(text)
    for text in (
        snapshot_text("M-1", 1, yes={"0.0100": "275.00", "0.4500": "12.50"}, no={"0.5000": "3.00"}),
        delta_text("M-1", 2, "0.4500", "-12.50"),
        delta_text("M-2", 3, "0.4500", "7.00", side="no"),
        trade_text("M-1", 1),
        event_text("M-1", 1, additional_metadata={"name": "n", "floor_strike": 0.5}),
        subscribed_text("orderbook_delta", 1),
        error_text(25, sid=1, seq=4),
        '{"id":3,"sid":1,"seq":5,"type":"ok","msg":{"market_tickers":["M-1"]}}',
        '{"id":4,"sid":2,"seq":7,"type":"unsubscribed"}',
    )
]
NASTY: list[Any] = [
    None, True, 0, -1, 1, 2, 3, 2**31, 2**62, 2**63, 2**64, 10**40, 0.1, 1e308, -0.0, "", "0", "0.1", "-0.1",
    "1e5", "NaN", "Infinity", "0.48005", "99999999999999999999", "\0", "\ud7ff", "yes", "no", "٣", "x" * 300,
    [], {}, [[]], [["0.1", "1"]], [["0.1", 1.5]], {"price": 0.5}, ["yes", "no"], "orderbook_delta", "trade",
]  # fmt: skip


def containers(value: Any, found: list[Any]) -> list[Any]:  # noqa: ANN401 - JSON
    """All lists and objects in a JSON value, itself included."""
    if isinstance(value, dict | list):
        found.append(value)
        for member in value.values() if isinstance(value, dict) else value:
            containers(member, found)
    return found


def mutate(frame: Any, rng: random.Random) -> None:  # noqa: ANN401 - JSON
    """Change one place of a frame: replace, remove, add, move, or give another frame's value."""
    place = rng.choice(containers(frame, []))
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    other = rng.choice(containers(rng.choice(SOUND), []))
    foreign = rng.choice([*(other.values() if isinstance(other, dict) else other), None])
    value = json.loads(json.dumps(rng.choice([rng.choice(NASTY), foreign])))
    action = rng.randrange(3)
    if action == 0 and keys:
        place[rng.choice(keys)] = value
    elif action == 1 and keys:
        del place[rng.choice(keys)]
    elif isinstance(place, dict):
        place[rng.choice(["msg", "sid", "seq", "id", "ts_ms", "side", "yes_dollars_fp", "new"])] = value
    else:
        place.append(value)


def fuzzed_text(rng: random.Random) -> str:
    """A sound frame with some places changed, and now and then damaged as text too."""
    frame = json.loads(json.dumps(rng.choice(SOUND)))
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        mutate(frame, rng)
    text = json.dumps(frame, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.15:
        at = rng.randrange(len(text))
        text = rng.choice(
            [text[:at], text[at:], text[:at] + rng.choice('{}[]",:\\\0x') + text[at + 1 :], text * 2]
        )
    return text


def assert_no_float(value: Any) -> None:  # noqa: ANN401 - anything at all
    """No float anywhere in a fact."""
    assert not isinstance(value, float), value
    if isinstance(value, msgspec.Struct):
        for member in msgspec.structs.astuple(value):
            assert_no_float(member)
    elif attrs.has(type(value)):
        for attribute in attrs.fields(type(value)):
            assert_no_float(getattr(value, attribute.name))
    elif isinstance(value, dict):
        for key, member in value.items():
            assert_no_float(key)
            assert_no_float(member)


@pytest.mark.parametrize("seed", range(4))
def test_no_frame_gets_past_the_protocol(seed: int) -> None:
    """A hundred thousand malformed frames raise nothing, make no float, and each is counted in one kind."""
    rng = random.Random(seed)
    tracker = FeedTracker.of_markets(["M-1", "M-2"])
    rejects = 0
    for first in range(1, FRAMES // 4, CHUNK):
        batch = tracker.process(received(*(fuzzed_text(rng) for _ in range(CHUNK)), first=first))
        assert batch.counts.total == CHUNK
        rejects += batch.counts.rejects
        for fact in batch.facts:
            assert_no_float(fact)
    assert FRAMES // 4 * 0.2 < rejects < FRAMES // 4 * 0.9, "the fuzzer itself is off"
