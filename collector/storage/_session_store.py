"""The interface of what keeps the batches of a session."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from attrs import frozen

from collector.storage._batch import Batch, SessionEnding, SessionOpening


@frozen
class Held:
    """What a store holds of a session when a connection begins. `last_batch` is 0 without any batch."""

    session_id: int
    last_batch: int
    database: str
    """Which database it is, for a person: its key, and what is readable of its server."""


class SessionLink(Protocol):
    """One connection to a session's store. Every call may be repeated, also after it took effect in part."""

    async def begin(self) -> Held:
        """Make the session's row, or find it. Say what is there of the session."""
        ...

    async def write(self, batch: Batch) -> None:
        """Store a batch, whole or not at all. Batches come in order."""
        ...

    async def try_out(self, batch: Batch) -> None:
        """Do what `write` does, with the same errors, and take it back."""
        ...

    async def end(self, ending: SessionEnding) -> str:
        """Store how the session ended. Returns the newest hash of the database's chain, in hexadecimal."""
        ...


class SessionStore(Protocol):
    """
    What keeps one session. Raises StoreUnavailable where the same call is due again later.

    It outlives its connections: it remembers which numbers were given. One task uses it at a time.
    """

    def connect(self) -> AbstractAsyncContextManager[SessionLink]:
        """A connection, for the time of a block."""
        ...


OpenStore = Callable[[SessionOpening], SessionStore]
"""Returns the store of a session that opens in this way."""
