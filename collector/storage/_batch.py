"""What is stored of a session: how it opened, its batches, and how it ended."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Final
from uuid import UUID

from attrs import field, frozen

from collector.facts import Fact, FrameCounts, LastExact, ReceivedFrame, StreamNote
from collector.storage._kinds import RowKind, rows_by_kind

DAY_US: Final = 86_400_000_000


@frozen
class SessionOpening:
    """What is known of a session when its connection is open."""

    key: UUID
    recorder_key: int
    market_tickers: tuple[str, ...]
    ws_url: str
    environment: str
    code_version: str
    decoder_version: int
    sample_rate: int
    use_yes_price: bool
    started_us: int
    last_exact: tuple[LastExact, ...] = ()
    """The last exact books of earlier sessions: see `collector.facts`."""


@frozen
class SessionEnding:
    """
    How a session ended. `last_frame` is the number of its last frame; None where another process ended it and
    can't know.
    """

    ended_us: int
    status: str
    reason: str
    close_code: int | None
    last_frame: int | None = None


@frozen
class Batch:
    """
    A run of a session's stream and the facts that become rows, written in one transaction.

    `facts` may be empty, and so may `frames` at the end of a session. `notes` are those around its frames.
    `formed_us` is when it was formed, by the recorder's clock.
    """

    number: int
    frames: Sequence[ReceivedFrame]
    facts: Sequence[Fact]
    counts: FrameCounts
    next_frame: int
    """The number that the first frame of the next batch will have."""
    formed_us: int = field(kw_only=True)
    notes: Sequence[StreamNote] = ()

    @property
    def first_frame(self) -> int:
        """The number of its first frame; that of the next batch's when it has none."""
        return self.next_frame - len(self.frames)

    @property
    def last_frame(self) -> int:
        """The number of its last frame; one less than `first_frame` when it has none."""
        return self.next_frame - 1

    @property
    def received_us(self) -> tuple[int, int] | tuple[None, None]:
        """When its first and its last frame were received; None without frames."""
        return (self.frames[0].received_us, self.frames[-1].received_us) if self.frames else (None, None)

    @cached_property
    def rows(self) -> dict[RowKind, list[Fact]]:
        """Its facts by the kind of row that they become; every kind is there."""
        return rows_by_kind(self.facts)

    @property
    def days(self) -> set[int]:
        """Days since 1970 UTC of its frames and notes, and of the deltas that are summed into its rows."""
        times_us = {frame.received_us for frame in self.frames} | {note.noted_us for note in self.notes}
        for kind, facts in self.rows.items():
            if kind.is_partitioned:
                times_us.update(map(attrgetter(kind.time_column), facts))
        return {time_us // DAY_US for time_us in times_us}


def numbered_markets(rows: Mapping[RowKind, Sequence[Fact]]) -> set[str]:
    """The tickers of markets that rows name by number."""
    tickers: set[str] = set()
    for kind, facts in rows.items():
        if kind.market_attribute is not None:
            tickers.update(map(attrgetter(kind.market_attribute), facts))
    return tickers
