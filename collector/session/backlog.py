"""
What waits to be written: the bounded queue between the book task and the writer of a session.

Not a memory channel, because a batch is "all that waits, once so many rows wait or so long has passed", and
because the bound that matters is in frames. Putting never waits: when the bound is reached, `put` still takes
what it is given and then says so, and the session has to stop receiving. Nothing is ever thrown away here.
"""

from collections.abc import Sequence
from typing import Final

import trio
from attrs import define, field

from collector.errors import FeedLost
from collector.protocol.facts import (
    DeltaFact,
    Fact,
    FrameBatch,
    FrameCounts,
    ReceivedFrame,
    SnapshotFact,
    TradeFact,
)
from collector.store.batch import Batch, SessionEnding

FRAMES_MAX: Final = 200_000
"""Under a kilobyte a frame with all that belongs to it: at the most some 200 MB wait in memory."""
BATCH_FRAMES_MAX: Final = 4_000
"""A batch's rows are packed and its frames compressed in two steps of under 10 ms."""


class BacklogFull(FeedLost):
    """The database takes less than the exchange sends, or nothing: receiving has to stop."""


@define(eq=False)
class Backlog:
    """
    Frames and facts of one session, in order, until the writer has them in the database.

    One task puts, one takes. What `take` gave is still the backlog's until `confirm`: asked again, it gives
    the same batch. So neither a cancellation nor a lost connection can lose one.
    """

    batch_rows: int
    flush_interval_s: float
    ending: SessionEnding | None = None
    _pieces: list[tuple[Sequence[ReceivedFrame], Sequence[Fact], FrameCounts]] = field(
        factory=list, init=False
    )
    _frames: int = field(default=0, init=False)
    _rows: int = field(default=0, init=False)
    _first_put_s: float = field(default=0.0, init=False)
    _batches: int = field(default=0, init=False)
    _next_frame: int = field(default=1, init=False)
    _flush_asked: bool = field(default=False, init=False)
    _taken: Batch | None = field(default=None, init=False)
    _changed: trio.Event = field(factory=trio.Event, init=False)
    _written: trio.Event = field(factory=trio.Event, init=False)

    @property
    def waiting_frames(self) -> int:
        """Frames that are not confirmed yet."""
        return self._frames + (0 if self._taken is None else len(self._taken.frames))

    def put(self, batch: FrameBatch, rows: Sequence[Fact]) -> None:
        """
        Add received frames and the facts of them that become rows.

        Raises BacklogFull when too much waits. The batch is in all the same.
        """
        assert self.ending is None, "nothing comes after the end"
        if not self._pieces:
            self._first_put_s = trio.current_time()
        self._pieces.append((batch.frames, rows, batch.counts))
        self._frames += len(batch.frames)
        self._rows += sum(isinstance(fact, DeltaFact | SnapshotFact | TradeFact) for fact in rows)
        # The writer has to be woken for the first piece, to start its clock, and when a batch is full.
        if len(self._pieces) == 1 or self._rows >= self.batch_rows:
            self._changed.set()
        if self.waiting_frames > FRAMES_MAX:
            raise BacklogFull(f"more than {FRAMES_MAX} frames wait for the database")

    async def flush(self) -> None:
        """Make what waits now a batch, whatever its size, and wait until nothing waits any more."""
        while self._pieces or self._taken is not None:
            self._flush_asked = bool(self._pieces)
            self._changed.set()
            await self._written.wait()

    def close(self, ending: SessionEnding, last_rows: Sequence[Fact] = ()) -> None:
        """Nothing comes any more. The first ending counts."""
        if self.ending is None:
            self.ending = ending
            if last_rows:
                self._pieces.append(((), last_rows, FrameCounts()))
            self._changed.set()

    async def take(self) -> Batch | None:
        """Wait until a batch is due and hand it out; None after the last one."""
        if self._taken is not None:
            return self._taken
        while not self._is_due():
            self._changed = trio.Event()
            wait_s = float("inf")
            if self._pieces:
                wait_s = self._first_put_s + self.flush_interval_s - trio.current_time()
            with trio.move_on_after(max(0.0, wait_s)):
                await self._changed.wait()
        if self._pieces:
            self._taken = self._cut()
        return self._taken

    def confirm(self) -> None:
        """The batch that was taken is in the database."""
        self._taken = None
        self._written.set()
        self._written = trio.Event()

    def _is_due(self) -> bool:
        if self.ending is not None:
            return True
        if not self._pieces:
            return False
        waited_s = trio.current_time() - self._first_put_s
        return self._flush_asked or self._rows >= self.batch_rows or waited_s >= self.flush_interval_s

    def _cut(self) -> Batch:
        frames: list[ReceivedFrame] = []
        facts: list[Fact] = []
        counts = FrameCounts()
        taken = 0
        for piece_frames, piece_facts, piece_counts in self._pieces:
            if taken and len(frames) + len(piece_frames) > BATCH_FRAMES_MAX:
                break
            frames.extend(piece_frames)
            facts.extend(piece_facts)
            counts = counts + piece_counts
            taken += 1
        del self._pieces[:taken]
        self._flush_asked = self._flush_asked and bool(self._pieces)
        self._frames -= len(frames)
        self._rows -= sum(isinstance(fact, DeltaFact | SnapshotFact | TradeFact) for fact in facts)
        self._first_put_s = trio.current_time()
        self._batches += 1
        self._next_frame += len(frames)
        return Batch(self._batches, frames, facts, counts, self._next_frame)
