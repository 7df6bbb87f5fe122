"""Faults: how they are written, and when they strike."""

import json
import random
from collections.abc import Callable

import pytest

from collector.errors import ConfigError
from collector.simulator import parse_fault
from collector.simulator._alterations import change_sid, rename_field, rename_type, repeat_clock, skew
from collector.simulator._faults import Fault, Faults


def faults_of(*specs: Fault | str) -> Faults:
    return Faults(specs, random.Random(1))


@pytest.mark.parametrize(
    "text",
    [
        "drop@1",
        "duplicate@20x3",
        "reorder=0.5",
        "garble=1",
        "skew@30x1",
        "skew=0.2",
        "repeat-clock@4",
        "rename-type@4x1",
        "rename-type=0.1",
        "rename-field@4",
        "other-sid@4",
        "restart-seq@9x1",
        "lower-clock@9",
        "unknown-error=99@10x1",
        "cut@7",
        "cut=.01",
        "cut-every=2.5",
        "silent@9",
        "mute=trade@4",
        "refuse=401",
        "refuse=503x2",
        "error=25@10",
        "error=27@3x1",
        "market-limit=50",
        "command-rate=10",
        "empty-at-close",
    ],
)
def test_every_form_is_understood(text: str) -> None:
    """Each documented form is read, and its kind is the word before the sign."""
    fault = parse_fault(text)
    assert text.startswith(fault.kind)
    assert faults_of(text).in_force[0].kind == fault.kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "drop",
        "drop@0",
        "drop=2",
        "drop=1.5",
        "cut-every=0",
        "refuse=200",
        "error=9@1",
        "mute@3",
        "x@1",
        "unknown-error=13@1",
        "unknown-error=99",
        "restart-seq=0.5",
        "lower-clock=0.5",
    ],
)
def test_nonsense_is_refused_with_one_line(text: str) -> None:
    """What is no fault is refused, and the line names it."""
    with pytest.raises(ConfigError) as refused:
        parse_fault(text)
    (problem,) = refused.value.problems
    assert repr(text) in problem
    assert "\n" not in problem


def test_a_counted_fault_strikes_each_subscription_at_its_frame() -> None:
    """`drop@3` strikes every third frame counted, on any channel; `x2` strikes twice in all."""
    faults = faults_of("drop@3x2")
    struck = [bool(faults.strokes("trade", count)) for count in (1, 2, 3, 4, 3, 3)]
    assert struck == [False, False, True, False, True, False]
    assert faults.in_force == ()


def test_a_muted_channel_is_the_named_one() -> None:
    """`mute=trade@2` leaves the book channel alone."""
    faults = faults_of("mute=trade@2")
    assert faults.strokes("orderbook_delta", 2) == []
    assert [stroke.act for stroke in faults.strokes("trade", 2)] == ["mute"]


def test_a_probability_is_repeatable() -> None:
    """The same seed strikes the same frames, about as many as asked for."""
    first, second = faults_of("drop=0.25"), faults_of("drop=0.25")
    hits = [bool(first.strokes("trade", count)) for count in range(1, 2001)]
    assert hits == [bool(second.strokes("trade", count)) for count in range(1, 2001)]
    assert 400 < sum(hits) < 600


def test_a_refusal_may_be_limited() -> None:
    """`refuse=503x2` refuses two handshakes and lets the third in."""
    faults = faults_of("refuse=503x2")
    assert [faults.refusal() for _ in range(3)] == [503, 503, None]


def test_command_errors() -> None:
    """27 answers whoever asks too fast, and error=26@2 the second command."""
    faults = faults_of("command-rate=3", "error=26@2")
    assert [faults.command_error(count, 1) for count in (1, 2, 3)] == [None, 26, None]
    assert faults.command_error(9, 4) == 27


@pytest.mark.parametrize("seed", range(6))
def test_a_garbled_frame_is_text_but_not_json(seed: int) -> None:
    """Garbling leaves valid UTF-8 that no JSON parser takes, also when it cuts through a character."""
    frame = '{"type":"trade","sid":1,"msg":{"title":"äöüäöüäöüäöüäöüäöü"}}\n'.encode()
    garbled = Faults((), random.Random(seed)).garble(frame).decode()
    with pytest.raises(json.JSONDecodeError):
        json.loads(garbled)


