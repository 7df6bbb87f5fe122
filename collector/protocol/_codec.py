"""
Frame text to messages, strictly.

Decoding has two steps, because a frame whose content makes no sense still counts in its subscription's
sequence: `decode_envelope` reads what every frame carries, `decode_message` the content. Both raise
MalformedFrame and nothing else, whatever the text is.

Fields and types that this program does not know are no error: their names are handed out, to be counted.
Besides today's format (decimal strings, `*_dollars_fp`), the two that came before it are read, since
recordings of them exist.
"""

import json
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta, Raw, Struct

from collector.errors import MalformedFrame
from collector.protocol._messages import (
    DeltaMessage,
    ErrorReply,
    Levels,
    LifecycleMessage,
    Message,
    OkReply,
    OtherMessage,
    SnapshotMessage,
    SubscribedReply,
    TradeMessage,
    UnsubscribedReply,
)
from collector.protocol._times import TIMESTAMP_MS_MAX, bounded_ms, parse_rfc3339_ms
from collector.protocol._units import Side, checked_price_e4, checked_size_e2, parse_price_e4, parse_size_e2

# PostgreSQL's bigint is the narrowest place that a number has to pass on its way.
_Count = Annotated[int, Meta(ge=0, le=2**62)]
_Sid = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""The exchange assigns 1, 2, 3 on each connection; rows hold four bytes."""
_DeltaClock = Annotated[int, Meta(ge=1, le=2**62)]
_SnapshotClock = Annotated[int, Meta(ge=0, le=2**62)]
_Ticker = Annotated[str, Meta(pattern=r"^[!-~]{1,200}\Z")]
_TradeId = Annotated[str, Meta(pattern=r"^[!-~]{1,200}\Z")]
_Text = Annotated[str, Meta(max_length=10_000)]
_EventType = Annotated[str, Meta(pattern=r"^[!-~]{1,100}\Z")]
_LegacyLevel = tuple[int, int]


class _Envelope(Struct, forbid_unknown_fields=True):
    type: Annotated[str, Meta(min_length=1, max_length=100)]
    sid: _Sid | None = None
    seq: _Count | None = None
    id: int | None = None
    msg: Raw = Raw()
    sending_ts_ms: _Count | None = None
    market_tickers: Raw = Raw()


class _Delta(Struct, forbid_unknown_fields=True):
    market_ticker: _Ticker
    side: Literal["yes", "no"]
    price_dollars: str | None = None
    delta_fp: str | None = None
    ts: Raw = Raw()
    ts_ms: _Count | None = None
    clock: _DeltaClock | None = None
    market_id: Raw = Raw()
    client_order_id: Raw = Raw()
    subaccount: Raw = Raw()
    price: int | None = None
    delta: int | None = None


class _Snapshot(Struct, forbid_unknown_fields=True):
    market_ticker: _Ticker
    yes_dollars_fp: list[tuple[str, str]] | None = None
    no_dollars_fp: list[tuple[str, str]] | None = None
    clock: _SnapshotClock | None = None
    market_id: Raw = Raw()
    yes_dollars: list[tuple[str, int]] | None = None
    no_dollars: list[tuple[str, int]] | None = None
    yes: list[_LegacyLevel] | None = None
    no: list[_LegacyLevel] | None = None


class _Trade(Struct, forbid_unknown_fields=True):
    market_ticker: _Ticker
    trade_id: _TradeId
    yes_price_dollars: str | None = None
    no_price_dollars: str | None = None
    count_fp: str | None = None
    taker_side: Raw = Raw()
    taker_outcome_side: Literal["yes", "no"] | None = None
    taker_book_side: Raw = Raw()
    is_block_trade: bool | None = None
    ts: Raw = Raw()
    ts_ms: _Count | None = None
    market_id: Raw = Raw()
    exchange_index: Raw = Raw()
    yes_price: int | None = None
    no_price: int | None = None
    count: int | None = None


_SIDES: Final = ("yes_dollars_fp", "no_dollars_fp", "yes_dollars", "no_dollars", "yes", "no")
LIFECYCLE_TYPES: Final = frozenset({"market_lifecycle_v2", "event_lifecycle", "event_fee_update"})
_LIFECYCLE_FIELDS: Final = frozenset(
    {
        "market_ticker", "event_ticker", "series_ticker", "event_type", "exchange_index", "open_ts",
        "close_ts", "result", "determination_ts", "settlement_value", "settled_ts", "is_deactivated",
        "additional_metadata",
        "price_level_structure", "price_ranges", "strike_type", "floor_strike", "cap_strike", "custom_strike",
        "yes_sub_title", "title", "subtitle", "collateral_return_type", "strike_date", "strike_period",
        "fractional_trading_enabled", "fee_type_override", "fee_multiplier_override", "ts", "ts_ms",
    }
)  # fmt: skip
_EVENT_TIMES: Final = {"determined": "determination_ts", "settled": "settled_ts"}
"""Where the time of an event stands, in seconds. Other times in an event are those of what is to come."""
_EVENT_DEPTH_MAX: Final = 32


class _Subscribed(Struct):
    channel: _Text
    sid: _Sid


class _Ok(Struct, forbid_unknown_fields=True):
    market_tickers: list[_Ticker] | None = None


class _Error(Struct):
    # What ends a subscription must not be missed for an oddity in its wording.
    code: int | str
    msg: Raw = Raw()


_keys_decoder = msgspec.json.Decoder(dict[str, Raw])
_STRICT: dict[type[Struct], msgspec.json.Decoder[Any]] = {
    shape: msgspec.json.Decoder(shape)
    for shape in (_Envelope, _Delta, _Snapshot, _Trade, _Subscribed, _Ok, _Error)
}


class Envelope(Struct, frozen=True):
    """
    What every frame carries.

    `sid` and `seq` are None where the frame has none; `command_id` is that of the command it answers.
    `sending_ts_ms` is when the exchange sent the frame, in milliseconds since 1970; None in frames before
    October 2026. `content` is the undecoded `msg`, `unknown_fields` are names that this program does not
    know.
    """

    type: str
    sid: int | None
    seq: int | None
    command_id: int | None
    content: Raw
    sending_ts_ms: int | None = None
    unknown_fields: tuple[str, ...] = ()


class Decoded(Struct, frozen=True):
    """A frame's content, and the names of fields in it that this program does not know."""

    message: Message
    unknown_fields: tuple[str, ...] = ()


