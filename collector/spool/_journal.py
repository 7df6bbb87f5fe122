"""
Where batches wait on disk while PostgreSQL is away: journals of records, bounded, checksummed, fsynced.

Theory of operation. Each session that needs it has a journal: numbered segment files, each of which begins
with the session's opening, so that every file can be read alone. Records are appended, and are on the disk
when `append` returns; they are read back in order, and a segment goes when its last record is in the
database. A record that is taken in twice does no harm, because the ledger knows each batch. One process
owns a spool folder; what a process that died has left there, the next one finds with `leftovers`.

A record that is cut short at the end of a journal is what a kill or a power cut leaves: it is skipped and
counted. Everything else that can't be read is damage. It costs the damaged record alone: reading continues
with the next whole record, and the damaged bytes are kept in a file of their own, for a person to look at.
The database then has a hole in the session's ledger, which readers treat as a gap.

Nothing here knows why batches wait, or when they go. Disk access comes in as a `Disk`.
"""

import hashlib
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import GenericAlias
from typing import Any, Final, Protocol, TypeAlias, cast

import msgspec
import trio
import zstandard
from attrs import define, field

from collector.errors import CollectorError
from collector.facts import Fact, FrameCounts, NoteKind, ReceivedFrame, StreamNote
from collector.observe import SpoolStatus, get_logger
from collector.storage import KINDS, Batch, SessionEnding, SessionOpening, opening_of
from collector.wakeup import Wakeup

SEGMENT_BYTES_MAX: Final = 16 * 2**20
"""Some seconds of the busiest flow; a small spool has smaller ones."""
MAGIC: Final = b"RLS3"
_HEADER_BYTES: Final = 16
_CHECKSUM_BYTES: Final = 8
ADVANCE_S_MAX: Final = 5.0
"""For taking one file away."""
RECORD_BYTES_MAX: Final = 2**30
LEVEL: Final = 1
"""A spooled batch is compressed for the disk's sake, and only for a while."""
SUFFIX: Final = ".spool"
DAMAGED_SUFFIX: Final = ".damaged"

_FACT_LISTS: Final[dict[str, Any]] = {kind.name: GenericAlias(list, kind.fact) for kind in KINDS}

_log = get_logger("spool")

Record: TypeAlias = SessionOpening | Batch | SessionEnding


class SpoolFull(CollectorError):  # noqa: N818 - a state of the spool
    """The spool holds as many bytes as it may."""


class SpoolFailed(CollectorError):  # noqa: N818 - a state of the spool
    """The disk did not do as it was told; the message is the system's."""


class DamagedRecord(CollectorError):  # noqa: N818 - names the thing
    """What lies in a spool file is not what was written."""


class Disk(Protocol):
    """The files of one folder. Every method may raise OSError."""

    async def write(self, name: str, offset: int, data: bytes) -> None:
        """
        Put bytes at an offset, making the file where there is none; they are on the disk when it returns.

        Not interrupted by a cancellation once begun. After an OSError the file is as long as `offset`, where
        the disk allows that.
        """
        ...

    async def read(self, name: str, offset: int, size: int) -> bytes:
        """Up to `size` bytes from an offset."""
        ...

    async def remove(self, name: str) -> None:
        """Remove a file."""
        ...

    async def rename(self, name: str, new_name: str) -> None:
        """Give a file another name."""
        ...

    async def sizes(self) -> dict[str, int]:
        """All files and their lengths in bytes."""
        ...


# ---------------------------------------------------------------- records, without I/O


def encode_record(record: Record) -> bytes:
    """A record as it lies in a file: magic, length, checksum, payload."""
    match record:
        case SessionOpening():
            content: tuple[Any, ...] = ("opening", record)
        case SessionEnding():
            content = ("ending", record)
        case Batch():
            facts = {kind.name: rows for kind, rows in record.rows.items()}
            place = (record.number, record.next_frame)
            content = ("batch", *place, record.counts, record.frames, record.notes, facts)
    payload = zstandard.ZstdCompressor(level=LEVEL).compress(msgspec.msgpack.encode(content))
    return MAGIC + len(payload).to_bytes(4, "big") + _checksum(payload) + payload


def payload_length(header: bytes) -> int:
    """How many bytes follow a header. Raises DamagedRecord."""
    length = int.from_bytes(header[4:8], "big")
    if len(header) < _HEADER_BYTES or header[:4] != MAGIC or length > RECORD_BYTES_MAX:
        raise DamagedRecord("no record begins here")
    return length


