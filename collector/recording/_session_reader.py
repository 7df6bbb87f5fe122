"""
The one reader of recorded sessions: a session's batches in order, with their frames, a page at a time.

Memory holds one page. Reading several pages of an active session happens in one read-only transaction, so
that they are of one state of the database.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from attrs import frozen

from collector.database import LEDGER_NUMBERS, Pages, fetch_batch_rows, fetch_session_rows, find_sessions
from collector.errors import CollectorError
from collector.facts import FRAME_COUNTS, FrameCounts, NoteKind, StreamFold, TrackerStateFact
from collector.postgres import TrioConnection
from collector.rawblocks import FORMAT, BlockContent, DamagedBlock, decode_block, hash_block
from collector.storage import RowKind, SessionOpening, ledger_hash, opening_of


class NotProven(CollectorError):  # noqa: N818 - names the state of a recording
    """Raw frames of a session are missing, or are not what was written."""


NAMED_MAX: Final = 5
"""Sessions that are named when the beginning of a key is not enough."""


@frozen
class RecordedSession:
    """One row of `rl_orderbook_sessions`."""

    row: Mapping[str, Any]

    @property
    def session_id(self) -> int:
        """The number that the database gave."""
        return int(self.row["session_id"])

    @property
    def key(self) -> str:
        """The key that its recorder made."""
        return str(self.row["session_key"])

    @property
    def market_tickers(self) -> tuple[str, ...]:
        """All markets that it has recorded."""
        return tuple(self.row["market_tickers"])

    @property
    def first_tickers(self) -> tuple[str, ...]:
        """The markets that it began with; which ones have joined follows from the frames."""
        added = frozenset(self.row["added_tickers"])
        return tuple(ticker for ticker in self.market_tickers if ticker not in added)

    @property
    def sample_rate(self) -> int:
        """`RL_SAMPLE_RATE` of the session. 1: each delta is a row. N: rows sum N deltas of a market."""
        return int(self.row["sample_rate"])

    @property
    def decoder_version(self) -> int:
        """The version of the meaning that its frames have in its rows."""
        return int(self.row["decoder_version"])

    @property
    def status(self) -> str:
        """`active`, `closed` or `error`."""
        return str(self.row["status"])

    @property
    def started_us(self) -> int:
        """When its connection was open."""
        return int(self.row["started_us"])

    @property
    def frames(self) -> int:
        """Number of frames by its own count."""
        return int(self.row["frames"])

    @property
    def batches(self) -> int:
        """Number of batches by its own count."""
        return int(self.row["batches"])

    @property
    def frame_counts(self) -> FrameCounts:
        """Number of frames by kind, by its own count."""
        return _frame_counts(self.row)


@frozen
class RecordedBatch:
    """One row of the ledger, with its raw block. `row` has the columns of both."""

    row: Mapping[str, Any]

    @property
    def number(self) -> int:
        """Batches of a session count from 1."""
        return int(self.row["batch_number"])

    @property
    def first_number(self) -> int:
        """The number of the first batch that it stands for: its own, where it is no summary of several."""
        return int(self.row["first_batch"] or self.number)

    @property
    def first_frame(self) -> int:
        """The number of its first frame."""
        return int(self.row["first_frame"])

    @property
    def last_frame(self) -> int:
        """The number of its last frame; one less than the first when it has none."""
        return int(self.row["last_frame"])

    @property
    def received_us(self) -> tuple[int | None, int | None]:
        """When its first and its last frame were received; None without frames."""
        return self.row["first_received_us"], self.row["last_received_us"]

    @property
    def has_frames(self) -> bool:
        """Whether the ledger says that it has any."""
        return self.last_frame >= self.first_frame

    @property
    def has_block(self) -> bool:
        """Whether the ledger says that it has a raw block: one of frames, of notes, or of both."""
        return self.has_frames or bool(self.row["block_hash"])

    @property
    def is_block_missing(self) -> bool:
        """Whether it has a raw block that is not there."""
        return self.has_block and self.row["payload"] is None

    @property
    def is_summary(self) -> bool:
        """Whether retention has summarised it, alone or with the batches before it."""
        return self.row["first_batch"] is not None

    @property
    def hash(self) -> bytes:
        """Its hash; of a summary, that of its last batch."""
        return bytes(self.row["hash"])

    @property
    def written_us(self) -> int:
        """When it was formed, by the recorder's clock."""
        return int(self.row["written_us"])

    @property
    def block_hash(self) -> bytes:
        """The hash that its block must have; empty without a block."""
        return bytes(self.row["block_hash"])

    def hash_after(self, before: bytes, session_key: UUID) -> bytes:
        """The hash that it must have after the row with the hash `before`."""
        numbers = [self.row[name] for name in LEDGER_NUMBERS]
        return ledger_hash(before, session_key, numbers, self.block_hash)

    @property
    def frame_counts(self) -> FrameCounts:
        """What the ledger says about its frames."""
        return _frame_counts(self.row)

    def row_count(self, kind: RowKind) -> int:
        """How many rows of a kind the ledger counts."""
        return int(self.row[kind.rows_column])

    def place_problems(self, batches_before: int, frames_before: int) -> list[str]:
        """What is wrong with its place after this number of batches and frames."""
        problems: list[str] = []
        if self.first_number != batches_before + 1:
            problems.append(
                f"batch {batches_before + 1} is missing in the ledger: the next one is {self.first_number}"
            )
        if self.first_frame != frames_before + 1:
            problems.append(
                f"batch {self.number} begins with frame {self.first_frame}, not {frames_before + 1}"
            )
        return problems

    def as_json_text(self) -> str:
        """The row as PostgreSQL's jsonb writes it: names by length and then by bytes."""
        names = ("session_id", "first_batch", *LEDGER_NUMBERS)
        values = {name: self.row[name] for name in names}
        values |= {name: f"\\x{bytes(self.row[name]).hex()}" for name in ("block_hash", "hash")}
        order = sorted(values, key=lambda name: (len(name), name))
        return json.dumps({name: values[name] for name in order})

    def block_problems(self, content: BlockContent) -> list[str]:
        """Where the block's row, and the receive times in the ledger, are not those of the content."""
        if not self.has_block:
            return []
        frames, row = content.frames, self.row
        times_us = [frame.received_us for frame in frames] or [note.noted_us for note in content.notes]
        problems: list[str] = []
        if self.received_us != ((times_us[0], times_us[-1]) if frames else (None, None)):
            problems.append(f"batch {self.number}: the ledger's receive times are not those of its frames")
        columns = ("block_first_frame", "block_last_frame", "block_first_us", "block_last_us", "format")
        expected = (self.first_frame, self.last_frame, times_us[0], times_us[-1], FORMAT)
        if tuple(row[name] for name in columns) != expected:
            problems.append(f"batch {self.number}: the row of its block does not describe its content")
        return problems

    def content(self) -> BlockContent:
        """Its frames and notes, verbatim. Raises NotProven."""
        if not self.has_block:
            return BlockContent((), ())
        number, payload = self.number, self.row["payload"]
        if payload is None:
            raise NotProven(f"batch {number}: the raw block of frame {self.first_frame} is missing")
        dictionary = self.row["content"] or b""
        if hash_block(payload, dictionary) != self.block_hash:
            raise NotProven(f"batch {number}: the raw block has another hash than the ledger says")
        try:
            content = decode_block(self.first_frame, payload, dictionary)
        except DamagedBlock as error:
            raise NotProven(f"batch {number}: the raw block can't be read: {error}") from error
        last_frame = self.first_frame + len(content.frames) - 1
        if last_frame != self.last_frame:
            raise NotProven(f"batch {number}: the raw block ends with frame {last_frame}")
        return content