def decode_envelope(text: str) -> Envelope:
    """Read what every frame carries. Raises MalformedFrame."""
    try:
        wire, unknown = _decode_known(text, _Envelope)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MalformedFrame(f"envelope: {_one_line(error)}") from error
    content = wire.msg
    if not content and wire.market_tickers:
        # Where an `ok` had its list until the end of 2025.
        content = Raw(b'{"market_tickers":' + bytes(wire.market_tickers) + b"}")
    return Envelope(
        type=wire.type,
        sid=wire.sid,
        seq=wire.seq,
        command_id=wire.id or None,
        content=content,
        sending_ts_ms=wire.sending_ts_ms,
        unknown_fields=unknown,
    )


def decode_message(envelope: Envelope) -> Decoded:
    """Read the content of a frame. Raises MalformedFrame."""
    decode = _DECODERS.get(envelope.type)
    if decode is None:
        return Decoded(OtherMessage())
    try:
        return decode(envelope.content)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MalformedFrame(f"{envelope.type}: {_one_line(error)}") from error
    except MalformedFrame as error:
        raise MalformedFrame(f"{envelope.type}: {error}") from error


def guess_market_ticker(envelope: Envelope) -> str | None:
    """The market that a frame with malformed content is about, when that much can be read."""
    try:
        ticker = msgspec.json.decode(_keys_decoder.decode(envelope.content)["market_ticker"], type=_Ticker)
    except (msgspec.MsgspecError, ValueError, RecursionError, KeyError):
        return None
    return ticker


def guess_sid(text: str) -> int | None:
    """The `sid` of a frame whose envelope is malformed, when that much can be read."""
    try:
        return msgspec.json.decode(_keys_decoder.decode(text)["sid"], type=_Sid)
    except (msgspec.MsgspecError, ValueError, RecursionError, KeyError):
        return None


def _decode_delta(content: Raw) -> Decoded:
    wire, unknown = _decode_known(content, _Delta)
    if wire.price_dollars is not None:
        price_e4 = parse_price_e4(wire.price_dollars)
    else:
        price_e4 = _cents(_present(wire.price, "price_dollars"))
    if wire.delta_fp is not None:
        delta_e2 = parse_size_e2(wire.delta_fp)
    else:
        delta_e2 = _contracts(_present(wire.delta, "delta_fp"))
    timestamp_ms = wire.ts_ms
    if timestamp_ms is None:
        timestamp_ms = _parse_optional_ms(_optional(wire.ts, str))
    message = DeltaMessage(
        market_ticker=wire.market_ticker,
        side=wire.side,
        price_e4=price_e4,
        delta_e2=delta_e2,
        timestamp_ms=timestamp_ms,
        clock=wire.clock,
    )
    return Decoded(message, unknown)


def _decode_snapshot(content: Raw) -> Decoded:
    wire, unknown = _decode_known(content, _Snapshot)
    _check_sides(wire, content, unknown)
    yes_bids = _levels(wire.yes_dollars_fp, wire.yes_dollars, wire.yes)
    no_bids = _levels(wire.no_dollars_fp, wire.no_dollars, wire.no)
    return Decoded(SnapshotMessage(wire.market_ticker, yes_bids, no_bids, wire.clock), unknown)


