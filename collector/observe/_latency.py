"""
How old messages are: from the exchange to us, from the socket to the book, from there to the database.

`AgeHistogram` counts ages in buckets of powers of two, which costs little enough for every message.
`AgeTrend` watches one connection: whether its messages get older and older, which says that the exchange, or
the way from there, no longer keeps up with the market. Both are pure; a tick drives them.

An age from the exchange is the difference of two machines' clocks. So it can be negative, which is counted
apart, and when our clock is set all ages move at once: whoever sees that calls `AgeTrend.reset`.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from attrs import define, field

from collector.facts import DeltaFact, FrameBatch, ReceivedFrame, TradeFact

BUCKETS: Final = 42
"""Bucket k counts ages below 2**k µs that are in no bucket before it; the last takes all above 12 days."""
_AGE_US_END: Final = 1 << (BUCKETS - 1)

SLOT_TICKS: Final = 5
SLOTS: Final = 12
"""Whole slots that count as recent, beside the one that is being filled: the last minute."""

WINDOW_S: Final = 10.0
GROWING_WINDOWS: Final = 4
"""By chance a steady flow grows so often in a row once in a while; with the second below it does not."""
BEHIND_US_MAX: Final = 1_000_000
"""More than the network's moods; less than anybody would trade on."""
QUIET_WINDOWS_MAX: Final = 6
"""A connection that is behind has messages on their way: a minute without any says that there are none."""
AHEAD_US_MAX: Final = 1_000_000

TrendChange = Literal["began", "ended"]


def _no_counts() -> list[int]:
    return [0] * BUCKETS


def _no_slots() -> deque[list[int]]:
    return deque(_no_counts() for _ in range(SLOTS))


@define(eq=False)
class AgeHistogram:
    """
    Ages in microseconds, over all time and over the last minute.

    `ahead` counts ages below zero, which are in no bucket and not in `sum_us`.
    """

    ahead: int = 0
    sum_us: int = 0
    _now: list[int] = field(factory=_no_counts, init=False, repr=False)
    _before: list[int] = field(factory=_no_counts, init=False, repr=False)
    _slots: deque[list[int]] = field(factory=_no_slots, init=False, repr=False)
    _recent: list[int] = field(factory=_no_counts, init=False, repr=False)

    def note(self, ages_us: Iterable[int]) -> None:
        """Count ages. On the hot path, hence a loop without calls."""
        slot = self._now
        sum_us = 0
        for age_us in ages_us:
            if 0 <= age_us < _AGE_US_END:
                slot[age_us.bit_length()] += 1
                sum_us += age_us
            elif age_us < 0:
                self.ahead += 1
            else:
                slot[-1] += 1
                sum_us += _AGE_US_END
        self.sum_us += sum_us

    def rotate(self) -> None:
        """Begin a new slot, and let the oldest of the recent ones become the past."""
        oldest = self._slots.popleft()
        for bucket, count in enumerate(self._now):
            self._before[bucket] += count
            self._recent[bucket] += count - oldest[bucket]
        self._slots.append(self._now)
        self._now = _no_counts()

    def add(self, other: "AgeHistogram") -> None:
        """Take over what another one has counted; its last minute becomes past here."""
        self.ahead += other.ahead
        self.sum_us += other.sum_us
        for bucket, count in enumerate(other.all()):
            self._before[bucket] += count

    def all(self) -> list[int]:
        """Counts by bucket since the beginning."""
        return [before + now for before, now in zip(self._before, self._now, strict=True)]

    def recent(self) -> list[int]:
        """Counts by bucket of the last minute."""
        return [recent + now for recent, now in zip(self._recent, self._now, strict=True)]


