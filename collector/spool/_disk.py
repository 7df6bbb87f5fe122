"""What the spool needs of a disk, and what it knows of one file."""

from typing import Final, Protocol

from attrs import define

from collector.errors import CollectorError

SUFFIX: Final = ".spool"
DAMAGED_SUFFIX: Final = ".damaged"
REFUSED_SUFFIX: Final = ".refused"


class SpoolFull(CollectorError):  # noqa: N818 - a state of the spool
    """The spool holds as many bytes as it may."""


class SpoolFailed(CollectorError):  # noqa: N818 - a state of the spool
    """The disk refused an operation; the message is the system's."""


class Disk(Protocol):
    """The files of one folder. Every method may raise OSError."""

    async def write(self, name: str, offset: int, data: bytes, *, is_durable: bool = True) -> None:
        """
        Put bytes at an offset, making the file where there is none. They survive the process when it
        returns, and with `is_durable` a crash of the machine.

        Not interrupted by a cancellation once begun. After an OSError the file is as long as `offset`, where
        the disk allows that.
        """
        ...

    async def read(self, name: str, offset: int, size: int) -> bytes:
        """Up to `size` bytes from an offset."""
        ...

    async def remove(self, name: str) -> None:
        """Remove a file."""
        ...

    async def rename(self, name: str, new_name: str) -> None:
        """Give a file another name."""
        ...

    async def sizes(self) -> dict[str, int]:
        """All files and their lengths in bytes."""
        ...


@define(eq=False)
class SpoolFile:
    """One file of a journal. Its counts are of records that this process has appended or read."""

    name: str
    size: int = 0
    begun_s: float = 0.0
    confirmed_s: float = 0.0
    """When its newest record was found to be in the database, on Trio's clock."""
    first_batch: int | None = None
    frames: int = 0
    records: int = 0


def words_of(error: OSError) -> str:
    """What the system says, for a person."""
    return error.strerror or str(error)
