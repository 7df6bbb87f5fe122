"""A session's stream can be folded from its opening, or from any stored state, in any pieces."""

import random
import uuid
from collections.abc import Sequence

import pytest
from attrs import evolve

from collector.facts import (
    ConnectionEvent,
    DeltaFact,
    Fact,
    ReceivedFrame,
    StreamFold,
    StreamNote,
    TrackerStateFact,
    command_note,
    event_note,
    record_note,
)
from tests.frames import RECEIVED_US, delta_text, received, snapshot_text
from tests.mutations.session import MARKETS, Session

KEY = uuid.UUID(int=7)
HOUR_US = 3_600_000_000
INACTIVE = b'{"exchange_active":false,"trading_active":false}'


def stream_of(seed: int) -> tuple[list[ReceivedFrame], list[StreamNote]]:
    """A session of a misbehaving exchange that takes some hours, with notes between its frames."""
    rng = random.Random(seed)
    session = Session(seed)
    session.run()
    frames: list[ReceivedFrame] = []
    notes: list[StreamNote] = []
    now_us = RECEIVED_US
    for number, text in enumerate(session.log, 1):
        now_us += rng.choice((0, 1, HOUR_US // 7, HOUR_US * 2 // 3))
        frames.append(ReceivedFrame(number, now_us, text))
        if rng.random() < 0.2:
            kind = ConnectionEvent.CLOCK_STEP
            notes.append(
                rng.choice(
                    (
                        event_note(kind, number, now_us, step_us=-HOUR_US),
                        command_note("{}", number, now_us),
                        record_note("/exchange/status", INACTIVE, number, now_us),
                    )
                )
            )
    return frames, notes


def fold_all(
    fold: StreamFold, frames: Sequence[ReceivedFrame], notes: Sequence[StreamNote], rng: random.Random | None
) -> list[Fact]:
    """The rows of the rest of a stream, folded as one run or in random ones."""
    rows: list[Fact] = []
    while frames:
        count = len(frames) if rng is None else rng.randint(1, 7)
        run, frames = frames[:count], frames[count:]
        run_notes = [note for note in notes if note.after_frame <= run[-1].number]
        notes = notes[len(run_notes) :]
        rows += fold.process(run, run_notes)[1]
    return [*rows, *fold.process((), notes)[1], *fold.finish()]


def first_fold(sample_rate: int) -> StreamFold:
    return StreamFold.of_opening(MARKETS, KEY, (), sample_rate)


@pytest.mark.parametrize("sample_rate", [1, 3])
@pytest.mark.parametrize("seed", range(60))
def test_each_state_leads_to_the_same_rows(seed: int, sample_rate: int) -> None:
    """Whatever the exchange does, the rows after a state are those of the fold from the opening."""
    frames, notes = stream_of(seed)
    rng = random.Random(seed)

    rows = fold_all(first_fold(sample_rate), frames, notes, None)

    assert fold_all(first_fold(sample_rate), frames, notes, rng) == rows
    states = [row for row in rows if isinstance(row, TrackerStateFact)]
    assert states, "the session takes some hours"
    for state in states:
        rest = frames[state.frame_number :]
        rest_notes = [note for note in notes if note.after_frame >= state.frame_number]
        fold = StreamFold.of_state(state, sample_rate)
        assert fold_all(fold, rest, rest_notes, rng) == rows[rows.index(state) + 1 :]


def test_a_state_follows_the_first_frame_of_each_hour() -> None:
    """The first hour of a session has none: it begins with the opening."""
    times_us = [0, 1, HOUR_US, HOUR_US + 1, 5 * HOUR_US]
    first_us = RECEIVED_US // HOUR_US * HOUR_US
    frames = [
        evolve_time(frame, first_us + time_us)
        for frame, time_us in zip(
            received(*(snapshot_text("A", seq) for seq in range(1, 6))), times_us, strict=True
        )
    ]
    batch, _ = first_fold(1).process(frames)

    states = [fact.frame_number for fact in batch.facts if isinstance(fact, TrackerStateFact)]
    assert states == [3, 5]


def evolve_time(frame: ReceivedFrame, received_us: int) -> ReceivedFrame:
    return ReceivedFrame(frame.number, received_us, frame.text)


def test_sums_end_at_a_state() -> None:
    """With a sample rate above 1, what is summed becomes rows before a state, so no sum crosses it."""
    texts = [snapshot_text("A", 1), *(delta_text("A", seq, "0.4500", "1.00") for seq in range(2, 8))]
    frames = received(*texts)
    late = [evolve_time(frame, frame.received_us + HOUR_US) for frame in frames[4:]]

    _, rows = first_fold(100).process([*frames[:4], *late])

    kinds = [type(row) for row in rows if isinstance(row, DeltaFact | TrackerStateFact)]
    assert kinds == [DeltaFact, DeltaFact, TrackerStateFact], "a checkpoint comes before the first change"


def test_a_state_of_another_version_is_refused() -> None:
    """It is rebuilt from the raw frames, never guessed."""
    _, rows = first_fold(1).process(
        [
            evolve_time(frame, frame.received_us + number * HOUR_US)
            for number, frame in enumerate(received(snapshot_text("A", 1), snapshot_text("A", 2)))
        ]
    )
    (state,) = [row for row in rows if isinstance(row, TrackerStateFact)]
    assert state.state[1] == 1, "the version comes first"
    for damaged in (state.state[:1] + b"\x63" + state.state[2:], state.state[:-1], b""):
        with pytest.raises(ValueError, match="the state of a tracker"):
            StreamFold.of_state(evolve(state, state=damaged), 1)
