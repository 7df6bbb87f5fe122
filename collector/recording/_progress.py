"""Progress of a long command."""

from collections.abc import Callable
from typing import TypeAlias

OnProgress: TypeAlias = Callable[[int, int, int], None]
"""Session number, batches done, batches of the session."""


def ignore_progress(session_id: int, done: int, batches: int) -> None:
    """Report to nobody."""
