"""
A session's batches, as ledger and raw blocks have them, a page at a time; and what is wrong with one.

Memory holds one page. Whoever reads several pages of an active session does so in one transaction of
REPEATABLE READ, so that they are of one state of the database.
"""

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen
from psycopg.rows import dict_row

from collector.errors import CollectorError
from collector.protocol.facts import FrameCounts, ReceivedFrame
from collector.store.connection import TrioConnection
from collector.store.rawblock import DamagedBlock, checksum_of, decode_block

PAGE_BATCHES: Final = 200
FRAME_KINDS: Final = ("delta", "snapshot", "trade", "control", "stale", "rejected")
"""Of the ledger's columns *_frames, in the order of FrameCounts."""

_BATCHES = (
    "SELECT l.*, r.payload, r.checksum AS block_checksum, r.last_frame AS block_last_frame, x.content"
    " FROM rl_write_ledger l"
    " LEFT JOIN rl_raw_blocks r ON r.session_id = l.session_id AND r.first_frame = l.first_frame"
    "  AND l.last_frame >= l.first_frame"
    " LEFT JOIN rl_raw_lexicons x ON x.session_id = r.session_id AND x.lexicon_number = r.lexicon_number"
    " WHERE l.session_id = %s AND l.batch_number > %s ORDER BY l.batch_number LIMIT %s"
)


class NotProven(CollectorError):  # noqa: N818 - names the state of a recording
    """The raw frames of a session are not all there, or not what was written."""


@frozen
class RecordedSession:
    """One row of `rl_orderbook_sessions`."""

    session_id: int
    market_tickers: tuple[str, ...]
    sample_rate: int
    row: Mapping[str, Any]

    @property
    def first_tickers(self) -> tuple[str, ...]:
        """The markets that it began with; the frames tell which have joined."""
        added = frozenset(self.row["added_tickers"])
        return tuple(ticker for ticker in self.market_tickers if ticker not in added)

    @property
    def status(self) -> str:
        """`active`, `closed` or `error`."""
        return str(self.row["status"])


@frozen
class RecordedBatch:
    """One row of the ledger, with its raw block. `row` has the columns of both."""

    row: Mapping[str, Any]

    @property
    def number(self) -> int:
        """Batches of a session count from 1."""
        return int(self.row["batch_number"])

    @property
    def first_frame(self) -> int:
        """The number of its first frame."""
        return int(self.row["first_frame"])

    @property
    def last_frame(self) -> int:
        """The number of its last frame; one less than the first when it has none."""
        return int(self.row["last_frame"])

    @property
    def is_block_missing(self) -> bool:
        """Whether it has frames, and they are not there."""
        return self.last_frame >= self.first_frame and self.row["payload"] is None

    @property
    def frame_counts(self) -> FrameCounts:
        """What the ledger says about its frames."""
        return FrameCounts(*(self.row[f"{kind}_frames"] for kind in FRAME_KINDS))

    def place_problems(self, batches_before: int, frames_before: int) -> list[str]:
        """What is wrong with its place behind so many batches and frames."""
        problems: list[str] = []
        if self.number != batches_before + 1:
            problems.append(
                f"batch {batches_before + 1} is missing in the ledger: the next one is {self.number}"
            )
        if self.first_frame != frames_before + 1:
            problems.append(
                f"batch {self.number} begins with frame {self.first_frame}, not {frames_before + 1}"
            )
        return problems

    def frames(self) -> list[ReceivedFrame]:
        """Its frames, verbatim; none when it has none. Raises NotProven."""
        if self.last_frame < self.first_frame:
            return []
        number, payload = self.number, self.row["payload"]
        if payload is None:
            raise NotProven(f"batch {number}: the raw block of frame {self.first_frame} is missing")
        checksum = self.row["block_checksum"]
        if checksum_of(payload) != checksum or checksum != self.row["checksum"]:
            raise NotProven(f"batch {number}: checksums of raw block and ledger do not agree")
        try:
            frames = decode_block(self.first_frame, payload, self.row["content"] or b"")
        except DamagedBlock as error:
            raise NotProven(f"batch {number}: the raw block can't be read: {error}") from error
        if (
            not frames
            or frames[-1].number != self.last_frame
            or self.row["block_last_frame"] != self.last_frame
        ):
            last_frame = frames[-1].number if frames else self.first_frame - 1
            raise NotProven(f"batch {number}: the raw block ends with frame {last_frame}")
        return frames


async def fetch_sessions(connection: TrioConnection, session_id: int | None) -> list[RecordedSession]:
    """One session, or all, in order of their numbers."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT * FROM rl_orderbook_sessions WHERE %(id)s::integer IS NULL OR session_id = %(id)s"
            " ORDER BY session_id",
            {"id": session_id},
        )
        rows = await cursor.fetchall()
    return [
        RecordedSession(row["session_id"], tuple(row["market_tickers"]), row["sample_rate"], row)
        for row in rows
    ]


async def fetch_batches(connection: TrioConnection, session_id: int, after: int) -> list[RecordedBatch]:
    """The next page of batches behind the one with that number; empty at the end."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_BATCHES, (session_id, after, PAGE_BATCHES))
        return [RecordedBatch(row) for row in await cursor.fetchall()]


async def fetch_first_day(connection: TrioConnection, parent: str) -> int | None:
    """
    The oldest day, counted since 1970 UTC, that a partitioned table still has a partition for; None without
    any. Days before it are gone by retention.
    """
    cursor = await connection.execute(
        "SELECT min(to_date(right(c.relname, 8), 'YYYYMMDD') - date '1970-01-01')"
        " FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(%s)",
        (parent,),
    )
    row = await cursor.fetchone()
    return None if row is None or row[0] is None else int(row[0])
