"""
The stream of a session: everything that was received, sent and noticed on one connection, in order.

Received frames are most of it. Everything else is a note, which has its place after a frame.
"""

from enum import IntEnum, StrEnum
from typing import Final

import msgspec
from attrs import frozen
from msgspec import Raw, Struct

MARKETS_PATH: Final = "/markets/"
"""Begins the path of a market's record; the ticker follows."""


class NoteKind(IntEnum):
    """What a note is about. The numbers are stored, so they never change."""

    OPENING = 1
    """The session's opening, before its first frame."""
    COMMAND = 2
    """A command to the exchange, noted when it is given to the connection."""
    EVENT = 3
    """Something that happened to the connection: see ConnectionEvent."""
    RECORD = 4
    """A record of the exchange's REST API that is used."""
    ENDING = 5
    """The session's ending, after its last frame."""


@frozen
class StreamNote:
    """One entry of a session's stream that is not a received frame. Notes after one frame have an order."""

    kind: NoteKind
    after_frame: int
    """The number of the last frame before it; 0 before the first frame."""
    noted_us: int
    content: str
    """JSON text. Stored as it is, and not interpreted."""


class ConnectionEvent(StrEnum):
    """What can happen to a connection besides frames and its ending."""

    CLOCK_STEP = "clock_step"
    """The wall clock was set. Receive times do not step with it."""
    SILENCE = "silence"
    """The exchange has sent no byte for too long, so the recorder closes the connection."""
    STOP = "stop"
    """The recorder stops, and unsubscribes."""
    STORE_CHANGED = "store_changed"
    """The recording continues in another database, or in another state of its server."""
    STORE_LOST = "store_lost"
    """The database lacks batches of the session that can't be written to it. All books are unknown."""


class EventContent(Struct, frozen=True, omit_defaults=True):
    """
    The content of an EVENT note. `step_us` is the size of a clock step, negative if it was set back. `detail`
    says of the database which one it is, or which batches it lacks.
    """

    event_type: ConnectionEvent
    step_us: int | None = None
    detail: str | None = None


class RestRecord(Struct, frozen=True):
    """The content of a RECORD note. `path` is below the API's root, `record` is verbatim."""

    path: str
    record: Raw


def command_note(text: str, after_frame: int, noted_us: int) -> StreamNote:
    """A command, as it is sent. It holds no secret: those are in the handshake alone."""
    return StreamNote(NoteKind.COMMAND, after_frame, noted_us, text)


def event_note(
    event_type: ConnectionEvent,
    after_frame: int,
    noted_us: int,
    *,
    step_us: int | None = None,
    detail: str | None = None,
) -> StreamNote:
    """An event of the connection."""
    content = msgspec.json.encode(EventContent(event_type, step_us, detail)).decode()
    return StreamNote(NoteKind.EVENT, after_frame, noted_us, content)


def record_note(path: str, record: bytes, after_frame: int, noted_us: int) -> StreamNote:
    """A record of the REST API: `record` is JSON in UTF-8."""
    content = msgspec.json.encode(RestRecord(path, Raw(record))).decode()
    return StreamNote(NoteKind.RECORD, after_frame, noted_us, content)