def decode_record(header: bytes, payload: bytes) -> Record:
    """The record that a header and its payload hold. Raises DamagedRecord."""
    if not _is_whole(header, payload):
        raise DamagedRecord("a record is not what was written")
    try:
        content = zstandard.ZstdDecompressor().decompress(payload, max_output_size=RECORD_BYTES_MAX)
        kind, *rest = msgspec.msgpack.decode(content, type=list[msgspec.Raw])
        match msgspec.msgpack.decode(kind):
            case "opening":
                return msgspec.msgpack.decode(rest[0], type=SessionOpening)
            case "ending":
                return msgspec.msgpack.decode(rest[0], type=SessionEnding)
            case _:
                return _decode_batch(rest)
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError, LookupError) as error:
        # Whole, but of another version of this program.
        raise DamagedRecord(f"a record can't be decoded: {error}") from error


def _decode_batch(rest: Sequence[msgspec.Raw]) -> Batch:
    number, next_frame, counts, frames, notes, grouped = rest
    facts: list[Fact] = []
    for name, group in msgspec.msgpack.decode(grouped, type=dict[str, msgspec.Raw]).items():
        facts += msgspec.msgpack.decode(group, type=_FACT_LISTS[name])
    return Batch(
        msgspec.msgpack.decode(number, type=int),
        msgspec.msgpack.decode(frames, type=list[ReceivedFrame]),
        facts,
        msgspec.msgpack.decode(counts, type=FrameCounts),
        msgspec.msgpack.decode(next_frame, type=int),
        notes=msgspec.msgpack.decode(notes, type=list[StreamNote]),
    )


def _is_whole(header: bytes, payload: bytes) -> bool:
    """Whether these are all bytes of a record. Raises DamagedRecord when no record begins with the header."""
    return len(payload) == payload_length(header) and _checksum(payload) == header[8:_HEADER_BYTES]


def _is_cut_short(rest: bytes) -> bool:
    """Whether the end of a file is the beginning of a record, or nothing but space for one."""
    if not rest.startswith(MAGIC):
        return MAGIC.startswith(rest) or not any(rest)
    is_only_one = MAGIC not in rest[len(MAGIC) :]
    return is_only_one and (
        len(rest) < _HEADER_BYTES or not _is_whole(rest[:_HEADER_BYTES], rest[_HEADER_BYTES:])
    )


def find_record(data: bytes, start: int = 0) -> tuple[int, Record] | None:
    """The first whole record at or after a place: its offset, and the record. None without any."""
    at = data.find(MAGIC, start)
    while at >= 0:
        header = data[at : at + _HEADER_BYTES]
        with suppress(DamagedRecord):
            payload = data[at + _HEADER_BYTES : at + _HEADER_BYTES + payload_length(header)]
            return at, decode_record(header, payload)
        at = data.find(MAGIC, at + 1)
    return None


def _opening_in(record: Record) -> SessionOpening | None:
    """The opening that a record is, or that a session's first batch holds."""
    match record:
        case SessionOpening():
            return record
        case Batch(notes=[StreamNote(kind=NoteKind.OPENING) as note, *_]):
            with suppress(ValueError, msgspec.MsgspecError):
                return opening_of(note)
        case _:
            pass
    return None


