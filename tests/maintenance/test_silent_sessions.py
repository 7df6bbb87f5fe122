"""When the sessions of a recorder that holds no lock count as dead."""

from uuid import UUID

from collector.database import SilentSession
from collector.maintenance._silent_sessions import SilentSessions

SECOND_US = 1_000_000


def silent(second: int, *, batches: int = 3) -> SilentSession:
    return SilentSession(1, UUID(int=1), 11, batches, second * SECOND_US)


def test_a_session_is_dead_after_a_minute_of_silence() -> None:
    """By the database's clock, from the first look on."""
    sessions = SilentSessions()
    assert sessions.look([silent(0)]) == []
    assert sessions.look([silent(59)]) == []
    assert sessions.look([silent(60)]) == [silent(60)]


def test_a_batch_begins_the_minute_again() -> None:
    """A recorder without its lock still records: it takes the lock again with its next connection."""
    sessions = SilentSessions()
    sessions.look([silent(0)])
    assert sessions.look([silent(70, batches=4)]) == []
    assert sessions.look([silent(129, batches=4)]) == []
    assert sessions.look([silent(130, batches=4)]) != []


def test_a_lock_that_is_held_begins_the_minute_again() -> None:
    """Then the session is not among the silent ones for a look."""
    sessions = SilentSessions()
    sessions.look([silent(0)])
    sessions.look([])
    assert sessions.look([silent(61)]) == []


def test_a_clock_that_is_set_back_begins_the_minute_again() -> None:
    """And one that is set forward ends it: then a session ends early, and its recorder adds to it."""
    sessions = SilentSessions()
    sessions.look([silent(1000)])
    assert sessions.look([silent(30)]) == []
    assert sessions.look([silent(89)]) == []
    assert sessions.look([silent(90)]) != []
