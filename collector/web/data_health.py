"""
Whether the recording itself is good, by what is in the database: the answer of `/health/data`.

    good     every ledger closes
    off      one does not, and the body says which and how: frames are missing, or counts are wrong
    unknown  the database can't be asked, or has not answered in time

Gaps, rejects and audits that found a difference are counted, and do not make a recording `off`: they are in
it, as what they are. What this can't see is whether the rows are what the raw frames say; `collector verify`
can.

The question costs the database some work, so askers share one answer for some seconds, and wait for each
other instead of asking at the same time.
"""

from typing import Final, Literal

import trio
from attrs import define, field, frozen

from collector.errors import StoreError
from collector.store.connection import ConnectStore
from collector.store.standing import COUNTS, Coverage, SessionStanding, fetch_standings
from collector.web.times import iso_utc

SESSIONS_DEFAULT: Final = 20
SESSIONS_MAX: Final = 200
ASK_S_MAX: Final = 10.0
KEPT_S: Final = 5.0

DataVerdict = Literal["good", "off", "unknown"]


@frozen
class DataHealth:
    """The verdict on the recording, why, and the sessions that it is about."""

    verdict: DataVerdict
    why: str
    sessions: tuple[dict[str, object], ...] = ()

    @property
    def status_code(self) -> int:
        """What an HTTP probe is told."""
        return 200 if self.verdict == "good" else 503

    def as_json(self) -> dict[str, object]:
        """The body."""
        return {"status": self.verdict, "why": self.why, "sessions": list(self.sessions)}


@define(eq=False)
class DataHealthDesk:
    """Asks the database, one question at a time, and keeps each answer for a while."""

    connect_store: ConnectStore | None
    _is_asking: trio.Lock = field(factory=trio.Lock, init=False)
    _kept: dict[int, tuple[float, DataHealth]] = field(
        factory=dict[int, tuple[float, DataHealth]], init=False
    )

    async def ask(self, sessions: int) -> DataHealth:
        """How the newest sessions stand. A checkpoint; never raises for the database's sake."""
        # Whoever waited here finds the answer of the one before; if that one was cancelled, it asks itself.
        async with self._is_asking:
            now_s = trio.current_time()
            self._kept = {count: kept for count, kept in self._kept.items() if kept[0] > now_s}
            if sessions not in self._kept:
                health = await self._ask(sessions)
                self._kept[sessions] = (trio.current_time() + KEPT_S, health)
            return self._kept[sessions][1]

    async def _ask(self, sessions: int) -> DataHealth:
        if self.connect_store is None:
            return DataHealth("unknown", "no database")
        reason = ""
        standings: list[SessionStanding] | None = None
        with trio.move_on_after(ASK_S_MAX):
            try:
                async with self.connect_store() as connection:
                    standings = await fetch_standings(connection, sessions)
            except* StoreError as group:
                reason = str(group.exceptions[0])
        if standings is None:
            return DataHealth("unknown", reason or f"the database has not answered within {ASK_S_MAX:g} s")
        return judge(standings)


def judge(standings: list[SessionStanding]) -> DataHealth:
    """The verdict on sessions. Pure."""
    sessions: list[dict[str, object]] = []
    whys: list[str] = []
    for standing in standings:
        findings = find_faults(standing)
        sessions.append(_session_data(standing, findings))
        whys += [f"session {standing.session_id}: {finding}" for finding in findings]
    if whys:
        return DataHealth("off", "; ".join(whys), tuple(sessions))
    why = f"the ledgers of {len(sessions)} sessions close" if sessions else "nothing is recorded yet"
    return DataHealth("good", why, tuple(sessions))


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


def _session_data(standing: SessionStanding, findings: list[str]) -> dict[str, object]:
    ledger, audits = standing.ledger, standing.audits
    return {
        "id": standing.session_id,
        "status": standing.status,
        "started": iso_utc(standing.started_us),
        "ended": _time(standing.ended_us),
        "end_reason": standing.end_reason,
        "last_message": _time(standing.last_message_us),
        "is_good": not findings,
        "findings": findings,
        "frames": standing.frames,
        "ledger": {"batches": ledger.batches, "frames": ledger.frames, "last_frame": ledger.last_frame},
        "counts": standing.counts,
        "gaps": standing.gaps_by_cause,
        "rejects": standing.reject_rows,
        "audits": {
            "matches": audits.matches,
            "mismatches": audits.mismatches,
            "last": _time(audits.last_us),
        },
        "coverage": None if standing.coverage is None else _coverage_data(standing.coverage),
    }


def _coverage_data(coverage: Coverage) -> dict[str, object]:
    share = coverage.exact_us / coverage.total_us if coverage.total_us else None
    return {
        "markets": coverage.markets,
        "exact_markets": coverage.exact_markets,
        "exact_time_share": None if share is None else round(share, 6),
    }


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else iso_utc(time_us)