def _checksum(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()[:_CHECKSUM_BYTES]


# ---------------------------------------------------------------- journals


@define
class _Segment:
    name: str
    size: int


@define(eq=False)
class Spool:
    """The spool of one process: the bound over all journals, and what an earlier process has left."""

    disk: Disk
    bytes_max: int
    status: SpoolStatus
    room: Wakeup = field(factory=Wakeup, init=False)
    """Notified whenever there may be room again."""

    def __attrs_post_init__(self) -> None:
        self.status.bytes_max = self.bytes_max

    @property
    def segment_bytes_max(self) -> int:
        """How long a segment may get: space comes back in pieces of this size."""
        return min(SEGMENT_BYTES_MAX, self.bytes_max // 16)

    def journal(self, opening: SessionOpening) -> "Journal":
        """A journal for a session of this process, without a file until something waits."""
        return Journal(self, opening)

    async def leftovers(self) -> list["Journal"]:
        """Journals that an earlier process has left. Files of which nothing can be read are put aside."""
        names: dict[str, list[str]] = {}
        sizes = await self.disk.sizes()
        for name in sorted(sizes):
            if name.endswith(SUFFIX):
                names.setdefault(name.split(".", 1)[0], []).append(name)
            elif name.endswith(DAMAGED_SUFFIX):
                self.status.damaged_files += 1
        journals: list[Journal] = []
        for segments in names.values():
            self.count(sum(sizes[name] for name in segments), sessions=1)
            journal = await Journal.of_files(self, [_Segment(name, sizes[name]) for name in segments])
            if journal is not None:
                journals.append(journal)
        return journals

    def forget_failure(self) -> None:
        """The database takes what comes: unless something waits here, what the disk last said is past."""
        if not self.status.bytes:
            self.status.failure = ""

    def check_room(self, size: int) -> None:
        """Raises SpoolFull when so many bytes more would be too many."""
        if self.status.bytes + size > self.bytes_max:
            self.status.is_full = True
            raise SpoolFull(f"the spool holds its {self.bytes_max // 2**20} MB (RL_SPOOL_MAX_MB)")

    def count(self, size: int, sessions: int = 0) -> None:
        """Note bytes and sessions that were added, or with a minus sign those that are gone."""
        self.status.bytes += size
        self.status.sessions += sessions
        if size < 0:
            self.status.is_full = False
            self.room.notify()


@define(eq=False)
class Journal:
    """
    The records of one session that wait, in order. One task appends, one reads.

    `opening` tells whose they are. `torn_bytes` is what was cut short at its end. What waits is counted of
    what this process has appended; nobody knows how many records an earlier one has left.
    """

    spool: Spool
    opening: SessionOpening
    torn_bytes: int = 0
    is_damaged: bool = False
    waiting_frames: int = 0
    waiting_records: int = 0
    _segments: deque[_Segment] = field(factory=deque[_Segment])
    _segments_made: int = 0
    _read_at: int = 0
    _head: Record | None = None
    # A segment must not go while a record is on its way into it: who appends and who reads take turns.
    _turns: trio.Lock = field(factory=trio.Lock)

    @classmethod
    async def of_files(cls, spool: Spool, segments: list[_Segment]) -> "Journal | None":
        """The journal that files of an earlier process hold; None when not even their opening can be read."""
        journal = cls(spool, cast("SessionOpening", None))
        journal._segments.extend(segments)
        data = b""
        for segment in segments:
            data = await journal._read_rest(segment, 0)
            found = find_record(data)
            opening = _opening_in(found[1]) if found is not None else None
            if opening is not None:
                journal.opening = opening
                return journal
        if len(segments) == 1 and _is_cut_short(data):
            # A kill before the first record was whole: there is nothing in it.
            await journal.discard()
        else:
            await journal._put_files_aside()
        return None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._segments

    async def append(self, record: Batch | SessionEnding) -> None:
        """
        Put a record behind the others; it is on the disk when this returns.

        Raises SpoolFull and SpoolFailed, and has appended nothing then. Cancelled, it has appended the record
        or nothing: who is cancelled in it was cancelled before anything was written.
        """
        async with self._turns:
            await self._append(record)

    async def _append(self, record: Batch | SessionEnding) -> None:
        data = encode_record(record)
        segment = self._segments[-1] if self._segments else None
        if segment is None or segment.size + len(data) > self.spool.segment_bytes_max:
            # Twice: without its opening nobody can tell whose the rest of a file is.
            data = encode_record(self.opening) * 2 + data
            segment = _Segment(f"{self.opening.key}.{self._segments_made + 1:06d}{SUFFIX}", 0)
        self.spool.check_room(len(data))
        try:
            await self.spool.disk.write(segment.name, segment.size, data)
        except OSError as error:
            self.spool.status.failure = _words(error)
            raise SpoolFailed(f"the spool can't be written: {_words(error)}") from error
        self.spool.status.failure = ""
        self.spool.status.is_full = False
        if not segment.size:
            self._segments.append(segment)
            self._segments_made += 1
        segment.size += len(data)
        self.spool.count(len(data), sessions=int(len(self._segments) == 1 and segment.size == len(data)))
        self.waiting_records += 1
        self.spool.status.records += 1
        if isinstance(record, Batch):
            self.waiting_frames += len(record.frames)

    async def first(self) -> Batch | SessionEnding | None:
        """The oldest record, which stays until `advance`; None when nothing can be read any more."""
        async with self._turns:
            return await self._first()

    async def _first(self) -> Batch | SessionEnding | None:
        while self._head is None or isinstance(self._head, SessionOpening):
            self._head = await self._read_next()
            if self._head is None:
                return None
        return self._head

    async def advance(self) -> None:
        """The record that `first` gave is in the database: let go of it, and of segments that are done."""
        async with self._turns:
            # Whole or not at all: counts, segments and files would part.
            with trio.move_on_after(ADVANCE_S_MAX, shield=True):
                await self._advance()

    async def _advance(self) -> None:
        if isinstance(self._head, Batch):
            self.waiting_frames = max(0, self.waiting_frames - len(self._head.frames))
        self._head = None
        self.spool.status.drained_records += 1
        if self.waiting_records:
            self.waiting_records -= 1
            self.spool.status.records -= 1
        segment = self._segments[0]
        if self._read_at >= segment.size:
            await self._remove_first()

    async def discard(self) -> None:
        """Let go of all files: everything that can be had of them is in the database."""
        while self._segments:
            await self._remove_first()

    async def _read_next(self) -> Record | None:
        """The next record, past segments that are read to their end; None behind the last one."""
        while self._segments:
            segment = self._segments[0]
            if self._read_at < segment.size:
                record = await self._read_record(segment)
                if record is not None:
                    return record
            await self._remove_first()
        return None

    async def _read_record(self, segment: _Segment) -> Record | None:
        """The record at the reading place, or the next whole one; None where the file has no further one."""
        header = await self._read(segment, self._read_at, _HEADER_BYTES)
        try:
            length = payload_length(header)
            payload = await self._read(segment, self._read_at + _HEADER_BYTES, length)
            record = decode_record(header, payload)
        except DamagedRecord:
            return await self._skip_damage(segment)
        self._read_at += _HEADER_BYTES + length
        return record

    async def _skip_damage(self, segment: _Segment) -> Record | None:
        """Go on with the next whole record of the file, if any. What can't be read is torn or damaged."""
        rest = await self._read_rest(segment, self._read_at)
        found = find_record(rest)
        if found is None and len(self._segments) == 1 and _is_cut_short(rest):
            self.torn_bytes = len(rest)
            self.spool.status.torn_records += 1
            _log.warning("spool_record_torn", file=segment.name, bytes=len(rest))
            self._read_at = segment.size
            return None
        damaged = rest if found is None else rest[: found[0]]
        await self._keep_damaged(segment, damaged)
        self._read_at += len(damaged)
        return None if found is None else await self._read_record(segment)

    async def _keep_damaged(self, segment: _Segment, data: bytes) -> None:
        """Keep bytes that can't be read in a file of their own, if the disk has room."""
        self.is_damaged = True
        self.spool.status.damaged_files += 1
        name = f"{segment.name.removesuffix(SUFFIX)}.{self._read_at}{DAMAGED_SUFFIX}"
        _log.error(
            "spool_record_damaged", file=segment.name, byte=self._read_at, bytes=len(data), kept_in=name
        )
        try:
            await self.spool.disk.write(name, 0, data)
        except OSError as error:
            _log.error("damaged_record_not_kept", file=name, reason=_words(error))

    async def _read_rest(self, segment: _Segment, start: int) -> bytes:
        return await self._read(segment, start, segment.size - start)

    async def _read(self, segment: _Segment, start: int, size: int) -> bytes:
        try:
            return await self.spool.disk.read(segment.name, start, size)
        except OSError as error:
            self.spool.status.failure = _words(error)
            raise SpoolFailed(f"the spool can't be read: {_words(error)}") from error

    async def _put_files_aside(self) -> None:
        """Nothing of the files can be read: they keep their content under another name."""
        while self._segments:
            segment = self._segments.popleft()
            new_name = segment.name.removesuffix(SUFFIX) + DAMAGED_SUFFIX
            await self.spool.disk.rename(segment.name, new_name)
            self.spool.count(-segment.size, sessions=-int(not self._segments))
            self.spool.status.damaged_files += 1
            _log.error("spool_file_damaged", kept_in=new_name)

    async def _remove_first(self) -> None:
        segment = self._segments.popleft()
        self._read_at = 0
        if not self._segments:
            # After damage nobody knows how many frames and records it had.
            self.spool.status.records -= self.waiting_records
            self.waiting_records = self.waiting_frames = 0
        try:
            await self.spool.disk.remove(segment.name)
        except OSError as error:
            # It would come again at the next start, and the ledger would know every batch of it.
            _log.warning("a spool file could not be removed", file=segment.name, reason=_words(error))
        self.spool.count(-segment.size, sessions=-int(not self._segments))


def _words(error: OSError) -> str:
    return error.strerror or str(error)
