"""
What a frame means for the recording: the facts that become rows, statistics and the live stream.

Receive times are microseconds since 1970 UTC by the recorder's clock, frame numbers count a session's text
frames from 1.
"""

from collections.abc import Sequence
from operator import add
from typing import Final, Literal, TypeAlias
from uuid import UUID

from attrs import field, fields, frozen
from msgspec import Struct

from collector.facts._causes import Cause
from collector.facts._stream import ConnectionEvent, StreamNote
from collector.protocol import Levels, Message, Side

Action = Literal["add", "update", "remove"]
Origin = Literal["initial", "requested", "unsolicited", "checkpoint"]


class ReceivedFrame(Struct, frozen=True):
    """One text frame, stamped before anything else happened to it."""

    number: int
    received_us: int
    text: str


class DeltaFact(Struct, frozen=True):
    """
    A level has changed. Sizes before and after are those of the book as this recorder folds it.

    `clock` is the exchange's (None where the frame has none), `sending_ts_ms` when the exchange sent the
    frame.
    """

    market_ticker: str
    sequence_number: int
    timestamp_ms: int | None
    received_us: int
    side: Side
    price_e4: int
    delta_e2: int
    old_size_e2: int
    sid: int
    clock: int | None = None
    sending_ts_ms: int | None = None

    @property
    def new_size_e2(self) -> int:
        """The size after the change."""
        return self.old_size_e2 + self.delta_e2

    @property
    def is_yes(self) -> bool:
        """Whether the level is a bid on YES."""
        return self.side == "yes"

    @property
    def action(self) -> Action:
        """What became of the level."""
        if self.new_size_e2 == 0:
            return "remove"
        return "add" if self.old_size_e2 == 0 else "update"


@frozen
class SnapshotFact:
    """
    A market's book has been replaced as a whole, or written out as it is (origin `checkpoint`).

    `clock` is that of the newest change in the book, None where the exchange sent none. A checkpoint has the
    number, the `sid` and the clock of the market's last snapshot or delta, and the frame that made it due.
    """

    market_ticker: str
    sequence_number: int
    received_us: int
    origin: Origin
    yes_bids: Levels
    no_bids: Levels
    digest: bytes
    sid: int = field(kw_only=True)
    frame_number: int = field(kw_only=True)
    clock: int | None = field(default=None, kw_only=True)


class TradeFact(Struct, frozen=True):
    """A trade took place."""

    market_ticker: str
    sequence_number: int | None
    timestamp_ms: int | None
    received_us: int
    trade_id: str
    taker_side: Side | None
    price_e4: int
    count_e2: int
    is_block_trade: bool | None
    sid: int | None
    sending_ts_ms: int | None = None

    @property
    def is_taker_yes(self) -> bool | None:
        """Whether the taker bought YES; None where the exchange has not said which side the taker was on."""
        return None if self.taker_side is None else self.taker_side == "yes"


@frozen
class EventFact:
    """
    Something happened to a market as a whole: it was opened, determined, settled.

    `event` is the message as JSON text, in the one form that PostgreSQL's jsonb gives back as it was.
    """

    market_ticker: str
    sequence_number: int | None
    timestamp_ms: int | None
    received_us: int
    event_type: str
    event: str
    sid: int | None = field(kw_only=True)


@frozen
class ConnectionEventFact:
    """
    Something happened to the connection, or to the database, after a frame. `step_us` is the size of a clock
    step, `detail` what there is to say of the database.
    """

    after_frame: int
    received_us: int
    event_type: ConnectionEvent
    step_us: int | None
    detail: str | None = None


@frozen
class GapFact:
    """
    Something is missing, and books are unknown from here on.

    The numbers from `expected` up to but without `received` have no effect in the rows; `received` is None
    when the subscription ended, and equal to `expected` when no number is missing but the content can't be
    trusted. `market_ticker` is None when all books of the `sid` are concerned, `channel` when it was never
    said.
    """

    sid: int
    expected: int
    received: int | None
    detected_us: int
    frame_number: int
    cause: Cause
    market_ticker: str | None = None
    channel: str | None = None


