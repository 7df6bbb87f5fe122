"""What the check of a session has found. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from attrs import define, field

from collector.recording._findings import Finding, FindingKind, Findings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@define
class SessionReport:
    """
    What has been checked of one session, and what is wrong with it.

    `proof` is `raw` when all its rows were compared with raw frames, `rows` when some of the frames are not
    there any more and the rows of that time were checked among themselves. `notes` say what could not be
    checked, and why that is no fault.
    """

    session_id: int
    session_key: str
    status: str
    frames: int = 0
    batches: int = 0
    gaps: int = 0
    proof: Literal["raw", "rows"] = "raw"
    ledger_hash: str = ""
    """The hash of the newest row of its ledger, in hexadecimal."""
    found: Findings = field(factory=Findings)
    notes: list[str] = field(factory=list[str])

    @property
    def is_good(self) -> bool:
        """Whether nothing is off. Recorded gaps are no fault of the recording."""
        return not self.found.found

    @property
    def findings(self) -> list[str]:
        """What is wrong, in words."""
        return self.found.texts

    def find(
        self, kind: FindingKind, text: str, from_us: int | None = None, until_us: int | None = None
    ) -> None:
        """Note what is wrong."""
        self.found.add(Finding(kind, text, (), from_us, until_us))


def utc_date(day: int) -> str:
    """A day since 1970 as a date."""
    return f"{_EPOCH + timedelta(days=day):%Y-%m-%d}"


def utc_span(from_us: int, until_us: int) -> str:
    """An interval of some minutes."""
    return (
        f"{_EPOCH + timedelta(microseconds=from_us):%Y-%m-%d %H:%M} to"
        f" {_EPOCH + timedelta(microseconds=until_us):%H:%M} UTC"
    )
