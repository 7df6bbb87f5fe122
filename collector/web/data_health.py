"""
Whether the recording itself is good, by what is in the database: the answer of `/health/data`.

    good     every ledger closes
    off      one does not, and the body says which and how: frames are missing, or counts are wrong
    unknown  the database can't be asked, or has not answered in time

Gaps, rejects and audits that found a difference are counted, and do not make a recording `off`: they are in
it, as what they are. What this can't see is whether the rows are what the raw frames say; `collector verify`
can.
"""

from typing import Final, cast

from attrs import frozen

from collector.store.connection import ConnectStore, TrioConnection
from collector.store.standing import COUNTS, Coverage, SessionStanding, fetch_standings
from collector.web.desk import Desk, Unanswered
from collector.web.schema import (
    AuditsData,
    DataCountsData,
    DataCoverageData,
    DataHealthData,
    DataSessionData,
    LedgerData,
    SessionStatus,
)
from collector.web.times import iso_utc

SESSIONS_DEFAULT: Final = 20
SESSIONS_MAX: Final = 200


@frozen
class DataHealthDesk:
    """Where the question is asked; see `Desk`."""

    desk: Desk[DataHealthData]

    @classmethod
    def at(cls, connect_store: ConnectStore | None) -> "DataHealthDesk":
        """A desk that asks this database."""
        return cls(Desk(connect_store, _fetch))

    async def ask(self, sessions: int) -> DataHealthData:
        """How the newest sessions stand. A checkpoint; never raises for the database's sake."""
        answer = await self.desk.ask(sessions)
        return DataHealthData("unknown", answer.why, []) if isinstance(answer, Unanswered) else answer


async def _fetch(connection: TrioConnection, sessions: int) -> DataHealthData:
    return judge(await fetch_standings(connection, sessions))


def judge(standings: list[SessionStanding]) -> DataHealthData:
    """The verdict on sessions. Pure."""
    sessions: list[DataSessionData] = []
    whys: list[str] = []
    for standing in standings:
        findings = find_faults(standing)
        sessions.append(_session_data(standing, findings))
        whys += [f"session {standing.session_id}: {finding}" for finding in findings]
    if whys:
        return DataHealthData("off", "; ".join(whys), sessions)
    why = _sum_up(len(sessions))
    return DataHealthData("good", why, sessions)


def _sum_up(sessions: int) -> str:
    match sessions:
        case 0:
            return "nothing is recorded yet"
        case 1:
            return "the ledger of 1 session closes"
        case _:
            return f"the ledgers of {sessions} sessions close"


def find_faults(standing: SessionStanding) -> list[str]:
    """Where a session's ledger does not close. Pure."""
    ledger = standing.ledger
    faults: list[str] = []
    for name, first, count, last in (
        ("batches", ledger.first_batch, ledger.batches, ledger.last_batch),
        ("frames", ledger.first_frame, ledger.frames, ledger.last_frame),
    ):
        if (first, count) != (1, last):
            faults.append(f"{count} {name}, numbered {first} to {last}: some are missing")
    for name, by_ledger, by_row in (
        ("batches", ledger.batches, standing.batches),
        ("frames", ledger.frames, standing.frames),
        *((name, ledger.counts[name], standing.counts[name]) for name in COUNTS),
    ):
        if by_ledger != by_row:
            faults.append(f"{name}: {by_ledger} by the ledger, {by_row} by the session")
    for name, by_ledger, rows in (
        ("gap rows", ledger.counts["gaps"], sum(standing.gaps_by_cause.values())),
        ("reject rows", ledger.reject_rows, standing.reject_rows),
        ("audit rows", ledger.audit_rows, standing.audits.matches + standing.audits.mismatches),
        ("event rows", ledger.event_rows, standing.event_rows),
    ):
        if by_ledger != rows:
            faults.append(f"{name}: {by_ledger} by the ledger, {rows} are there")
    return faults


def _session_data(standing: SessionStanding, findings: list[str]) -> DataSessionData:
    ledger, audits = standing.ledger, standing.audits
    return DataSessionData(
        id=standing.session_id,
        status=cast("SessionStatus", standing.status),
        started=iso_utc(standing.started_us),
        ended=_time(standing.ended_us),
        end_reason=standing.end_reason,
        last_message=_time(standing.last_message_us),
        is_good=not findings,
        findings=findings,
        frames=standing.frames,
        ledger=LedgerData(ledger.batches, ledger.frames, ledger.last_frame),
        counts=DataCountsData(**standing.counts),
        gaps=standing.gaps_by_cause,
        rejects=standing.reject_rows,
        audits=AuditsData(audits.matches, audits.mismatches, _time(audits.last_us)),
        coverage=None if standing.coverage is None else _coverage_data(standing.coverage),
    )


def _coverage_data(coverage: Coverage) -> DataCoverageData:
    share = coverage.exact_us / coverage.total_us if coverage.total_us else None
    return DataCoverageData(
        coverage.markets, coverage.exact_markets, None if share is None else round(share, 6)
    )


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else iso_utc(time_us)
