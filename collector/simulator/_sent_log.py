"""
The independent account: every text frame that was handed to the operating system, in the order sent.

A frame that a fault dropped is not in it, one that was duplicated is in it twice, a garbled one as it was
sent. A line of the file is `{"connection":n,"frame":"..."}`. Writing is synchronous on purpose: between a
frame's being sent and its being in the account no cancellation can come, and a batch goes into the page
cache in well under a millisecond.
"""

import pathlib
import typing

import attrs
import msgspec

from collector.errors import StartError


@attrs.frozen
class SentFrame:
    """One text frame of one connection, verbatim."""

    connection: int
    frame: str


class Account:
    """Owned by the server; each connection's writer adds what it has sent."""

    def __init__(self, *, keep: bool, file: typing.BinaryIO | None = None) -> None:
        self._keep = keep
        self._file = file
        self.entries: list[SentFrame] = []
        # How many frames each connection was sent, kept in any case.
        self.counts: dict[int, int] = {}

    def record(self, connection: int, frames: list[bytes]) -> None:
        """Enter frames that were sent."""
        self.counts[connection] = self.counts.get(connection, 0) + len(frames)
        if self._keep:
            self.entries += [SentFrame(connection, frame.decode()) for frame in frames]
        if self._file is not None:
            lines = [
                msgspec.json.encode({"connection": connection, "frame": frame.decode()}) + b"\n"
                for frame in frames
            ]
            self._file.write(b"".join(lines))
            self._file.flush()

    def frames(self, connection: int) -> list[str]:
        """Return what was sent on one connection, if entries are kept."""
        return [entry.frame for entry in self.entries if entry.connection == connection]

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()
            self._file = None


def open_account(path: pathlib.Path | None, *, keep: bool) -> Account:
    """
    Open an account, in a file, in memory, in both or in none.

    Raises:
        StartError: the file can't be written.
    """
    if path is None:
        return Account(keep=keep)
    try:
        return Account(keep=keep, file=path.open("wb"))
    except OSError as error:
        raise StartError(f"can't write the account {path}: {error.strerror or error}") from error
