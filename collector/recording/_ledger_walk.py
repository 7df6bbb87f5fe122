"""
The walk through a session's ledger: each row against the one before, each block against its row, and the rows
that the frames lead to. Pure, but for the stored states that are handed in.

A block that is missing or damaged costs the time until the next stored state: there the derivation resumes.
The rows of the time between are left out of the comparison on both sides.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import define, field

from collector.facts import Fact, FrameCounts, StreamFold, StreamNote, TrackerStateFact
from collector.rawblocks import BlockContent
from collector.recording._derivation import Derivation
from collector.recording._findings import FindingKind
from collector.recording._ledger_links import LedgerLinks
from collector.recording._session_reader import (
    NotProven,
    RecordedBatch,
    RecordedSession,
    read_opening,
    read_state,
)
from collector.recording._session_report import SessionReport
from collector.storage import (
    DAY_US,
    KIND_BY_FACT,
    KINDS,
    MarketRecord,
    RowKind,
    SessionOpening,
    newest_records,
)

_NEVER_US: Final = 2**63


@define(eq=False)
class LedgerWalk:
    """
    What the rows so far have shown.

    `opening` is the session's by the chain; None where it can't be read there. `states` are the frames after
    which a state is stored. `records` collects the newest record of each market.
    """

    session: RecordedSession
    report: SessionReport
    opening: SessionOpening | None
    dropped_days: frozenset[int]
    states: Sequence[int]
    records: dict[str, MarketRecord]
    links: LedgerLinks
    derivation: Derivation | None = None
    totals: FrameCounts = field(factory=FrameCounts)
    rows: dict[RowKind, int] = field(factory=lambda: dict.fromkeys(KINDS, 0))
    last_us: int = 0
    """When the newest frame so far was received; at first the start of the session."""
    last_note: StreamNote | None = None
    """The last note of the newest block; None where that can't be read, or has none."""
    unproven: list[tuple[int, int]] = field(factory=list[tuple[int, int]])
    """Receive times without raw frames, both ends included."""
    is_thinned: bool = False
    """Retention has dropped blocks."""
    _is_lost: bool = False
    _recent: Sequence[Fact] = ()

    def __attrs_post_init__(self) -> None:
        self.last_us = self.session.started_us

    def state_in(self, batch: RecordedBatch) -> int | None:
        """The frame of a batch after whose state the derivation can resume; None where that is not due."""
        if not self._is_lost:
            return None
        return next((n for n in self.states if batch.first_frame <= n <= batch.last_frame), None)

    def add(self, batch: RecordedBatch, state: TrackerStateFact | None = None) -> None:
        """Check the next row, its block, and fold the content; with the state that `state_in` has named."""
        self._check_place(batch)
        self.report.batches, self.report.frames = batch.number, batch.last_frame
        self.totals = self.totals + batch.frame_counts
        for kind in KINDS:
            self.rows[kind] += batch.row_count(kind)
        content = self._read(batch)
        first_us, last_us = batch.received_us
        if content is None:
            self._lose(first_us or self.last_us)
        self.last_us = last_us or self.last_us
        self.last_note = content.notes[-1] if content is not None and content.notes else None
        if content is not None:
            for ticker, record in newest_records(content.notes).items():
                if ticker not in self.records or self.records[ticker].noted_us <= record.noted_us:
                    self.records[ticker] = record
            self._fold(batch, content, state)

    def is_proven(self, at_us: int) -> bool:
        """Whether raw frames prove the rows of a receive time."""
        return not any(from_us <= at_us <= until_us for from_us, until_us in self.unproven)

    @property
    def is_derived_to_end(self) -> bool:
        """Whether the newest batch was derived."""
        return self.derivation is not None and not self._is_lost

    def _check_place(self, batch: RecordedBatch) -> None:
        problems = batch.place_problems(self.report.batches, self.report.frames)
        for problem in problems:
            self.report.find(FindingKind.LEDGER, problem, self.last_us, batch.received_us[0])
        if problems:
            self._lose(self.last_us)
        # After a hole nobody knows the hash of the row before.
        if not self.links.add(batch) and not problems:
            self.report.find(
                FindingKind.LEDGER,
                f"batch {batch.number}: its row in the ledger is not what was written",
                *batch.received_us,
            )

    def _read(self, batch: RecordedBatch) -> BlockContent | None:
        """The content of a block, which is None where it is not there, or not what was written."""
        if batch.is_block_missing:
            days = {(batch.received_us[0] or self.last_us) // DAY_US, batch.written_us // DAY_US}
            if days & self.dropped_days:
                self.is_thinned = True
                return None
        try:
            content = batch.content()
            if batch.number == 1:
                self._check_opening(content)
        except NotProven as error:
            self.report.find(FindingKind.BLOCK, str(error), *batch.received_us)
            return None
        for problem in batch.block_problems(content):
            self.report.find(FindingKind.BLOCK, problem, *batch.received_us)
        return content

    def _check_opening(self, content: BlockContent) -> None:
        opening = read_opening(content)
        if self.opening is None:
            self.opening = opening
        elif opening != self.opening:
            self.report.find(FindingKind.OPENING, "the opening in its stream is not the one in the chain")
        self.derivation = Derivation(opening)

    def _lose(self, from_us: int) -> None:
        """The next batches can't be derived, until a stored state."""
        if self._is_lost:
            return
        self._is_lost = True
        if self.derivation is not None:
            # Frames that were read together have one receive time.
            self.derivation.add([fact for fact in self._recent if _time_of(fact) >= from_us], times=-1)
        self.unproven.append((from_us, _NEVER_US))

    def _resume(self, state: TrackerStateFact, fold: StreamFold) -> None:
        if self.derivation is None:
            assert self.opening is not None
            self.derivation = Derivation(self.opening)
        self.derivation.resume(fold)
        self._is_lost = False
        self.unproven[-1] = (self.unproven[-1][0], state.received_us)

    def _fold(self, batch: RecordedBatch, content: BlockContent, state: TrackerStateFact | None) -> None:
        if state is None:
            if self.is_derived_to_end:
                assert self.derivation is not None
                facts, counts = self.derivation.facts_of(content)
                self._add(facts)
                if counts != batch.frame_counts:
                    self.report.find(
                        FindingKind.COUNTS,
                        f"batch {batch.number}: the ledger's counts of frames are not those of its frames",
                        *batch.received_us,
                    )
            return
        try:
            fold = read_state(state, self.session.sample_rate)
        except NotProven as error:
            self.report.find(FindingKind.ROWS, str(error), state.received_us, state.received_us)
            return
        if self.opening is None:
            return
        self._resume(state, fold)
        assert self.derivation is not None
        rest = BlockContent(
            tuple(frame for frame in content.frames if frame.number > state.frame_number),
            tuple(note for note in content.notes if note.after_frame >= state.frame_number),
        )
        self._add(self.derivation.facts_of(rest)[0])

    def _add(self, facts: Iterable[Fact]) -> None:
        assert self.derivation is not None
        self._recent = [
            fact
            for fact in facts
            if type(fact) in KIND_BY_FACT and (not self.unproven or self.is_proven(_time_of(fact)))
        ]
        self.derivation.add(self._recent)


def _time_of(fact: Fact) -> int:
    time_us: int = getattr(fact, KIND_BY_FACT[type(fact)].time_column)
    return time_us
