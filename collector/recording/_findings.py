"""
What a check can find: kinds with fixed names, what each means for the data, and what to do. Pure.

A finding says that the database does not hold what was recorded. What could not be checked, or is as it
should be and still good to know, is a note.
"""

from enum import StrEnum
from typing import Final

from attrs import define, field, frozen

FINDINGS_MAX: Final = 100
"""Of one session, or of the tables: a recording that is wrong in a hundred places is wrong."""


class FindingKind(StrEnum):
    """Kinds of findings. The values are part of the output of `verify --json`, and stay as they are."""

    CHAIN = "chain"
    EXPECTED_HASH = "expected_hash"
    SESSION_MISSING = "session_missing"
    OPENING = "opening"
    ENDING = "ending"
    RECORDER_GONE = "recorder_gone"
    LEDGER = "ledger"
    SUMMARY = "summary"
    BLOCK = "block"
    COUNTS = "counts"
    ROWS = "rows"
    DECODER = "decoder"
    STRAY_ROWS = "stray_rows"
    DICTIONARY = "dictionary"
    MARKET_RECORD = "market_record"
    PARTITION = "partition"
    DEFINITION = "definition"


@frozen
class Advice:
    """What a kind of finding means for the data, and the next step."""

    meaning: str
    next_step: str


_RESTORE: Final = "restore a backup from before the change"
_REDERIVE: Final = "run `collector rederive`, which rebuilds rows from raw frames"
ADVICE: Final[dict[FindingKind, Advice]] = {
    FindingKind.CHAIN: Advice(
        "an entry about sessions or retention was changed, added or removed, so what the entries from there"
        " on say is not proven",
        _RESTORE,
    ),
    FindingKind.EXPECTED_HASH: Advice(
        "the entries that led to this hash are not in this database: it is another one, or its newest entries"
        " were removed or changed",
        "compare with the log of the recorder, and restore a backup that has this hash",
    ),
    FindingKind.SESSION_MISSING: Advice("all data of this session is gone", _RESTORE),
    FindingKind.OPENING: Advice(
        "what the session's row says about how it was recorded is not what its recorder wrote",
        "correct the row by the opening in rl_chain, or restore a backup",
    ),
    FindingKind.ENDING: Advice(
        "the session's end is not the one that was recorded: batches at its end may be missing",
        "use the session only up to the last batch whose hash is proven, or restore a backup",
    ),
    FindingKind.RECORDER_GONE: Advice(
        "nobody has ended the session, and its recorder does not run: what it received last may be missing",
        "start the recorder with the spool folder of that recorder, which brings in what waits there; any"
        " running recorder ends the session after a minute",
    ),
    FindingKind.LEDGER: Advice(
        "batches are missing, or their rows in the ledger were changed: all books are unknown from there"
        " until their next snapshot",
        _RESTORE,
    ),
    FindingKind.SUMMARY: Advice(
        "counts of days whose rows retention has dropped are not those that were summarised", _RESTORE
    ),
    FindingKind.BLOCK: Advice(
        "raw frames of this time are missing or damaged, so its rows can't be proven",
        "restore rl_raw_blocks from a backup; until then use the rows of this time at your own risk",
    ),
    FindingKind.COUNTS: Advice("a count is not what the data adds up to", _REDERIVE),
    FindingKind.ROWS: Advice(
        "rows of this time were changed, removed or added: what is read from them is wrong", _REDERIVE
    ),
    FindingKind.DECODER: Advice(
        "the rows follow another version of the meaning of frames, and were not compared", _REDERIVE
    ),
    FindingKind.STRAY_ROWS: Advice(
        "these rows belong to nothing that was recorded here", "look at them, and delete them"
    ),
    FindingKind.DICTIONARY: Advice(
        "a dictionary for raw blocks is one that no recorder has written", "look at it, and delete it"
    ),
    FindingKind.MARKET_RECORD: Advice(
        "the title, times or settlement of this market are not those that the exchange gave", _RESTORE
    ),
    FindingKind.PARTITION: Advice("the data of this day is gone, and retention did not drop it", _RESTORE),
    FindingKind.DEFINITION: Advice(
        "a table, view or function is not the one that this program ships: what it shows may be wrong",
        "make it again as in schema.sql, or use the program whose version the database has",
    ),
}


@frozen
class Finding:
    """
    One thing that is wrong. `from_us` and `until_us` bound the receive times of the data concerned, and
    `markets` names the markets, where they are known.
    """

    kind: FindingKind
    text: str
    markets: tuple[str, ...] = ()
    from_us: int | None = None
    until_us: int | None = None


@define
class Findings:
    """The findings of one session, or of the tables, up to FINDINGS_MAX; the rest is counted."""

    found: list[Finding] = field(factory=list[Finding])
    left_out: int = 0

    @property
    def texts(self) -> list[str]:
        """The findings in words."""
        return [finding.text for finding in self.found]

    def add(self, finding: Finding) -> None:
        """Take in one more."""
        if len(self.found) < FINDINGS_MAX:
            self.found.append(finding)
        else:
            self.left_out += 1
