"""
Which sessions count as dead: their recorder holds no lock, and nothing was written of them for a while. Pure.

A lock is lost with a connection, and taken again with the next one. So a free lock alone proves nothing.
"""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from attrs import define, field

from collector.database import SilentSession

SILENT_S: Final = 60.0
"""By the database's clock."""


@define
class SilentSessions:
    """The sessions that were silent when they were looked at last: their batches then, and since when."""

    silent_s: float = SILENT_S
    _seen: dict[UUID, tuple[int, int]] = field(factory=dict[UUID, tuple[int, int]], init=False)

    def look(self, sessions: Iterable[SilentSession]) -> list[SilentSession]:
        """Take in all silent sessions. Returns those that count as dead."""
        seen: dict[UUID, tuple[int, int]] = {}
        dead: list[SilentSession] = []
        for session in sessions:
            batches, since_us = self._seen.get(session.key, (session.batches, session.now_us))
            # A clock that was set back starts the time again.
            if batches != session.batches or since_us > session.now_us:
                since_us = session.now_us
            seen[session.key] = (session.batches, since_us)
            if session.now_us - since_us >= self.silent_s * 1e6:
                dead.append(session)
        self._seen = seen
        return dead
