"""
The stream of a session: everything that was received, sent and noticed on one connection, in order.

Received frames are most of it. Everything else is a note, which has its place after a frame.
"""

from enum import IntEnum

from attrs import frozen


class NoteKind(IntEnum):
    """What a note is about. The numbers are stored, so they never change."""

    OPENING = 1
    """The session's opening, before its first frame."""
    COMMAND = 2
    """A command that was sent to the exchange."""
    EVENT = 3
    """Something that happened to the connection: a clock step, silence, a stop."""
    RECORD = 4
    """A record of the exchange's REST API that was used."""
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