@frozen
class BookStateFact:
    """
    From the end of a frame on, a market's book is exact (`cause` is None) or unknown.

    It holds until the next such fact of the market in the session. There is one whenever a book becomes exact
    or unknown, when a market joins or leaves the subscription, and with every snapshot from the exchange. So
    a reader who lacks earlier facts learns the state of a book with its next snapshot at the latest.
    """

    market_ticker: str
    frame_number: int
    received_us: int
    cause: Cause | None


@frozen
class ProvenEmptyFact:
    """
    Nothing happened to a market while its book was unknown, from `from_us` until its snapshot in the frame.

    The book was exact up to the frame `earlier_frame` of the session `earlier_key`, which may be this session
    itself. See `_interruptions`.
    """

    market_ticker: str
    frame_number: int
    received_us: int
    from_us: int
    earlier_key: UUID
    earlier_frame: int


@frozen
class TrackerStateFact:
    """The state of the tracker after a frame, the first one of a segment: see `StreamFold`."""

    frame_number: int
    received_us: int
    state: bytes


@frozen
class AuditFact:
    """
    A book that was exact has been compared with the exchange's own, at the same place in the sequence.

    `first_difference` is None when they are equal, else the first level that is not: `yes 4500: book 1000,
    exchange 1200`.
    """

    market_ticker: str
    sequence_number: int
    received_us: int
    is_match: bool
    first_difference: str | None
    sid: int = field(kw_only=True)


@frozen
class RejectFact:
    """A frame could not be understood. It is kept verbatim."""

    frame_number: int
    received_us: int
    reason: str
    text: str

    @property
    def frame(self) -> bytes:
        """The text in UTF-8."""
        return self.text.encode()


@frozen
class ReplyFact:
    """The exchange answered a command, or spoke of a subscription."""

    sid: int | None
    command_id: int | None
    message: Message


Fact: TypeAlias = (
    DeltaFact
    | SnapshotFact
    | TradeFact
    | EventFact
    | ConnectionEventFact
    | GapFact
    | BookStateFact
    | ProvenEmptyFact
    | TrackerStateFact
    | AuditFact
    | RejectFact
    | ReplyFact
)


@frozen
class FrameCounts:
    """
    Number of frames by kind. Every frame is in exactly one of the counts.

    The names are also those of the columns in `rl_write_ledger` and `rl_orderbook_sessions`, and of the keys
    in every JSON: see FRAME_COUNTS.
    """

    deltas: int = 0
    snapshots: int = 0
    trades: int = 0
    controls: int = 0
    stales: int = 0
    rejects: int = 0

    @classmethod
    def of_kinds(cls, kinds: Sequence[str]) -> "FrameCounts":
        """The counts of frames of these kinds, each named as in FRAME_COUNTS."""
        return cls(*map(kinds.count, FRAME_COUNTS))

    @property
    def total(self) -> int:
        """Number of all frames."""
        return sum(self.values())

    def values(self) -> tuple[int, ...]:
        """The counts in the order of FRAME_COUNTS."""
        return tuple(getattr(self, name) for name in FRAME_COUNTS)

    def __add__(self, other: "FrameCounts") -> "FrameCounts":
        return FrameCounts(*map(add, self.values(), other.values()))


FRAME_COUNTS: Final[tuple[str, ...]] = tuple(count.name for count in fields(FrameCounts))
"""Names of the counts of frames."""


@frozen
class FrameBatch:
    """
    A run of a session's stream without a hole, what it means, in order, and the number of frames by kind.
    """

    frames: tuple[ReceivedFrame, ...]
    facts: tuple[Fact, ...]
    counts: FrameCounts
    notes: tuple[StreamNote, ...] = ()
