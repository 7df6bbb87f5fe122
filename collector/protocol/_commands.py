"""
What we say to the exchange: commands as JSON text.

`use_yes_price` is always sent, because its default is announced to change, and `skip_ticker_ack` too, because
an acknowledgement that lists all markets can be megabytes long. Where markets come and go within a session,
the lists are wanted: they put into the recording what the subscription covers.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from collector.protocol._messages import BOOK_CHANNEL, LIFECYCLE_CHANNEL

USE_YES_PRICE = False
"""NO-side prices stay on the NO scale; recorded with each session."""


def encode_subscribe(
    command_id: int, channel: str, tickers: Sequence[str], *, is_listing: bool = False
) -> str:
    """
    Subscribe one channel for some markets. One channel a command, so that each has a reply of its own.

    The lifecycle takes no list of markets: it tells of all. With `is_listing`, every `ok` of this
    subscription lists its markets.
    """
    params: dict[str, Any] = {"channels": [channel], "skip_ticker_ack": not is_listing}
    if channel != LIFECYCLE_CHANNEL:
        params["market_tickers"] = list(tickers)
    if channel == BOOK_CHANNEL:
        params["use_yes_price"] = USE_YES_PRICE
    return _encode(command_id, "subscribe", params)


def encode_get_snapshot(command_id: int, sid: int, tickers: Sequence[str]) -> str:
    """Ask for books in the sequence of a subscription, which goes on undisturbed."""
    params = {"sids": [sid], "market_tickers": list(tickers), "action": "get_snapshot"}
    return _encode(command_id, "update_subscription", params)


def encode_add_markets(command_id: int, sid: int, tickers: Sequence[str]) -> str:
    """Add markets to a subscription. Its `ok` is numbered, also when they were in it before."""
    params = {"sids": [sid], "market_tickers": list(tickers), "action": "add_markets"}
    return _encode(command_id, "update_subscription", params)


def encode_delete_markets(command_id: int, sid: int, tickers: Sequence[str]) -> str:
    """Take markets out of a subscription."""
    params = {"sids": [sid], "market_tickers": list(tickers), "action": "delete_markets"}
    return _encode(command_id, "update_subscription", params)


def encode_unsubscribe(command_id: int, sids: Sequence[int]) -> str:
    """End subscriptions. The replies come behind the last data, and so prove that all of it is here."""
    return _encode(command_id, "unsubscribe", {"sids": list(sids)})


def _encode(command_id: int, command: str, params: dict[str, Any]) -> str:
    return msgspec.json.encode({"id": command_id, "cmd": command, "params": params}).decode()