def _check_sides(wire: _Snapshot, content: Raw, unknown: tuple[str, ...]) -> None:
    """
    Refuse a book that may have a side under a name that is not known. Raises MalformedFrame.

    A missing side is an empty side, and an additional field changes nothing. But where a side is missing, an
    unknown list may be that side; where both are, any unknown field may hold them. A side that is null is
    neither missing nor empty.
    """
    if not unknown and b"null" not in bytes(content):
        return
    has_yes = any(side is not None for side in (wire.yes_dollars_fp, wire.yes_dollars, wire.yes))
    has_no = any(side is not None for side in (wire.no_dollars_fp, wire.no_dollars, wire.no))
    if has_yes and has_no:
        return
    fields = _keys_decoder.decode(content)
    if any(bytes(fields.get(name, b"")) == b"null" for name in _SIDES):
        raise MalformedFrame("a side of the book is null")
    lists = [name for name in unknown if bytes(fields[name]).lstrip().startswith((b"[", b"{"))]
    suspects = lists if has_yes or has_no else unknown
    if suspects:
        raise MalformedFrame(f"a side of the book may be in an unknown field: {suspects[0][:100]}")


def _levels(
    today: list[tuple[str, str]] | None,
    whole_contracts: list[tuple[str, int]] | None,
    whole_cents: list[_LegacyLevel] | None,
) -> Levels:
    """One side of a snapshot, from whichever era's field it has. Raises MalformedFrame."""
    if today is not None:
        pairs = [(parse_price_e4(price), parse_size_e2(size)) for price, size in today]
    elif whole_contracts is not None:
        pairs = [(parse_price_e4(price), _contracts(size)) for price, size in whole_contracts]
    elif whole_cents is not None:
        pairs = [(_cents(price), _contracts(size)) for price, size in whole_cents]
    else:
        return {}
    levels = dict(pairs)
    if len(levels) != len(pairs):
        raise MalformedFrame("a price stands twice on one side")
    if any(size_e2 < 0 for size_e2 in levels.values()):
        raise MalformedFrame("a negative size")
    return {price_e4: size_e2 for price_e4, size_e2 in levels.items() if size_e2}


def _decode_trade(content: Raw) -> Decoded:
    wire, unknown = _decode_known(content, _Trade)
    if wire.yes_price_dollars is not None:
        price_e4 = parse_price_e4(wire.yes_price_dollars)
    elif wire.no_price_dollars is not None:
        price_e4 = 10_000 - parse_price_e4(wire.no_price_dollars)
    else:
        price_e4 = _cents(_present(wire.yes_price, "yes_price_dollars"))
    if wire.count_fp is not None:
        count_e2 = parse_size_e2(wire.count_fp)
    else:
        count_e2 = _contracts(_present(wire.count, "count_fp"))
    timestamp_ms = wire.ts_ms
    if timestamp_ms is None:
        seconds = _optional(wire.ts, _Count)
        timestamp_ms = None if seconds is None else bounded_ms(seconds * 1000)
    side: Side | None = wire.taker_outcome_side
    if side is None:
        side = _optional(wire.taker_side, Literal["yes", "no"])
    message = TradeMessage(
        market_ticker=wire.market_ticker,
        trade_id=wire.trade_id,
        taker_side=side,
        price_e4=price_e4,
        count_e2=count_e2,
        is_block_trade=wire.is_block_trade,
        timestamp_ms=timestamp_ms,
    )
    return Decoded(message, unknown)


def _decode_lifecycle(content: Raw) -> Decoded:
    """Never malformed: no book depends on it."""
    try:
        fields = _keys_decoder.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Decoded(LifecycleMessage(None, None, None, bytes(content)))
    event_type = _readable(fields, "event_type", _EventType)
    timestamp_ms = _readable(fields, "ts_ms", _Count)
    if timestamp_ms is None:
        seconds = _readable(fields, _EVENT_TIMES.get(event_type or "", "ts"), _Count)
        timestamp_ms = None if seconds is None else seconds * 1000
    if timestamp_ms is not None and timestamp_ms > TIMESTAMP_MS_MAX:
        timestamp_ms = None
    ticker = _readable(fields, "market_ticker", _Ticker)
    unknown = tuple(name for name in fields if name not in _LIFECYCLE_FIELDS)
    return Decoded(LifecycleMessage(ticker, event_type, timestamp_ms, bytes(content)), unknown)


def _readable(fields: dict[str, Raw], name: str, shape: Any) -> Any:  # noqa: ANN401 - what `shape` says
    """A field, or None when it is missing or not what it should be."""
    try:
        return msgspec.json.decode(fields[name], type=shape)
    except (msgspec.MsgspecError, ValueError, RecursionError, KeyError):
        return None


