"""Frame text to messages."""

import json
from typing import Any

import pytest

from collector.errors import MalformedFrame
from collector.protocol import (
    DeltaMessage,
    ErrorReply,
    OkReply,
    OtherMessage,
    SnapshotMessage,
    SubscribedReply,
    TradeMessage,
    decode_envelope,
    decode_message,
)
from collector.protocol._codec import Decoded
from tests.frames import delta_text, error_text, snapshot_text, subscribed_text, trade_text


def decode(text: str) -> Decoded:
    return decode_message(decode_envelope(text))


def decode_msg(kind: str, **msg: object) -> Decoded:
    return decode(json.dumps({"type": kind, "sid": 1, "seq": 1, "msg": {"market_ticker": "M", **msg}}))


def test_delta() -> None:
    """A delta gives market, side, price, signed change and the exchange's time."""
    decoded = decode(delta_text("M-1", 9, "0.4800", "-40.00", side="no"))

    assert decoded.message == DeltaMessage("M-1", "no", 4800, -4000, 1786410915566)


def test_snapshot_without_a_side() -> None:
    """A side that is left out is empty, and both may be."""
    assert decode(snapshot_text("M-1", 1, yes={"0.0100": "275.00"})).message == SnapshotMessage(
        "M-1", {100: 27500}, {}
    )
    assert decode(snapshot_text("M-1", 1)).message == SnapshotMessage("M-1", {}, {})


def test_trade() -> None:
    """A trade gives the YES price, the count, and whether it was a block trade."""
    assert decode(trade_text("M-1", 3)).message == TradeMessage(
        "M-1", "trade-3", "no", 3500, 10, False, 1786410063969
    )


def test_envelope() -> None:
    """What every frame carries is read before its content; an id of zero means none."""
    envelope = decode_envelope(snapshot_text("M-1", 7, command_id=5))

    assert (envelope.type, envelope.sid, envelope.seq, envelope.command_id) == ("orderbook_snapshot", 1, 7, 5)
    assert decode_envelope('{"type":"ok","id":0}').command_id is None


def test_replies() -> None:
    """Acknowledgements and errors name their channel and code."""
    assert decode(subscribed_text("trade", 2)).message == SubscribedReply("trade", 2)
    assert decode(error_text(25, sid=1)).message == ErrorReply(25, "as the exchange words it")


def test_unknown_type_and_unknown_field_are_no_errors() -> None:
    """What the exchange adds to its protocol is told by name and does not disturb what is known."""
    assert decode('{"type":"weather","sid":1,"seq":4,"msg":{"t":1.5}}').message == OtherMessage()

    decoded = decode_msg(
        "orderbook_delta", side="yes", price_dollars="0.5", delta_fp="1", ts_ms=5, mood=0.5, aura=[{}]
    )

    assert decoded.message == DeltaMessage("M", "yes", 5000, 100, 5)
    assert decoded.unknown_fields == ("mood", "aura")


def test_unknown_fields_beside_the_content_are_named() -> None:
    """An envelope may have more than is known: the frame is read, and the names are there to be counted."""
    envelope = decode_envelope(
        '{"type":"orderbook_delta","sid":1,"seq":4,"shard":2,"sending_ts_ms":5,"msg":{},"mood":[]}'
    )
    assert (envelope.sid, envelope.seq, envelope.sending_ts_ms) == (1, 4, 5)
    assert envelope.unknown_fields == ("shard", "mood")
    with pytest.raises(MalformedFrame, match="seq"):
        decode_envelope('{"type":"orderbook_delta","sid":1,"seq":"4","shard":2,"msg":{}}')


def test_clocks() -> None:
    """Deltas and snapshots carry the exchange's clock; frames of before have none."""
    wording: dict[str, Any] = {"side": "yes", "price_dollars": "0.5", "delta_fp": "1"}
    for clock in (1, 2**62, None):
        delta = decode_msg(
            "orderbook_delta", **wording, **({} if clock is None else {"clock": clock})
        ).message
        assert isinstance(delta, DeltaMessage)
        assert delta.clock == clock
    snapshot = decode_msg("orderbook_snapshot", clock=0).message
    assert isinstance(snapshot, SnapshotMessage)
    assert snapshot.clock == 0


@pytest.mark.parametrize("clock", [0, -1, 2**63, "7", 7.0, 7.5, True, [7]])
def test_clock_that_is_none_is_malformed(clock: object) -> None:
    """A delta's clock is at least 1: anything else is no value of this field."""
    with pytest.raises(MalformedFrame):
        decode_msg("orderbook_delta", side="yes", price_dollars="0.5", delta_fp="1", clock=clock)
    if clock != 0:
        with pytest.raises(MalformedFrame):
            decode_msg("orderbook_snapshot", clock=clock)


@pytest.mark.parametrize("sid", [-1, 2**31, 1.5, "1"])
def test_sid_that_no_row_can_hold_is_malformed(sid: object) -> None:
    """The exchange assigns 1, 2, 3; rows hold four bytes, and nothing is cut off silently."""
    with pytest.raises(MalformedFrame):
        decode_envelope(json.dumps({"type": "ok", "sid": sid, "seq": 1}))


