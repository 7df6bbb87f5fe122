"""
The fold of one session's stream: from frames and notes to the facts that become rows.

A session has segments, one for each hour of receive time since 1970 UTC in which there are frames. The first
frame of a segment is followed by the state of the tracker as a fact. So a session of a month can be read from
any segment on, and its segments in parallel: with that state, the stream after it gives the same facts.
The first segment has no state; it begins with the session's opening.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias
from uuid import UUID

from attrs import define

from collector.facts._downsampling import Thinner
from collector.facts._facts import Fact, FrameBatch, FrameCounts, ReceivedFrame, TrackerStateFact
from collector.facts._interruptions import LastExact
from collector.facts._market_state import HOUR_US
from collector.facts._stream import StreamNote
from collector.facts._tracker import FeedTracker
from collector.facts._tracker_state import decode_tracker, encode_tracker

DECODER_VERSION: Final = 1
"""
Numbers the meaning of streams: raised only when the same stream leads to other facts. Each session's opening
has it, so that rows are compared with what their own version makes of the frames.
"""

_Part: TypeAlias = tuple[Sequence[ReceivedFrame], Sequence[StreamNote], bool]
"""Frames and notes, and whether the last frame is the first one of a segment."""


@define(eq=False)
class StreamFold:
    """
    A session between two entries of its stream.

    `hour` is that of the last frame, counted since 1970 UTC; None before the first frame.
    """

    tracker: FeedTracker
    thinner: Thinner
    hour: int | None = None

    @classmethod
    def of_opening(
        cls, tickers: Iterable[str], session_key: UUID, last_exact: Iterable[LastExact], sample_rate: int
    ) -> "StreamFold":
        """A session before its first frame."""
        return cls(FeedTracker.of_markets(tickers, session_key, last_exact), Thinner(sample_rate))

    @classmethod
    def of_state(cls, state: TrackerStateFact, sample_rate: int) -> "StreamFold":
        """A session right after the frame of a state. Raises ValueError for a state of another version."""
        return cls(decode_tracker(state.state), Thinner(sample_rate), state.received_us // HOUR_US)

    def process(
        self, frames: Iterable[ReceivedFrame], notes: Iterable[StreamNote] = ()
    ) -> tuple[FrameBatch, list[Fact]]:
        """
        Fold a run of the stream: frames in order, each note after its frame.

        Returns what the run means, and the facts that become rows. How a stream is cut into runs makes no
        difference.
        """
        frames, notes = tuple(frames), tuple(notes)
        if not frames or frames[-1].received_us // HOUR_US == self.hour:
            batch = self.tracker.process(frames, notes)
        else:
            batch = self._process_parts(frames, notes)
        return batch, self.thinner.thin(batch.facts)

    def finish(self) -> list[Fact]:
        """The facts that become rows when the session has ended in order."""
        return self.thinner.finish()

    def _process_parts(self, frames: tuple[ReceivedFrame, ...], notes: tuple[StreamNote, ...]) -> FrameBatch:
        facts: list[Fact] = []
        counts = FrameCounts()
        for part_frames, part_notes, begins_segment in self._split(frames, notes):
            batch = self.tracker.process(part_frames, part_notes)
            facts += batch.facts
            counts = counts + batch.counts
            if begins_segment:
                frame = part_frames[-1]
                facts.append(TrackerStateFact(frame.number, frame.received_us, encode_tracker(self.tracker)))
        return FrameBatch(frames, tuple(facts), counts, notes)

    def _split(self, frames: Sequence[ReceivedFrame], notes: Sequence[StreamNote]) -> Iterator[_Part]:
        """Cut a run after each frame that is the first one of a segment."""
        begin = 0
        for end, frame in enumerate(frames, 1):
            hour = frame.received_us // HOUR_US
            if hour != self.hour:
                is_first_frame, self.hour = self.hour is None, hour
                if not is_first_frame:
                    before = [note for note in notes if note.after_frame < frame.number]
                    yield frames[begin:end], before, True
                    begin, notes = end, notes[len(before) :]
        yield frames[begin:], notes, False