@define(eq=False)
class MessageAges:
    """
    The latencies of a session's messages.

    `exchange_to_send` and `send_to_receive` are the two parts of `exchange_to_receive`, for frames that say
    when the exchange sent them.
    """

    exchange_to_receive: AgeHistogram = field(factory=AgeHistogram)
    exchange_to_send: AgeHistogram = field(factory=AgeHistogram)
    send_to_receive: AgeHistogram = field(factory=AgeHistogram)
    receive_to_book: AgeHistogram = field(factory=AgeHistogram)
    receive_to_commit: AgeHistogram = field(factory=AgeHistogram)

    @property
    def by_name(self) -> dict[str, AgeHistogram]:
        """The histograms under the names that readers know."""
        return {
            "exchange_to_receive": self.exchange_to_receive,
            "exchange_to_send": self.exchange_to_send,
            "send_to_receive": self.send_to_receive,
            "receive_to_book": self.receive_to_book,
            "receive_to_commit": self.receive_to_commit,
        }

    def note_folded(self, batch: FrameBatch, now_us: int) -> int | None:
        """Count a batch that has just been folded, and tell the least age from the exchange."""
        self.receive_to_book.note([now_us - frame.received_us for frame in batch.frames])
        ages_us: list[int] = []
        to_send_us: list[int] = []
        to_receive_us: list[int] = []
        for fact in batch.facts:
            if isinstance(fact, DeltaFact | TradeFact) and fact.timestamp_ms is not None:
                ages_us.append(fact.received_us - fact.timestamp_ms * 1000)
                if fact.sending_ts_ms is not None:
                    to_send_us.append((fact.sending_ts_ms - fact.timestamp_ms) * 1000)
                    to_receive_us.append(fact.received_us - fact.sending_ts_ms * 1000)
        self.exchange_to_receive.note(ages_us)
        self.exchange_to_send.note(to_send_us)
        self.send_to_receive.note(to_receive_us)
        return min(ages_us, default=None)

    def note_committed(self, frames: Sequence[ReceivedFrame], now_us: int) -> None:
        """Count frames that are in the database now."""
        self.receive_to_commit.note([now_us - frame.received_us for frame in frames])

    def rotate(self) -> None:
        """Begin new slots."""
        for histogram in self.by_name.values():
            histogram.rotate()

    def add(self, other: "MessageAges") -> None:
        """Take over what another session has counted."""
        for mine, others in zip(self.by_name.values(), other.by_name.values(), strict=True):
            mine.add(others)


def sum_counts(rows: Iterable[list[int]]) -> list[int]:
    """The sum of counts, bucket by bucket."""
    total = _no_counts()
    for row in rows:
        for bucket, count in enumerate(row):
            total[bucket] += count
    return total


def quantile_us(counts: list[int], share: float) -> float | None:
    """
    The age that this share of messages stays below; None without messages.

    Inside a bucket ages are taken as evenly spread, so the answer is off by less than the bucket is wide.
    """
    wanted = sum(counts) * share
    passed = 0
    for bucket, count in enumerate(counts):
        if count and passed + count >= wanted:
            low_us = (1 << bucket) >> 1
            return low_us + ((1 << bucket) - low_us) * (wanted - passed) / count
        passed += count
    return None


@define(eq=False)
class AgeTrend:
    """
    Whether the messages of one connection get older.

    Of each window only the least age counts: what is behind is behind with every message, while a single late
    one says nothing. A window without messages says nothing either.
    """

    is_alarming: bool = False
    age_us: int | None = None
    """The least age of the newest window that had messages."""
    best_us: int | None = None
    _least_us: int | None = field(default=None, init=False)
    _growing: int = field(default=0, init=False)
    _quiet: int = field(default=0, init=False)
    _window_ends_s: float | None = field(default=None, init=False)
    # The window after the clock was set: what was stamped before and folded after has ages by the old time.
    _is_mixed: bool = field(default=False, init=False)

    @property
    def ahead_us(self) -> int:
        """By how much the exchange's times are ahead of our clock; 0 when they are not, or hardly."""
        return -self.age_us if self.age_us is not None and self.age_us < -AHEAD_US_MAX else 0

    def note(self, least_us: int | None) -> None:
        """Take the least age of a batch."""
        if least_us is not None and (self._least_us is None or least_us < self._least_us):
            self._least_us = least_us

    def tick(self, now_s: float) -> TrendChange | None:
        """Close the window when it is over, by a clock that is never set, and tell what that changed."""
        if self._window_ends_s is None:
            self._window_ends_s = now_s + WINDOW_S
        if now_s < self._window_ends_s:
            return None
        self._window_ends_s = now_s + WINDOW_S
        was_alarming = self.is_alarming
        least_us, self._least_us = self._least_us, None
        if self._is_mixed:
            self._is_mixed = False
        elif least_us is None:
            self._note_quiet()
        else:
            self._note_window(least_us)
        if was_alarming == self.is_alarming:
            return None
        return "began" if self.is_alarming else "ended"

    def reset(self) -> None:
        """Forget everything: our clock has been set, and ages before and after can't be compared."""
        self.is_alarming = False
        self.age_us = self.best_us = self._least_us = None
        self._growing = self._quiet = 0
        self._window_ends_s = None
        self._is_mixed = True

    def _note_quiet(self) -> None:
        self._quiet += 1
        if self._quiet >= QUIET_WINDOWS_MAX:
            self.is_alarming = False
            self._growing = 0

    def _note_window(self, least_us: int) -> None:
        self._quiet = 0
        self._growing = self._growing + 1 if self.age_us is not None and least_us > self.age_us else 0
        self.age_us = least_us
        self.best_us = least_us if self.best_us is None else min(self.best_us, least_us)
        if least_us - self.best_us < BEHIND_US_MAX:
            self.is_alarming = False
        elif self._growing >= GROWING_WINDOWS:
            self.is_alarming = True
