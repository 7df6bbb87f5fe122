"""The interface of what keeps the batches of a session."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from collector.storage._batch import Batch, SessionEnding, SessionOpening


class SessionLink(Protocol):
    """One connection to a session's store. Every call may be repeated, also after it took effect in part."""

    async def begin(self) -> int:
        """Make the session's row, or find it, and return the session's number."""
        ...

    async def write(self, batch: Batch) -> None:
        """Store a batch, whole or not at all. Batches come in order."""
        ...

    async def end(self, ending: SessionEnding) -> None:
        """Store how the session ended."""
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