class SessionNotFound(CollectorError):  # noqa: N818 - names the thing
    """No session has the given number or key, or several keys begin with it."""


async def find_session(connection: TrioConnection, name: str) -> int:
    """
    The number of the session that a name means: its number, or its key, or the beginning of its key (of which
    eight characters are needed if all are digits, since fewer digits are a number).

    Raises SessionNotFound, StoreUnavailable and StoreRejected.
    """
    found = await find_sessions(connection, name, NAMED_MAX + 1)
    if not found:
        raise SessionNotFound(f"there is no session {name}")
    if len(found) > 1:
        named = ", ".join(f"{session_id} ({key})" for session_id, key in found[:NAMED_MAX])
        more = " and more" if len(found) > NAMED_MAX else ""
        raise SessionNotFound(f"{name} may be session {named}{more}: give more of the key")
    return found[0][0]


async def fetch_sessions(connection: TrioConnection, session_id: int | None) -> list[RecordedSession]:
    """One session, or all, in order of their numbers."""
    return [RecordedSession(row) for row in await fetch_session_rows(connection, session_id)]


def batch_pages(connection: TrioConnection, session_id: int, from_frame: int = 0) -> Pages[RecordedBatch]:
    """
    The batches of a session in order, a page at a time, beginning with that of the frame `from_frame`.

    Raises psycopg's errors, see `translate_errors`.
    """

    async def fetch(last: Sequence[RecordedBatch] | None) -> list[RecordedBatch]:
        after = last[-1].number if last else 0
        return [
            RecordedBatch(row) for row in await fetch_batch_rows(connection, session_id, after, from_frame)
        ]

    return Pages(fetch)


def read_opening(content: BlockContent) -> SessionOpening:
    """The session's opening, which its stream begins with. Raises NotProven."""
    first = content.notes[0] if content.notes else None
    if first is None or first.kind is not NoteKind.OPENING:
        raise NotProven("the stream does not begin with the session's opening")
    try:
        return opening_of(first.content)
    except ValueError as error:
        raise NotProven(f"the session's opening can't be read: {error}") from error


def read_state(state: TrackerStateFact, sample_rate: int) -> StreamFold:
    """The fold that continues from a stored state. Raises NotProven."""
    try:
        return StreamFold.of_state(state, sample_rate)
    except ValueError as error:
        raise NotProven(f"{error}; `collector rederive` rebuilds the stored states") from error


def _frame_counts(row: Mapping[str, Any]) -> FrameCounts:
    return FrameCounts(**{name: row[name] for name in FRAME_COUNTS})
