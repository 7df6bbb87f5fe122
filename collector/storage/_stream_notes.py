"""What a session's stream says of the session itself: its opening first, its ending last."""

import msgspec

from collector.facts import NoteKind, StreamFold, StreamNote
from collector.storage._batch import SessionEnding, SessionOpening


def opening_note(opening: SessionOpening) -> StreamNote:
    """The first note of a session's stream."""
    return StreamNote(NoteKind.OPENING, 0, opening.started_us, msgspec.json.encode(opening).decode())


def opening_of(content: str) -> SessionOpening:
    """The opening that a note's content holds. Raises ValueError where it holds none of this version."""
    return msgspec.json.decode(content, type=SessionOpening)


def ending_note(ending: SessionEnding, last_frame: int) -> StreamNote:
    """The last note of the stream of a session whose recorder ended it."""
    return StreamNote(NoteKind.ENDING, last_frame, ending.ended_us, ending_content(ending))


def ending_content(ending: SessionEnding) -> str:
    """An ending as JSON text, as it is in the stream and in the chain."""
    return msgspec.json.encode(ending).decode()


def ending_of(content: str) -> SessionEnding:
    """The ending that a text holds. Raises ValueError where it holds none of this version."""
    return msgspec.json.decode(content, type=SessionEnding)


def fold_of(opening: SessionOpening) -> StreamFold:
    """The fold of a session before its first frame."""
    return StreamFold.of_opening(opening.market_tickers, opening.key, opening.last_exact, opening.sample_rate)
