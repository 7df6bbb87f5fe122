"""
Rebuild rows from a session's raw frames, and replace the stored ones.

Each session has one transaction, so it is replaced as a whole or not at all. The derived rows go into
temporary tables, batch by batch, so memory holds one page of batches. PostgreSQL compares them with the
stored rows; then they replace the stored rows. A session with a missing or damaged raw block is refused.
"""

from collections.abc import Callable

from attrs import define, field

from collector.database import KindDifference, Replacement
from collector.errors import CollectorError
from collector.postgres import TrioConnection, translate_errors
from collector.recording._derivation import Derivation
from collector.recording._progress import OnProgress, ignore_progress
from collector.recording._session_reader import (
    NotProven,
    RecordedSession,
    batch_pages,
    fetch_sessions,
    read_opening,
)
from collector.storage import KINDS, Batch


class NotRederivable(CollectorError):  # noqa: N818 - a state of a session
    """A session is still being recorded."""


@define
class RederiveReport:
    """
    What became of one session. `refusal` says why nothing was replaced; None when rows could be derived.
    """

    session_id: int
    session_key: str
    is_applied: bool = False
    refusal: str | None = None
    kinds: dict[str, KindDifference] = field(factory=dict[str, KindDifference])

    @property
    def is_different(self) -> bool:
        """Whether the stored rows were not those that the frames give."""
        return any(kind.missing or kind.extra for kind in self.kinds.values())


async def rederive_sessions(
    connection: TrioConnection,
    session_id: int | None,
    on_report: Callable[[RederiveReport], None],
    on_progress: OnProgress = ignore_progress,
    *,
    is_dry: bool = False,
) -> list[RederiveReport]:
    """
    Rebuild the rows of one session, or of all. With `is_dry` everything is rolled back: only the report
    stays.

    Raises StoreUnavailable; what was reported as applied before that stays.
    """
    with translate_errors():
        sessions = await fetch_sessions(connection, session_id)
    reports: list[RederiveReport] = []
    for session in sessions:
        report = RederiveReport(session.session_id, session.key)
        try:
            with translate_errors():
                async with connection.transaction(force_rollback=is_dry):
                    await _rederive(connection, session.session_id, report, on_progress)
            report.is_applied = not is_dry
        except (NotProven, NotRederivable) as error:
            report.refusal = str(error)
            report.kinds.clear()
        on_report(report)
        reports.append(report)
    return reports


async def _rederive(
    connection: TrioConnection, session_id: int, report: RederiveReport, on_progress: OnProgress
) -> None:
    replacement = Replacement(connection, session_id)
    await replacement.open()
    (session,) = await fetch_sessions(connection, session_id)
    if session.status == "active":
        raise NotRederivable(
            "the session is still being recorded, or its recorder died and no other recorder has ended it yet"
        )
    await _derive(connection, session, replacement, on_progress)
    for kind in KINDS:
        report.kinds[kind.name] = await replacement.compare(kind)
    await replacement.apply()


async def _derive(
    connection: TrioConnection, session: RecordedSession, replacement: Replacement, on_progress: OnProgress
) -> None:
    derivation: Derivation | None = None
    batches = frames = 0
    async for page in batch_pages(connection, session.session_id):
        for recorded in page:
            for problem in recorded.place_problems(batches, frames):
                raise NotProven(problem)
            batches, frames = recorded.number, recorded.last_frame
            content = recorded.content()
            if derivation is None:
                derivation = Derivation(read_opening(content))
            facts, counts = derivation.facts_of(content)
            if recorded.number == session.batches:
                facts += derivation.last_facts()
            await replacement.add(Batch(batches, content.frames, facts, counts, frames + 1))
        on_progress(session.session_id, batches, session.batches)
    if (batches, frames) != (session.batches, session.frames):
        raise NotProven(
            f"the session counts {session.frames} frames in {session.batches} batches,"
            f" the ledger {frames} in {batches}"
        )
