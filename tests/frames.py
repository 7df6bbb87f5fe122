"""Frames as the exchange words them, made up for tests: today's format, numbers chosen by the test."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from collector.facts import ReceivedFrame

RECEIVED_US = 1_786_410_915_570_000


def snapshot_text(
    ticker: str,
    seq: int,
    *,
    yes: Mapping[str, str] | None = None,
    no: Mapping[str, str] | None = None,
    sid: int = 1,
    command_id: int | None = None,
    clock: int | None = None,
) -> str:
    msg: dict[str, Any] = {"market_ticker": ticker, "market_id": "0000"}
    if yes:
        msg["yes_dollars_fp"] = [list(level) for level in yes.items()]
    if no:
        msg["no_dollars_fp"] = [list(level) for level in no.items()]
    if clock is not None:
        msg["clock"] = clock
    frame: dict[str, Any] = {"type": "orderbook_snapshot", "sid": sid, "seq": seq, "msg": msg}
    if command_id is not None:
        frame["id"] = command_id
    return json.dumps(frame) + "\n"


def delta_text(
    ticker: str,
    seq: int,
    price: str,
    delta: str,
    *,
    side: str = "yes",
    sid: int = 1,
    clock: int | None = None,
    sending_ts_ms: int | None = None,
) -> str:
    msg: dict[str, Any] = {
        "market_ticker": ticker,
        "market_id": "0000",
        "price_dollars": price,
        "delta_fp": delta,
        "side": side,
        "ts": "2026-08-11T01:15:15.566273Z",
        "ts_ms": 1786410915566,
    }
    if clock is not None:
        msg["clock"] = clock
    frame: dict[str, Any] = {"type": "orderbook_delta", "sid": sid, "seq": seq, "msg": msg}
    if sending_ts_ms is not None:
        frame["sending_ts_ms"] = sending_ts_ms
    return json.dumps(frame) + "\n"


def trade_text(ticker: str, seq: int, *, sid: int = 2) -> str:
    msg = {
        "trade_id": f"trade-{seq}",
        "market_ticker": ticker,
        "yes_price_dollars": "0.3500",
        "no_price_dollars": "0.6500",
        "count_fp": "0.10",
        "taker_side": "no",
        "taker_outcome_side": "no",
        "taker_book_side": "ask",
        "is_block_trade": False,
        "ts": 1786410063,
        "ts_ms": 1786410063969,
    }
    return json.dumps({"type": "trade", "sid": sid, "seq": seq, "msg": msg}) + "\n"


def subscribed_text(channel: str, sid: int, *, command_id: int = 1) -> str:
    return (
        json.dumps({"id": command_id, "type": "subscribed", "msg": {"channel": channel, "sid": sid}}) + "\n"
    )


def ok_text(tickers: Sequence[str] | None, seq: int, *, sid: int = 1, command_id: int = 9) -> str:
    """The answer to a change of a subscription, with the whole set of its markets or without."""
    msg = {} if tickers is None else {"market_tickers": list(tickers)}
    return json.dumps({"id": command_id, "sid": sid, "seq": seq, "type": "ok", "msg": msg}) + "\n"


def subscribed_texts() -> list[str]:
    """The acknowledgements of a session's channels; their sids are 1, 2 and 3."""
    channels = ("orderbook_delta", "trade", "market_lifecycle_v2")
    return [subscribed_text(channel, sid, command_id=sid) for sid, channel in enumerate(channels, 1)]


def event_text(
    ticker: str | None, seq: int, event_type: str | None = "determined", *, sid: int = 3, **more: object
) -> str:
    """A lifecycle event of a market."""
    named = {"market_ticker": ticker, "event_type": event_type}
    msg = {name: value for name, value in named.items() if value is not None} | more
    return json.dumps({"type": "market_lifecycle_v2", "sid": sid, "seq": seq, "msg": msg}) + "\n"


def error_text(
    code: int, *, command_id: int | None = None, sid: int | None = None, seq: int | None = None
) -> str:
    frame: dict[str, Any] = {"type": "error", "msg": {"code": code, "msg": "as the exchange words it"}}
    optional = {"id": command_id, "sid": sid, "seq": seq}
    frame |= {name: value for name, value in optional.items() if value is not None}
    return json.dumps(frame) + "\n"


def received(*texts: str, first: int = 1) -> list[ReceivedFrame]:
    """Stamp texts with numbers that follow each other, a millisecond apart."""
    return [
        ReceivedFrame(number, RECEIVED_US + number * 1000, text) for number, text in enumerate(texts, first)
    ]