@pytest.mark.parametrize(("sent", "arrives"), [("-5.00", "-4.00"), ("12.34", "13.34"), ("-1.00", "0.00")])
def test_a_skewed_change_is_off_by_a_contract(sent: str, arrives: str) -> None:
    """Nothing but the size is touched, so that the frame is as good as any other."""
    frame = b'{"type":"orderbook_delta","sid":1,"seq":7,"msg":{"delta_fp":"%b","side":"no"}}\n'
    assert skew(frame % sent.encode()) == frame % arrives.encode()


DELTA = (
    b'{"type":"orderbook_delta","sid":1,"seq":7,"msg":{"market_ticker":"M","price_dollars":"0.4000",'
    b'"delta_fp":"-5.00","side":"no","clock":41},"sending_ts_ms":1786410915566}\n'
)
SNAPSHOT = (
    b'{"type":"orderbook_snapshot","id":3,"sid":1,"seq":7,"msg":{"market_ticker":"M",'
    b'"yes_dollars_fp":[["0.4500","1.00"]],"no_dollars_fp":[["0.4500","1.00"]],"clock":41}}\n'
)


@pytest.mark.parametrize(
    ("alter", "frame", "sent", "arrives"),
    [
        (rename_type, DELTA, b'"orderbook_delta"', b'"orderbook_delta_v9"'),
        (rename_type, SNAPSHOT, b'"orderbook_snapshot"', b'"orderbook_snapshot_v9"'),
        (rename_field, DELTA, b'"delta_fp"', b'"delta_fp_v9"'),
        (rename_field, SNAPSHOT, b'_dollars_fp"', b'_dollars_fp_v9"'),
        (rename_field, b'{"type":"trade","msg":{"count_fp":"1.00"}}', b"count_fp", b"count_fp_v9"),
        (change_sid, DELTA, b'"sid":1,', b'"sid":2,'),
        (change_sid, SNAPSHOT, b'"sid":1,', b'"sid":2,'),
    ],
)
def test_an_altered_frame_is_sound_in_all_other_respects(
    alter: Callable[[bytes], bytes], frame: bytes, sent: bytes, arrives: bytes
) -> None:
    """The named part is another, on both sides of a snapshot, and every other byte stays."""
    assert alter(frame) == frame.replace(sent, arrives) != frame


def test_a_repeated_clock_is_that_of_the_snapshot() -> None:
    """A delta gets the clock of its own market's snapshot; a snapshot, or a clock of 0, is not repeated."""
    assert repeat_clock(DELTA, {"M": 40, "N": 39}) == DELTA.replace(b'"clock":41', b'"clock":40')
    assert repeat_clock(DELTA, {"N": 39}) == DELTA
    assert repeat_clock(DELTA, {"M": 0}) == DELTA
    assert repeat_clock(SNAPSHOT, {"M": 40}) == SNAPSHOT
    without = DELTA.replace(b',"clock":41', b"")
    assert repeat_clock(without, {"M": 40}) == without


def test_what_is_no_change_of_a_level_is_not_skewed() -> None:
    """A snapshot passes as it is, and the other channels are never struck."""
    frame = b'{"type":"orderbook_snapshot","sid":1,"seq":1,"msg":{"yes_dollars_fp":[["0.4500","1.00"]]}}\n'
    assert skew(frame) == frame
    faults = faults_of("skew@2")
    assert faults.strokes("trade", 2) == []
    assert [stroke.act for stroke in faults.strokes("orderbook_delta", 2)] == ["skew"]


@pytest.mark.parametrize("kind", ["skew", "repeat-clock", "lower-clock"])
def test_faults_of_the_books_leave_trades_alone(kind: str) -> None:
    """Only the book channel is struck."""
    assert faults_of(f"{kind}@2").strokes("trade", 2) == []
    assert [stroke.act for stroke in faults_of(f"{kind}@2").strokes("orderbook_delta", 2)] == [kind]


def test_faults_can_be_changed() -> None:
    """What is added strikes from then on, and after clear nothing does."""
    faults = faults_of()
    seen = [(faults.any_on_frames, faults.market_limit())]
    faults.add("drop@1", "market-limit=4")
    seen.append((faults.any_on_frames, faults.market_limit()))
    faults.clear()
    seen.append((faults.any_on_frames, faults.market_limit()))
    assert seen == [(False, None), (True, 4), (False, None)]
