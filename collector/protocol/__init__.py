"""
What the exchange says and what we say to it: messages, commands, prices and sizes as integers.

Pure. Does not know PostgreSQL. Reads no clock. Starts no task.

- `_units`: prices and sizes as integers.
- `_messages`: the content of one frame. `_codec`: text to messages. `_times`: times in it.
- `_commands`: what we say, as JSON text.
- `_markets`: markets as REST lists them. `_exchange_records`: its schedule and its status.
"""

from collector.protocol._codec import (
    LIFECYCLE_TYPES,
    Envelope,
    canonical_event,
    decode_envelope,
    decode_message,
    guess_market_ticker,
    guess_sid,
)
from collector.protocol._commands import (
    USE_YES_PRICE,
    encode_add_markets,
    encode_delete_markets,
    encode_get_snapshot,
    encode_subscribe,
    encode_unsubscribe,
)
from collector.protocol._exchange_records import (
    SCHEDULE_PATH,
    STATUS_PATH,
    is_exchange_active,
    maintenance_windows,
)
from collector.protocol._markets import SETTLED_STATUSES, TRADABLE_STATUSES, OpenMarket
from collector.protocol._messages import (
    BOOK_CHANNEL,
    ERROR_COMMAND_TIMEOUT,
    ERROR_MARKET_LIMIT,
    ERROR_TOO_MANY_REQUESTS,
    ERROR_UNKNOWN_SUBSCRIPTION,
    HARMLESS_ERRORS,
    LIFECYCLE_CHANNEL,
    TERMINAL_ERRORS,
    TRADE_CHANNEL,
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
from collector.protocol._times import format_second, parse_rfc3339_ms
from collector.protocol._units import (
    PRICE_E4_MAX,
    Side,
    checked_size_e2,
    format_cents,
    format_contracts,
    format_dollars,
    format_fixed,
    parse_size_e2,
)

__all__ = [
    "BOOK_CHANNEL",
    "ERROR_COMMAND_TIMEOUT",
    "ERROR_MARKET_LIMIT",
    "ERROR_TOO_MANY_REQUESTS",
    "ERROR_UNKNOWN_SUBSCRIPTION",
    "HARMLESS_ERRORS",
    "LIFECYCLE_CHANNEL",
    "LIFECYCLE_TYPES",
    "PRICE_E4_MAX",
    "SCHEDULE_PATH",
    "SETTLED_STATUSES",
    "STATUS_PATH",
    "TERMINAL_ERRORS",
    "TRADABLE_STATUSES",
    "TRADE_CHANNEL",
    "USE_YES_PRICE",
    "DeltaMessage",
    "Envelope",
    "ErrorReply",
    "Levels",
    "LifecycleMessage",
    "Message",
    "OkReply",
    "OpenMarket",
    "OtherMessage",
    "Side",
    "SnapshotMessage",
    "SubscribedReply",
    "TradeMessage",
    "UnsubscribedReply",
    "canonical_event",
    "checked_size_e2",
    "decode_envelope",
    "decode_message",
    "encode_add_markets",
    "encode_delete_markets",
    "encode_get_snapshot",
    "encode_subscribe",
    "encode_unsubscribe",
    "format_cents",
    "format_contracts",
    "format_dollars",
    "format_fixed",
    "format_second",
    "guess_market_ticker",
    "guess_sid",
    "is_exchange_active",
    "maintenance_windows",
    "parse_rfc3339_ms",
    "parse_size_e2",
]
