"""Why a book is not exact."""

from enum import StrEnum
from typing import Final


class Cause(StrEnum):
    """
    Why a book is not known to be the exchange's own. The value is what tables, JSON and logs hold.

    Causes of gaps become rows of `rl_orderbook_gaps`; the last four are states of a book without a gap.
    """

    SEQUENCE = "sequence"
    """Sequence numbers are missing."""
    REJECT = "reject"
    """A frame about a book was not understood."""
    NEGATIVE_LEVEL = "negative_level"
    """A delta took a level below zero."""
    AUDIT_MISMATCH = "audit_mismatch"
    """An audit found a difference."""
    AFTER_END = "after_end"
    """A snapshot or delta arrived on a subscription that had ended."""
    OTHER_SUBSCRIPTION = "other_subscription"
    """
    A snapshot or delta arrived on another subscription than that of the books, or something else on that one.
    """
    UNKNOWN_TYPE = "unknown_type"
    """A frame of unknown type arrived on the subscription of the books."""
    UNKNOWN_ERROR = "unknown_error"
    """An error that is not known to be harmless names the subscription of the books."""
    UNKNOWN_MARKET = "unknown_market"
    """A delta arrived of a market that is not in the subscription."""
    SEQUENCE_CONFLICT = "sequence_conflict"
    """A sequence number was used again for another frame."""
    CLOCK_CONFLICT = "clock_conflict"
    """The exchange's clock of a delta is lower than that of the book, or not above that of its snapshot."""
    CHANNEL_ERROR = "channel_error"
    """The exchange ended the subscription with error 10."""
    BUFFER_OVERFLOW = "buffer_overflow"
    """The exchange ended the subscription with error 25."""
    UNSUBSCRIBED = "unsubscribed"
    """The exchange ended the subscription without a command of ours."""
    UNFOLLOWED = "unfollowed"
    """The market was taken out of the subscription: no further change of its book is reported."""
    STORE_LOST = "store_lost"
    """The database lacks batches of the session that can't be written to it, by the recorder's knowledge."""
    NO_SNAPSHOT_YET = "no_snapshot_yet"
    """The session has not received a snapshot of the market."""
    SESSION_ENDED = "session_ended"
    """The connection of the session is closed."""
    NOT_RECORDED_YET = "not_recorded_yet"
    """The instant is after the last message of a session that has not ended."""
    LEDGER_HOLE = "ledger_hole"
    """The database lacks batches of the session, by its own ledger."""


ENDING_CAUSE_BY_ERROR: Final = {10: Cause.CHANNEL_ERROR, 25: Cause.BUFFER_OVERFLOW}
"""The cause for each of the protocol's TERMINAL_ERRORS."""
