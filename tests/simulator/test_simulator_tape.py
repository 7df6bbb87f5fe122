"""What a tape file holds, and which of it is played."""

import gzip
import json
import pathlib

import pytest

from collector.errors import StartError
from collector.simulator._tape import Tape, copy_msg, copy_ticker, load_tape, read_tape
from tests.simulator.exchange_client import (
    busy_frames,
    data_frame,
    delta_msg,
    snapshot_msg,
    tape_lines,
    trade_msg,
    write_tape,
)


def read(frames: list[str]) -> Tape:
    return read_tape("invented", tape_lines(frames))


def test_the_bytes_of_msg_are_kept(tmp_path: pathlib.Path) -> None:
    """A frame's msg is sliced out of the recorded text, spaces and all."""
    msg = '{ "market_ticker" : "M","price_dollars":"0.4800",  "delta_fp":"-1.00","side":"no" ,"new":[1, 2]}'
    path = write_tape(tmp_path / "t.gz", [data_frame("orderbook_delta", 1, 1, msg)])
    (frame,) = load_tape(path).frames
    assert frame.msg == msg.encode()
    assert (frame.kind, frame.ticker, frame.offset_ns) == ("orderbook_delta", "M", 0)


def test_replies_are_not_played() -> None:
    """Acknowledgements, errors and requested snapshots of the recorded client are left out."""
    requested = f'{{"type":"orderbook_snapshot","id":4,"sid":1,"seq":3,"msg":{snapshot_msg("M")}}}'
    tape = read(
        [
            '{"type":"subscribed","id":1,"msg":{"channel":"orderbook_delta","sid":1}}\n',
            data_frame("orderbook_snapshot", 1, 1, snapshot_msg("M")),
            '{"id":2,"sid":1,"seq":2,"type":"ok","msg":{"market_tickers":["M"]}}',
            requested,
            '{"id":9,"type":"error","msg":{"code":8,"msg":"Unknown channel name"}}',
            '{"id":3,"sid":1,"seq":4,"type":"unsubscribed"}',
        ]
    )
    assert [frame.kind for frame in tape.frames] == ["orderbook_snapshot"]
    assert tape.cuts == frozenset()


def test_a_reconnection_is_one_cut() -> None:
    """When the numbers of two sids fall one after the other, the connection had ended once."""
    tape = read(
        [
            data_frame("orderbook_snapshot", 1, 900, snapshot_msg("M")),
            data_frame("trade", 2, 500, trade_msg("M")),
            data_frame("orderbook_snapshot", 1, 22, snapshot_msg("M")),
            data_frame("orderbook_delta", 1, 23, delta_msg("M", "0.1000", "1.00")),
            data_frame("trade", 2, 7, trade_msg("M")),
        ]
    )
    assert tape.cuts == frozenset({2})


def test_two_reconnections_are_two_cuts() -> None:
    """Each new fall of a number is a cut of its own."""
    tape = read([data_frame("orderbook_snapshot", 1, seq, snapshot_msg("M")) for seq in (5, 6, 1, 2, 1)])
    assert tape.cuts == frozenset({2, 4})


def test_a_market_that_begins_with_a_snapshot_has_an_opening() -> None:
    """The opening is the market's first frame, if that is a snapshot, wherever it lies in the tape."""
    tape = read(
        [
            data_frame("orderbook_delta", 1, 1, delta_msg("A", "0.1050", "1.00")),
            data_frame("orderbook_snapshot", 1, 2, snapshot_msg("A")),
            data_frame("orderbook_snapshot", 1, 3, snapshot_msg("B", [("0.4000", "1.00")])),
            data_frame("trade", 2, 1, trade_msg("B", "2.50")),
        ]
    )
    by_ticker = {market.ticker: market for market in tape.markets}
    assert by_ticker["A"].opening_index is None
    assert by_ticker["B"].opening_index == 2
    assert (by_ticker["A"].tick_e4, by_ticker["B"].tick_e4) == (10, 100)
    assert by_ticker["B"].volume_e2 == 250


def test_a_copy_has_names_of_its_own() -> None:
    """Copy 0 keeps the recorded names; a later copy is renamed, in the message too."""
    msg = delta_msg("M-1", "0.1000", "1.00").encode()
    assert copy_ticker("M-1", 0) == "M-1"
    assert copy_msg(msg, "M-1", 0) == msg
    assert copy_ticker("M-1", 12) == "M-1-C012"
    assert json.loads(copy_msg(msg, "M-1", 12))["market_ticker"] == "M-1-C012"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"not gzip at all", "gzip"),
        (gzip.compress(b'{"recv_ns":1}\n'), "line 1"),
        (gzip.compress(b'{"recv_ns":1,"frame":"{\\"type\\":"}\n'), "line 1"),
        (gzip.compress(b""), "0 lines"),
        (gzip.compress(b"x" * 100)[:-6], "gzip"),
    ],
)
def test_what_is_no_tape_is_said_so(tmp_path: pathlib.Path, content: bytes, says: str) -> None:
    """A file that breaks the format is refused, with the place."""
    path = tmp_path / "broken.gz"
    path.write_bytes(content)
    with pytest.raises(StartError, match=says):
        load_tape(path)


def test_a_missing_tape_is_said_so(tmp_path: pathlib.Path) -> None:
    """A file that is not there is refused."""
    with pytest.raises(StartError, match="No such file"):
        load_tape(tmp_path / "nowhere.gz")


def test_receive_times_that_step_back_keep_their_order() -> None:
    """Offsets never fall, so that frames are played in the order of their lines."""
    lines = tape_lines(busy_frames("M", 2))
    lines[1], lines[2] = lines[2], lines[1]
    offsets = [frame.offset_ns for frame in read_tape("invented", lines).frames]
    assert offsets == sorted(offsets)


@pytest.mark.frames
def test_the_recorded_gold_tape_has_one_cut(frames_dir: pathlib.Path) -> None:
    """The recorded reconnection of a real tape, at which both sids fall, is one cut before its snapshot."""
    tape = load_tape(frames_dir / "KXGOLD15M-26AUG102030-30.ndjson.gz")
    assert len(tape.frames) == 34_334
    assert tape.cuts == frozenset({4079})
    assert tape.frames[4079].kind == "orderbook_snapshot"


@pytest.mark.frames
def test_the_recorded_btc_tape_plays_its_data_only(frames_dir: pathlib.Path) -> None:
    """Of the 74 frames of a real connection 69 are market data, and all 8 markets open with a snapshot."""
    tape = load_tape(frames_dir / "KXBTC-8-markets-2026-04-18.ndjson.gz")
    assert (len(tape.frames), len(tape.markets), tape.cuts) == (69, 8, frozenset())
    assert all(market.opening_index is not None for market in tape.markets)