def test_time_as_text_alone() -> None:
    """Frames from before ts_ms carry RFC 3339 text, whose trailing zeros are trimmed."""
    wording = {"side": "yes", "price_dollars": "0.5", "delta_fp": "1"}

    for text, timestamp_ms in [
        ("2026-08-11T01:15:15.566273Z", 1786410915566),
        ("2026-08-11T01:15:33.68233Z", 1786410933682),
        ("1970-01-01T00:00:00Z", 0),
        ("2024-02-29T23:59:59.9Z", 1709251199900),
    ]:
        message = decode_msg("orderbook_delta", ts=text, **wording).message
        assert isinstance(message, DeltaMessage)
        assert message.timestamp_ms == timestamp_ms
    message = decode_msg("orderbook_delta", **wording).message
    assert isinstance(message, DeltaMessage)
    assert message.timestamp_ms is None


def test_eras_before_todays_format() -> None:
    """Recordings from the times of whole cents and of whole contracts can be read."""
    whole_cents = decode_msg("orderbook_snapshot", yes=[[8, 300]], no=[[54, 20]])
    whole_contracts = decode_msg("orderbook_snapshot", yes=[[8, 300]], yes_dollars=[["0.080", 300]])
    both = decode_msg(
        "orderbook_snapshot", yes_dollars=[["0.080", 300]], yes_dollars_fp=[["0.0800", "300.50"]]
    )

    assert whole_cents.message == SnapshotMessage("M", {800: 30_000}, {5400: 2000})
    assert whole_contracts.message == SnapshotMessage("M", {800: 30_000}, {})
    assert both.message == SnapshotMessage("M", {800: 30_050}, {})
    for wording in (
        {"price": 96, "delta": -54},
        {"price": 96, "price_dollars": "0.960", "delta": -54},
        {"price": 96, "price_dollars": "0.960", "delta": -54, "delta_fp": "-54.00"},
    ):
        decoded = decode_msg("orderbook_delta", side="yes", **wording)
        assert decoded == Decoded(DeltaMessage("M", "yes", 9600, -5400, None))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        '{"sid":1}',
        '{"type":5}',
        '{"type":"ok","sid":1.5}',
        '{"type":"ok","sid":-1}',
        '{"type":"ok","sid":1,"seq":99999999999999999999}',
        '{"type":"ok"}{"type":"ok"}',
        '{"type":"\ud800"}',
        '{"type":"ok","msg":' + "[" * 100_000,
    ],
)
def test_what_is_no_frame_is_malformed(text: str) -> None:
    """Whatever the text is, it is a malformed frame and no other error."""
    with pytest.raises(MalformedFrame):
        decode_envelope(text)


@pytest.mark.parametrize(
    ("kind", "msg"),
    [
        ("orderbook_delta", {}),
        ("orderbook_delta", {"side": "maybe", "price_dollars": "0.5", "delta_fp": "1"}),
        ("orderbook_delta", {"side": "yes", "price_dollars": 0.5, "delta_fp": "1"}),
        ("orderbook_delta", {"side": "yes", "price_dollars": "0.50001", "delta_fp": "1"}),
        ("orderbook_delta", {"side": "yes", "price_dollars": "0.5", "delta_fp": "0.001"}),
        ("orderbook_delta", {"side": "yes", "price_dollars": "1.5", "delta_fp": "1"}),
        ("orderbook_delta", {"side": "yes", "price_dollars": "0.5", "delta_fp": "9" * 16}),
        ("orderbook_delta", {"side": "yes", "price_dollars": "0.5", "delta_fp": "1", "ts": "yesterday"}),
        ("orderbook_delta", {"side": "yes", "price_dollars": "0.5", "delta_fp": "1", "market_ticker": "a\0"}),
        ("orderbook_snapshot", {"yes_dollars_fp": [["0.5", "1"], ["0.50", "2"]]}),
        ("orderbook_snapshot", {"yes_dollars_fp": [["0.5", "-1"]]}),
        ("orderbook_snapshot", {"yes_dollars_fp": [["0.5"]]}),
        ("trade", {"trade_id": "t", "count_fp": "1"}),
    ],
)
def test_content_that_makes_no_sense_is_malformed(kind: str, msg: dict[str, object]) -> None:
    """A frame whose content breaks the protocol is refused as a whole."""
    with pytest.raises(MalformedFrame, match=f"^{kind}: "):
        decode_msg(kind, **msg)


def test_list_of_markets_is_read_where_it_stands_today_and_where_it_stood() -> None:
    """Under `msg`, and beside it until the end of 2025; that the update is done does not depend on it."""
    texts = (
        '{"id":1,"sid":2,"seq":3,"type":"ok","msg":{"market_tickers":["A","B"]}}',
        '{"id":1,"sid":2,"seq":3,"type":"ok","market_tickers":["A","B"]}',
        '{"id":1,"sid":2,"seq":3,"type":"ok","msg":{}}',
        '{"id":1,"type":"ok","msg":[{"channel":"trade","sid":1}]}',
    )
    replies = [decode_message(decode_envelope(text)).message for text in texts]

    assert replies == [OkReply(frozenset("AB")), OkReply(frozenset("AB")), OkReply(None), OkReply(None)]
