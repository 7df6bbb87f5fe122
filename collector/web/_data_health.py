"""
Whether the recording itself is good, by what is in the database: the answer of `/health/data`.

    good     every ledger closes
    off      one does not, and the body says which and how: frames are missing, or counts are wrong
    unknown  the database can't be asked, or has not answered in time

Gaps, rejects and audits that found a difference are counted, and do not make a recording `off`: they are in
it, as what they are. What this can't see is whether the rows are what the raw frames say; `collector verify`
can.
"""

from collections.abc import Sequence
from typing import Final, cast

from attrs import asdict, frozen

from collector.recording import Recording, ledger_faults
from collector.storage import REJECT, Coverage, SessionSummary
from collector.web._query_cache import QueryCache, Unanswered
from collector.web._schema import (
    AuditsData,
    DataCountsData,
    DataCoverageData,
    DataHealthData,
    DataSessionData,
    LedgerData,
    SessionStatus,
)
from collector.web._times import iso_utc

SESSIONS_DEFAULT: Final = 20
SESSIONS_MAX: Final = 200


@frozen
class DataHealthQuery:
    """Answers for the newest sessions, kept for a while."""

    cache: QueryCache[DataHealthData]

    @classmethod
    def of(cls, recording: Recording | None) -> "DataHealthQuery":
        """A query of this recording; without one, every answer says that there is no database."""
        if recording is None:
            return cls(QueryCache(None))

        async def fetch(sessions: int) -> DataHealthData:
            return judge(await recording.session_summaries(sessions))

        return cls(QueryCache(fetch))

    async def ask(self, sessions: int) -> DataHealthData:
        """The verdict on the newest sessions. A checkpoint; raises nothing of the database's."""
        answer = await self.cache.ask(sessions)
        return DataHealthData("unknown", answer.why, []) if isinstance(answer, Unanswered) else answer


def judge(summaries: Sequence[SessionSummary]) -> DataHealthData:
    """The verdict on sessions. Pure."""
    sessions: list[DataSessionData] = []
    whys: list[str] = []
    for summary in summaries:
        findings = ledger_faults(summary)
        sessions.append(_session_data(summary, findings))
        whys += [f"session {summary.session_id}: {finding}" for finding in findings]
    if whys:
        return DataHealthData("off", "; ".join(whys), sessions)
    return DataHealthData("good", _sum_up(len(sessions)), sessions)


def _sum_up(sessions: int) -> str:
    match sessions:
        case 0:
            return "nothing is recorded yet"
        case 1:
            return "the ledger of 1 session closes"
        case _:
            return f"the ledgers of {sessions} sessions close"


def _session_data(summary: SessionSummary, findings: list[str]) -> DataSessionData:
    ledger, audits = summary.ledger, summary.audits
    return DataSessionData(
        id=summary.session_id,
        status=cast("SessionStatus", summary.status),
        started=iso_utc(summary.started_us),
        ended=_time(summary.ended_us),
        end_reason=summary.end_reason,
        last_message=_time(summary.last_message_us),
        is_good=not findings,
        findings=findings,
        frames=summary.frames,
        ledger=LedgerData(ledger.batches, ledger.frames, ledger.last_frame),
        counts=DataCountsData(**asdict(summary.frame_counts), gaps=summary.gaps),
        gaps=dict(summary.gaps_by_cause),
        rejects=summary.rows[REJECT],
        audits=AuditsData(audits.matches, audits.mismatches, _time(audits.last_us)),
        coverage=None if summary.coverage is None else _coverage_data(summary.coverage),
    )


def _coverage_data(coverage: Coverage) -> DataCoverageData:
    share = coverage.exact_us / coverage.total_us if coverage.total_us else None
    return DataCoverageData(
        coverage.markets, coverage.exact_markets, None if share is None else round(share, 6)
    )


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else iso_utc(time_us)
