"""
One channel of one connection: its `sid`, its numbers, its markets, and how its frames are written.

Pure. Whoever takes a number sends the frame at once: numbers leave in their order.
"""

from collections.abc import Mapping

import attrs
import msgspec

BOOK_CHANNEL = "orderbook_delta"
TRADE_CHANNEL = "trade"
TICKER_CHANNEL = "ticker"
LIFECYCLE_CHANNEL = "market_lifecycle_v2"

# Which channel carries a message type; a type that is not here is carried by the channel of its own name.
CHANNEL_OF_KIND = {
    "orderbook_snapshot": BOOK_CHANNEL,
    "event_lifecycle": LIFECYCLE_CHANNEL,
    "event_fee_update": LIFECYCLE_CHANNEL,
}

# Messages of these channels carry no number.
UNNUMBERED_CHANNELS = frozenset({TICKER_CHANNEL})


class _Snapshot(msgspec.Struct):
    market_ticker: str = ""
    clock: int | None = None


_snapshot_decoder = msgspec.json.Decoder(_Snapshot)


@attrs.define(eq=False)
class Subscription:
    """Invariant: `seq` is the number of the last numbered frame, 0 before the first."""

    sid: int
    channel: str
    # None is every market; the order is the order of subscribing.
    tickers: dict[str, None] | None
    skip_ticker_ack: bool = False
    use_yes_price: bool = False
    seq: int = 0
    data_count: int = 0
    # A muted subscription counts on, but nothing of it is sent any more.
    muted: bool = False
    # A frame that a fault holds back until the next one has gone.
    held: bytes | None = None
    # The clock in the newest snapshot of each market.
    snapshot_clocks: dict[str, int] = attrs.Factory(dict[str, int])
    _heads: dict[str, bytes] = attrs.Factory(dict[str, bytes])

    def data_frame(self, kind: str, msg: bytes) -> bytes:
        """Number one data message and write its frame around the bytes of `msg`."""
        self._count_data(kind, msg)
        head = self._heads.get(kind)
        if head is None:
            head = self._heads[kind] = b'{"type":"%b","sid":%d' % (kind.encode(), self.sid)
        if self.channel in UNNUMBERED_CHANNELS:
            return b'%b,"msg":%b}\n' % (head, msg)
        self.seq += 1
        return b'%b,"seq":%d,"msg":%b}\n' % (head, self.seq, msg)

    def requested_frame(self, kind: str, command_id: int | None, msg: bytes) -> bytes:
        """Number a snapshot that a command asked for; it carries the command's id."""
        if command_id is None:
            return self.data_frame(kind, msg)
        self._count_data(kind, msg)
        self.seq += 1
        return b'{"type":"%b","id":%d,"sid":%d,"seq":%d,"msg":%b}\n' % (
            kind.encode(),
            command_id,
            self.sid,
            self.seq,
            msg,
        )

    def _count_data(self, kind: str, msg: bytes) -> None:
        self.data_count += 1
        if kind == "orderbook_snapshot":
            snapshot = _snapshot_decoder.decode(msg)
            if snapshot.clock is not None:
                self.snapshot_clocks[snapshot.market_ticker] = snapshot.clock

    def ok_frame(self, command_id: int | None) -> bytes:
        """Number and write the answer to a change, with the full market set unless that was declined."""
        self.seq += 1
        listed = self.tickers is not None and not self.skip_ticker_ack
        msg = {"market_tickers": list(self.tickers or ())} if listed else {}
        reply = {"sid": self.sid, "seq": self.seq, "type": "ok", "msg": msg}
        return write_reply(command_id, reply)

    def unsubscribed_frame(self, command_id: int | None) -> bytes:
        """Number and write the subscription's last frame."""
        self.seq += 1
        return write_reply(command_id, {"sid": self.sid, "seq": self.seq, "type": "unsubscribed"})

    def error_frame(self, code: int) -> bytes:
        """Number and write an error that belongs to the subscription and not to a command."""
        self.seq += 1
        msg = {"code": code, "msg": ERROR_TEXTS.get(code, "Unknown error")}
        return write_reply(None, {"sid": self.sid, "seq": self.seq, "type": "error", "msg": msg})


def with_sending_time(frame: bytes, sending_ms: int) -> bytes:
    """Add the time at which a frame is sent to its envelope, as the last member."""
    return b'%b,"sending_ts_ms":%d}\n' % (frame[:-2], sending_ms)


def write_reply(command_id: int | None, reply: Mapping[str, object]) -> bytes:
    """Write a reply with the id of its command in front, if it had one."""
    whole = reply if command_id is None else {"id": command_id, **reply}
    return msgspec.json.encode(whole) + b"\n"


ERROR_TEXTS = {
    1: "Unable to process message",
    2: "Params required",
    3: "Channels required",
    4: "Subscription IDs required",
    5: "Unknown command",
    7: "Unknown subscription ID",
    8: "Unknown channel name",
    9: "Authentication required",
    10: "Channel error",
    11: "Invalid parameter",
    12: "Exactly one subscription ID is required",
    13: "Unsupported action",
    14: "Market Ticker required",
    15: "Action required",
    18: "Command timeout",
    24: "Index IDs required",
    25: "Subscription buffer overflow",
    26: "Subscription market limit exceeded",
    27: "Too many requests",
    28: "Underlying tickers required",
}
