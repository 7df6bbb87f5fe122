"""
Rebuild rows from a session's raw frames, and replace the stored ones.

Each session has one transaction, so it is replaced as a whole or not at all. The derived rows go into
temporary tables, batch by batch, so memory holds one page of batches. PostgreSQL compares them with the
stored rows; then they replace the stored rows. A session with a missing or damaged raw block is refused.
"""

from collections.abc import Callable
from uuid import UUID

import msgspec
from attrs import define, field

from collector import __version__
from collector.database import (
    KindDifference,
    Replacement,
    append_entry,
    fetch_late_hashes,
    ledger_numbers,
    set_decoder_version,
)
from collector.errors import CollectorError
from collector.facts import DECODER_VERSION
from collector.postgres import TrioConnection, translate_errors
from collector.recording._derivation import Derivation
from collector.recording._ledger_links import LedgerLinks
from collector.recording._progress import OnProgress, ignore_progress
from collector.recording._session_reader import (
    NotProven,
    RecordedBatch,
    RecordedSession,
    batch_pages,
    fetch_sessions,
    read_opening,
)
from collector.storage import KINDS, Batch, EntryKind, ledger_hash


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
    ledger = await _derive(connection, session, replacement, on_progress)
    for kind in KINDS:
        report.kinds[kind.name] = await replacement.compare(kind)
    await replacement.apply()
    if ledger.is_rebuilt or session.decoder_version != DECODER_VERSION:
        await _enter_rebuild(connection, session, ledger.derived)


async def _derive(
    connection: TrioConnection, session: RecordedSession, replacement: Replacement, on_progress: OnProgress
) -> "_Ledger":
    derivation: Derivation | None = None
    key = UUID(session.key)
    ledger = _Ledger(LedgerLinks(key, await fetch_late_hashes(connection, key)))
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
            batch = Batch(batches, content.frames, facts, counts, frames + 1, formed_us=recorded.written_us)
            await replacement.add(batch, ledger.add(recorded, batch))
        on_progress(session.session_id, batches, session.batches)
    if (batches, frames) != (session.batches, session.frames):
        raise NotProven(
            f"the session counts {session.frames} frames in {session.batches} batches,"
            f" the ledger {frames} in {batches}"
        )
    return ledger


@define
class _Ledger:
    """
    The hashes of a session's ledger: as they are stored, and as they are with the derived counts.

    A ledger whose hashes follow from neither has been altered, and nothing is built on it.
    """

    links: LedgerLinks
    derived: bytes = b""
    is_stored_sound: bool = True
    is_rebuilt: bool = False

    def add(self, recorded: RecordedBatch, derived: Batch) -> bytes:
        """Take in the next row. Returns the hash that it has with the derived counts. Raises NotProven."""
        is_sound = self.links.add(recorded)
        self.is_stored_sound = self.is_stored_sound and is_sound
        numbers = ledger_numbers(derived)
        self.derived = ledger_hash(self.derived, self.links.session_key, numbers, recorded.block_hash)
        self.is_rebuilt = self.is_rebuilt or self.derived != recorded.hash
        if self.is_rebuilt and not self.is_stored_sound:
            raise NotProven(f"batch {recorded.number}: the ledger's row is not what was written")
        return self.derived


async def _enter_rebuild(connection: TrioConnection, session: RecordedSession, ledger_hash: bytes) -> None:
    content = msgspec.json.encode({"code_version": __version__, "decoder_version": DECODER_VERSION}).decode()
    await append_entry(connection, EntryKind.REBUILD, UUID(session.key), ledger_hash, content)
    await set_decoder_version(connection, session.session_id, DECODER_VERSION)
