"""
What waits to be written: the bounded queue between the book task and the writer of a session.

Not a memory channel, because a batch is "all that waits, once so many rows wait or so long has passed", and
because the bound that matters is in frames, over all sessions. Putting never waits: who puts looks at the
bound, and stops receiving when it is passed. Nothing is ever thrown away here.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

import trio
from attrs import define, field, frozen

from collector.clock import WallClock
from collector.errors import FeedLost
from collector.facts import (
    DeltaFact,
    Fact,
    FrameBatch,
    FrameCounts,
    ReceivedFrame,
    SnapshotFact,
    StreamNote,
    TradeFact,
)
from collector.storage import Batch, SessionEnding
from collector.wakeup import Wakeup

FRAMES_MAX: Final = 200_000
"""Over all sessions. Under a kilobyte a frame with all that belongs to it: some 200 MB in memory."""
BATCH_FRAMES_MAX: Final = 4_000
"""A batch's rows are packed and its frames compressed in two steps of under 10 ms."""

NOTE_CHARACTERS_MAX: Final = 500_000
"""Characters of notes after which a batch takes no more: they are compressed in the same step."""


@frozen
class _Piece:
    """What one `put` brought."""

    frames: Sequence[ReceivedFrame]
    notes: Sequence[StreamNote]
    facts: Sequence[Fact]
    counts: FrameCounts
    put_s: float


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
    clock: WallClock
    ending: SessionEnding | None = None
    _pieces: deque[_Piece] = field(factory=deque[_Piece], init=False)
    _frames: int = field(default=0, init=False)
    _rows: int = field(default=0, init=False)
    _batches: int = field(default=0, init=False)
    _next_frame: int = field(default=1, init=False)
    _flush_until: int = field(default=0, init=False)
    _confirmed: int = field(default=0, init=False)
    _taken: Batch | None = field(default=None, init=False)
    _changed: Wakeup = field(factory=Wakeup, init=False)
    _written: Wakeup = field(factory=Wakeup, init=False)

    @property
    def waiting_frames(self) -> int:
        """Frames that are not confirmed yet."""
        return self._frames + (0 if self._taken is None else len(self._taken.frames))

    def put(self, batch: FrameBatch, rows: Sequence[Fact]) -> None:
        """Add a run of the stream and the facts of it that become rows."""
        assert self.ending is None, "nothing comes after the end"
        now_s = trio.current_time()
        self._pieces.append(_Piece(batch.frames, batch.notes, rows, batch.counts, now_s))
        self._frames += len(batch.frames)
        self._rows += _row_count(rows)
        # The writer has to be woken for the first piece, to start its clock, and when a batch is full.
        if len(self._pieces) == 1 or self._is_full():
            self._changed.notify()

    async def flush(self) -> None:
        """Have what waits now written at once, and wait until it is; not for what comes meanwhile."""
        last_frame = self._next_frame - 1 + self._frames
        self._flush_until = max(self._flush_until, last_frame)
        self._changed.notify()
        while self._confirmed < last_frame:
            await self._written.wait()

    def close(self, ending: SessionEnding, last_rows: Sequence[Fact] = ()) -> None:
        """Nothing comes any more. The first ending counts."""
        if self.ending is None:
            self.ending = ending
            if last_rows:
                self._pieces.append(_Piece((), (), last_rows, FrameCounts(), trio.current_time()))
            self._changed.notify()

    async def take(self) -> Batch | None:
        """Wait until a batch is due and hand it out; None after the last one."""
        if self._taken is not None:
            return self._taken
        while not self._is_due():
            with trio.move_on_at(self._due_s()):
                await self._changed.wait()
        if self._pieces:
            self._taken = self._cut()
        return self._taken

    def confirm(self) -> None:
        """The batch that was taken is in the database."""
        assert self._taken is not None
        self._confirmed = self._taken.next_frame - 1
        self._taken = None
        self._written.notify()

    def _is_due(self) -> bool:
        if self.ending is not None:
            return True
        if not self._pieces:
            return False
        is_asked_for = self._next_frame <= self._flush_until
        return self._is_full() or is_asked_for or trio.current_time() >= self._due_s()

    def _due_s(self) -> float:
        """When the oldest piece has waited long enough, on Trio's clock."""
        return self._pieces[0].put_s + self.flush_interval_s if self._pieces else float("inf")

    def _is_full(self) -> bool:
        return self._rows >= self.batch_rows or self._frames >= BATCH_FRAMES_MAX

    def _cut(self) -> Batch:
        frames: list[ReceivedFrame] = []
        notes: list[StreamNote] = []
        note_characters = 0
        facts: list[Fact] = []
        counts = FrameCounts()
        while self._pieces:
            piece = self._pieces[0]
            if frames and len(frames) + len(piece.frames) > BATCH_FRAMES_MAX:
                break
            if note_characters > NOTE_CHARACTERS_MAX:
                break
            frames.extend(piece.frames)
            notes.extend(piece.notes)
            note_characters += sum(len(note.content) for note in piece.notes)
            facts.extend(piece.facts)
            counts = counts + piece.counts
            self._pieces.popleft()
        self._frames -= len(frames)
        self._rows -= _row_count(facts)
        self._batches += 1
        self._next_frame += len(frames)
        return Batch(
            self._batches, frames, facts, counts, self._next_frame, formed_us=self.clock(), notes=notes
        )


def _row_count(facts: Sequence[Fact]) -> int:
    return sum(isinstance(fact, DeltaFact | SnapshotFact | TradeFact) for fact in facts)
