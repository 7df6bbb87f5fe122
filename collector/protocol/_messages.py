"""
What one frame says, as values.

Only what a recorder needs is here; a frame's other fields stay in its raw text, which is kept verbatim.
Shapes and error codes are those of the exchange's AsyncAPI document and of recorded frames.
"""

from typing import Final, TypeAlias

from attrs import frozen
from msgspec import Struct

from collector.protocol._units import Side

BOOK_CHANNEL: Final = "orderbook_delta"
TRADE_CHANNEL: Final = "trade"
LIFECYCLE_CHANNEL: Final = "market_lifecycle_v2"

ERROR_UNKNOWN_SUBSCRIPTION: Final = 7
ERROR_COMMAND_TIMEOUT: Final = 18
ERROR_MARKET_LIMIT: Final = 26
ERROR_TOO_MANY_REQUESTS: Final = 27
HARMLESS_ERRORS: Final = frozenset(
    {1, 2, 3, 4, 5, 8, 11, 12, 13, 14, 15, 18, 19, 20, 21, 22, 23, 24, 26, 27, 28}
)
"""
Errors that refuse a command and leave subscriptions as they were (AsyncAPI document, error codes). Not among
them: 7 (the exchange does not know the subscription), 9 (authentication), 17 (was terminal until August
2026), and codes that are not documented.
"""
TERMINAL_ERRORS: Final = frozenset({10, 25})
"""
Errors after which a subscription has ended while its connection stays open: channel error, buffer overflow.
"""

Levels: TypeAlias = dict[int, int]
"""One side of a book: price_e4 to size_e2."""


class SnapshotMessage(Struct, frozen=True):
    """
    A full book. A side that was left out on the wire is an empty side.

    `clock` is the exchange's clock of the newest change that the book includes, 0 where the market has had
    none. None in frames before October 2026.
    """

    market_ticker: str
    yes_bids: Levels
    no_bids: Levels
    clock: int | None = None


class DeltaMessage(Struct, frozen=True):
    """
    A signed change of what rests at one price. `timestamp_ms` is None when the exchange sent no time.

    `clock` is the exchange's clock of the action that made the change. Changes of one action share it, and
    every connection sends the same clock for the same change. None in frames before October 2026.
    """

    market_ticker: str
    side: Side
    price_e4: int
    delta_e2: int
    timestamp_ms: int | None
    clock: int | None = None


class TradeMessage(Struct, frozen=True):
    """One trade; the price is that of YES. Block trades never touched the book."""

    market_ticker: str
    trade_id: str
    taker_side: Side | None
    price_e4: int
    count_e2: int
    is_block_trade: bool | None
    timestamp_ms: int | None


@frozen
class LifecycleMessage:
    """
    Something happened to a market or an event as a whole. The channel tells of all markets there are.

    What could not be read is None: nothing in here is worth a reject. `content` is the message as JSON.
    """

    market_ticker: str | None
    event_type: str | None
    timestamp_ms: int | None
    content: bytes


@frozen
class SubscribedReply:
    """A channel of a subscribe command is on. Never numbered; data of its sid may come before it."""

    channel: str
    sid: int


@frozen
class ErrorReply:
    """The exchange could not do as it was told, or a subscription has ended."""

    code: int
    text: str


@frozen
class OkReply:
    """
    An update of a subscription is done.

    `market_tickers` is the whole set of markets after it, None where the exchange was asked to leave it out.
    """

    market_tickers: frozenset[str] | None = None


@frozen
class UnsubscribedReply:
    """A subscription is over, at our wish."""


@frozen
class OtherMessage:
    """A type that this program keeps verbatim and counts, and knows nothing more of."""


Message: TypeAlias = (
    SnapshotMessage
    | DeltaMessage
    | TradeMessage
    | LifecycleMessage
    | SubscribedReply
    | ErrorReply
    | OkReply
    | UnsubscribedReply
    | OtherMessage
)