def canonical_event(content: bytes) -> str | None:
    """
    JSON text in one form, with sorted names, that PostgreSQL's jsonb takes and gives back as it was.

    What jsonb has no place for becomes readable text: NUL characters, halves of surrogate pairs, numbers
    beyond what is exact. None when the text can't be read.
    """
    try:
        value = json.loads(content, parse_int=_event_integer, parse_float=_event_number)
        return json.dumps(_event_value(value, 0), sort_keys=True)
    except (ValueError, RecursionError):
        return None


def _event_value(value: Any, depth: int) -> Any:  # noqa: ANN401 - any JSON
    if depth > _EVENT_DEPTH_MAX:
        return "(too deep)"
    if isinstance(value, str):
        return _event_text(value)
    if isinstance(value, list):
        return [_event_value(member, depth + 1) for member in cast("list[object]", value)]
    if isinstance(value, dict):
        members = cast("dict[str, object]", value).items()
        return {_event_text(name): _event_value(member, depth + 1) for name, member in members}
    return value


def _event_text(text: str) -> str:
    return text.replace("\0", "\\u0000").encode(errors="backslashreplace").decode()


def _event_integer(text: str) -> int | str:
    return int(text) if len(text) <= 18 else text


def _event_number(text: str) -> float | str:
    number = float(text)
    # Outside of it, the number is written in a way that jsonb does not keep. The sum makes -0.0 be 0.0.
    return number + 0.0 if number == 0 or 1e-4 <= abs(number) < 1e15 else text


def _decode_subscribed(content: Raw) -> Decoded:
    wire, unknown = _decode_known(content, _Subscribed)
    return Decoded(SubscribedReply(wire.channel, wire.sid), unknown)


def _decode_error(content: Raw) -> Decoded:
    wire, unknown = _decode_known(content, _Error)
    if isinstance(wire.code, str) and not (wire.code.isascii() and wire.code.isdigit()):
        raise MalformedFrame(f"not an error code: {wire.code[:40]!a}")
    return Decoded(ErrorReply(int(wire.code), _error_text(wire.msg)), unknown)


def _decode_ok(content: Raw) -> Decoded:
    if not bytes(content) or bytes(content).lstrip().startswith(b"["):
        # The answer to `list_subscriptions` is a list, and an update need not say more than that it is done.
        return Decoded(OkReply())
    wire, unknown = _decode_known(content, _Ok)
    return Decoded(OkReply(None if wire.market_tickers is None else frozenset(wire.market_tickers)), unknown)


def _decode_unsubscribed(_content: Raw) -> Decoded:
    return Decoded(UnsubscribedReply())


def _decode_known(content: Raw | str, shape: type[Struct]) -> tuple[Any, tuple[str, ...]]:
    """Decode strictly; when only unknown fields stand in the way, without them, telling their names."""
    try:
        return _STRICT[shape].decode(content), ()
    except msgspec.ValidationError:
        fields = _keys_decoder.decode(content)
        unknown = tuple(name for name in fields if name not in shape.__struct_fields__)
        if not unknown:
            raise
        known = {name: value for name, value in fields.items() if name not in unknown}
        return _STRICT[shape].decode(msgspec.json.encode(known)), unknown


_DECODERS: dict[str, Callable[[Raw], Decoded]] = {
    "orderbook_delta": _decode_delta,
    "orderbook_snapshot": _decode_snapshot,
    "trade": _decode_trade,
    **dict.fromkeys(LIFECYCLE_TYPES, _decode_lifecycle),
    "subscribed": _decode_subscribed,
    "error": _decode_error,
    "ok": _decode_ok,
    "unsubscribed": _decode_unsubscribed,
}


def _parse_optional_ms(text: str | None) -> int | None:
    return None if text is None else parse_rfc3339_ms(text)


def _cents(cents: int) -> int:
    return checked_price_e4(cents * 100)


def _contracts(contracts: int) -> int:
    return checked_size_e2(contracts * 100)


def _present(value: int | None, field: str) -> int:
    if value is None:
        raise MalformedFrame(f"{field} is missing")
    return value


def _error_text(raw: Raw) -> str:
    """The wording of an error, in whatever form it came."""
    try:
        text = msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        text = bytes(raw).decode(errors="replace")
    return _one_line(text)


def _optional(raw: Raw, shape: Any) -> Any:  # noqa: ANN401 - what `shape` says
    """A field that is only looked at where a better one is missing. None when it is missing too."""
    return msgspec.json.decode(raw, type=shape) if bytes(raw) else None


def _one_line(error: Exception | str) -> str:
    return " ".join(str(error).split())[:300]
