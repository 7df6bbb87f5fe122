"""
Where batches wait on disk while PostgreSQL is away, and are kept after they were written.

Theory of operation. Each session has a journal: numbered files, each of which begins with the session's
opening, so that every file can be read alone. Records are appended, and are on the disk when `append`
returns; they are read back in order. A record that was written to the database stays for the rewrite window:
a server that takes over may lack the last seconds. Where the database turns out to hold less than it has
confirmed, `resume_after` sets the reading place back, and the same records are read again. A record that is
written twice does no harm, because the ledger knows each batch. A batch that does not have to wait goes into
the journal with `keep` before it is written, and is `confirm`ed after.

A record that is cut short at the end of a journal is what a kill or a power cut leaves: it is skipped and
counted. Everything else that can't be read is damage. It costs the damaged record alone: reading continues
with the next whole record, and the damaged bytes are kept in a file of their own, for a person to look at.
The database then has a hole in the session's ledger, which readers treat as a gap.

The bound in bytes is that of all journals together, and what waits comes first: kept records leave.
Nothing here knows why batches wait. Disk access comes in as a `Disk`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import dropwhile
from typing import Final, cast

import trio
from attrs import define, field

from collector.observe import SpoolStatus, get_logger
from collector.spool._disk import (
    DAMAGED_SUFFIX,
    REFUSED_SUFFIX,
    SUFFIX,
    Disk,
    SpoolFailed,
    SpoolFile,
    SpoolFull,
    words_of,
)
from collector.spool._records import (
    HEADER_BYTES,
    DamagedRecord,
    Record,
    decode_record,
    encode_record,
    find_record,
    is_cut_short,
    payload_length,
)
from collector.storage import Batch, SessionEnding, SessionOpening
from collector.wakeup import Wakeup

FILE_BYTES_MAX: Final = 16 * 2**20
"""Some seconds of the busiest flow; a small spool has smaller files."""
ADVANCE_S_MAX: Final = 5.0
"""For taking files away."""
LOOKED_AT_MAX: Final = 50
"""Records that are looked at to find one that is like a refused one."""

_log = get_logger("spool")


@define(eq=False)
class Spool:
    """
    The spool of one process: the bound over all journals.

    `rewrite_window_s` is how long records stay after they were written to the database; 0: not at all.
    """

    disk: Disk
    bytes_max: int
    status: SpoolStatus
    rewrite_window_s: float = 0.0
    room: Wakeup = field(factory=Wakeup, init=False)
    """Notified whenever there may be room again."""
    _journals: set["Journal"] = field(factory=set["Journal"], init=False)

    def __attrs_post_init__(self) -> None:
        self.status.bytes_max = self.bytes_max

    @property
    def file_bytes_max(self) -> int:
        """How long a file may get: space comes back in pieces of this size."""
        return min(FILE_BYTES_MAX, self.bytes_max // 16)

    def journal(self, opening: SessionOpening) -> "Journal":
        """A journal for a session of this process, without a file until there is a record."""
        return Journal(self, opening)

    def forget_failure(self) -> None:
        """The database takes what comes: unless something waits here, what the disk last said is past."""
        if not self.status.bytes:
            self.status.failure = ""

    def note_files(self, journal: "Journal") -> None:
        """A journal has other files, or another reading place: count what waits and what is kept."""
        if journal.file_bytes:
            self._journals.add(journal)
        else:
            self._journals.discard(journal)
        waiting = [each.waiting_bytes for each in self._journals]
        held = sum(each.file_bytes for each in self._journals)
        has_room = held < self.status.bytes + self.status.kept_bytes
        self.status.bytes = sum(waiting)
        self.status.kept_bytes = held - self.status.bytes
        self.status.sessions = sum(map(bool, waiting))
        self.status.records = sum(each.waiting_records for each in self._journals)
        if has_room:
            self.status.is_full = False
            self.room.notify()

    async def make_room(self, size: int) -> bool:
        """Let the oldest kept records go until `size` bytes more fit. False where they never will."""
        while self.status.bytes + self.status.kept_bytes + size > self.bytes_max:
            candidates = [journal for journal in self._journals if journal.has_file_to_spare]
            if not candidates:
                return False
            oldest = min(candidates, key=lambda journal: cast("float", journal.kept_until_s))
            await oldest.remove_kept_file()
        return True


@define(eq=False)
class Journal:
    """
    The records of one session, in order: those that are kept, and then those that wait. One task appends, one
    reads.

    `opening` says which session it is. `torn_bytes` is what was cut short at its end. Frames and records are
    counted that this process has appended or read; nobody knows how many an earlier one has left.
    """

    spool: Spool
    opening: SessionOpening
    torn_bytes: int = 0
    is_damaged: bool = False
    refused_rounds: int = 0
    """How often in a row the first batch that waits was refused while a later one was accepted."""
    _files: deque[SpoolFile] = field(factory=deque[SpoolFile])
    _files_made: int = 0
    _reading: SpoolFile | None = None
    """The file that is read; None while nothing waits. Those before it hold kept records alone."""
    _read_at: int = 0
    _frames_read: int = 0
    _records_read: int = 0
    _head: Batch | SessionEnding | None = None
    _last_confirmed: int = 0
    _last_kept: int | None = None
    _set_aside: set[int] = field(factory=set[int])
    """Numbers of batches that are refused alone: they are not read again."""
    # A file must not go while a record is being written into it: who appends and who reads take turns.
    _turns: trio.Lock = field(factory=trio.Lock)

    @classmethod
    def reopened(cls, spool: Spool, opening: SessionOpening, files: Iterable[SpoolFile]) -> "Journal":
        """The journal that files of an earlier process hold: all of it waits."""
        journal = cls(spool, opening)
        journal._files.extend(files)
        journal._read_from(journal._files[0], 0)
        return journal

    # What there is.

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return self._reading is None

    @property
    def file_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self._files)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that are to be read."""
        return sum(file.size for file in self._unread()) - self._read_at

    @property
    def waiting_frames(self) -> int:
        """Frames that wait, as far as this process has counted them."""
        return max(0, sum(file.frames for file in self._unread()) - self._frames_read)

    @property
    def waiting_records(self) -> int:
        """Records that wait, as far as this process has counted them."""
        return max(0, sum(file.records for file in self._unread()) - self._records_read)

    @property
    def kept_until_s(self) -> float | None:
        """Until when its oldest file is kept for the rewrite window; None where all that it has waits."""
        if not self._files or self._files[0] is self._reading:
            return None
        return self._files[0].confirmed_s + self.spool.rewrite_window_s

    @property
    def last_kept_until_s(self) -> float | None:
        """Until when its newest record is kept; None where it holds none, or some that wait."""
        if not self._files or self._reading is not None:
            return None
        return self._files[-1].confirmed_s + self.spool.rewrite_window_s

    @property
    def has_file_to_spare(self) -> bool:
        """Whether its oldest file holds kept records alone, and nothing is being written into it."""
        return self.kept_until_s is not None and (len(self._files) > 1 or not self._turns.locked())

    def _unread(self) -> Iterator[SpoolFile]:
        if self._reading is None:
            return iter(())
        return dropwhile(lambda file: file is not self._reading, self._files)

    # Putting records in.

    async def append(self, record: Batch | SessionEnding) -> None:
        """
        Put a record at the end, to wait; it is on the disk when this returns.

        Raises SpoolFull and SpoolFailed, and has appended nothing then. Cancelled, it has appended the record
        or nothing: who is cancelled in it was cancelled before anything was written.
        """
        async with self._turns:
            data, file = self._place(record)
            if not await self.spool.make_room(len(data)):
                self.spool.status.is_full = True
                raise SpoolFull(f"the spool holds its {self.spool.bytes_max // 2**20} MB (RL_SPOOL_MAX_MB)")
            try:
                await self.spool.disk.write(file.name, file.size, data)
            except OSError as error:
                self.spool.status.failure = words_of(error)
                raise SpoolFailed(f"the spool can't be written: {words_of(error)}") from error
            self.spool.status.failure = ""
            self.spool.status.is_full = False
            if self._reading is None:
                self._read_from(file, file.size)
            self._add(record, file, len(data))

    async def keep(self, record: Batch | SessionEnding) -> None:
        """
        Keep a record for the rewrite window that does not have to wait: it is written right after this.

        A disk that does not take it costs no frame, so that is noted and nothing else. Only while nothing
        waits. A batch that is kept already is not kept twice.
        """
        number = record.number if isinstance(record, Batch) else None
        if not self.spool.rewrite_window_s or (number is not None and number == self._last_kept):
            return
        async with self._turns:
            assert self._reading is None, "what waits comes before it"
            data, file = self._place(record)
            status = self.spool.status
            status.keep_failure = "" if await self.spool.make_room(len(data)) else "the spool is full"
            try:
                if not status.keep_failure:
                    await self.spool.disk.write(file.name, file.size, data, is_durable=False)
            except OSError as error:
                status.keep_failure = words_of(error)
            if not status.keep_failure:
                file.confirmed_s = trio.current_time()
                self._add(record, file, len(data))
            self._last_kept = number

    async def confirm(self, batch: Batch) -> None:
        """A batch that did not wait is in the database: if it was kept, it stays for the rewrite window."""
        async with self._turns:
            self._last_confirmed = batch.number
            if self._files:
                self._files[-1].confirmed_s = trio.current_time()
            with trio.move_on_after(ADVANCE_S_MAX, shield=True):
                await self._remove_expired()

    def _place(self, record: Batch | SessionEnding) -> tuple[bytes, SpoolFile]:
        """The bytes to write, and the file to write them to, which may be a new one."""
        data = encode_record(record)
        now_s = trio.current_time()
        file = self._files[-1] if self._files else None
        is_old = file is not None and self.is_empty and now_s - file.begun_s >= self.spool.rewrite_window_s
        if file is None or is_old or file.size + len(data) > self.spool.file_bytes_max:
            # Twice: without its opening nobody can tell whose the rest of a file is.
            data = encode_record(self.opening) * 2 + data
            file = SpoolFile(f"{self.opening.key}.{self._files_made + 1:06d}{SUFFIX}", begun_s=now_s)
        return data, file

    def _add(self, record: Batch | SessionEnding, file: SpoolFile, size: int) -> None:
        if not file.size:
            self._files.append(file)
            self._files_made += 1
        file.size += size
        file.records += 1
        if isinstance(record, Batch):
            file.frames += len(record.frames)
            file.first_batch = file.first_batch or record.number
        self.spool.note_files(self)

    # Reading what waits.

    async def first(self) -> Batch | SessionEnding | None:
        """The oldest record that waits, which stays until `advance`; None when nothing waits any more."""
        async with self._turns:
            while self._head is None and self._reading is not None:
                record = await self._read_next(self._reading)
                if record is None:
                    self._leave_file(self._reading)
                    await self._remove_expired()
                elif not isinstance(record, SessionOpening):
                    self._head = record
                    if isinstance(record, Batch) and record.number in self._set_aside:
                        await self._advance()
            return self._head

    async def advance(self) -> None:
        """The record that `first` gave is in the database: from now on it is kept for the rewrite window."""
        async with self._turns:
            # Whole or not at all: counts, places and files would part.
            with trio.move_on_after(ADVANCE_S_MAX, shield=True):
                await self._advance()

    async def set_aside(self, reason: str) -> None:
        """
        The record that `first` gave is refused while others are accepted: keep it in a file of its own, with
        the reason beside it, and continue with the next one. Raises SpoolFailed.
        """
        async with self._turns:
            assert isinstance(self._head, Batch)
            name = f"{self.opening.key}.batch-{self._head.number:06d}{REFUSED_SUFFIX}"
            data = encode_record(self.opening) * 2 + encode_record(self._head)
            try:
                await self.spool.disk.write(name, 0, data)
                await self.spool.disk.write(f"{name}.txt", 0, f"{reason}\n".encode())
            except OSError as error:
                raise SpoolFailed(f"a refused batch can't be set aside: {words_of(error)}") from error
            self.spool.status.refused_batches += 1
            self._set_aside.add(self._head.number)
            _log.error("batch_set_aside", file=name, batch=self._head.number, reason=reason)
            with trio.move_on_after(ADVANCE_S_MAX, shield=True):
                await self._advance()

    async def find_later(self, is_like: Callable[[Batch], bool]) -> Batch | None:
        """A batch that waits after the one that `first` gave; the first for which `is_like` holds, if any."""
        async with self._turns:
            looked_at = 0
            at = self._read_at
            for file in list(self._unread()):
                while at < file.size and looked_at < LOOKED_AT_MAX:
                    try:
                        record, at = await self._read_record(file, at)
                    except DamagedRecord:
                        break
                    looked_at += 1
                    if isinstance(record, Batch) and is_like(record):
                        return record
                at = 0
            return None

    async def resume_after(self, last_batch: int) -> int:
        """
        The database holds the session's batches up to this number: have those that it has lost read again.

        Returns how many of the lost ones are not here any more.
        """
        async with self._turns:
            if last_batch >= self._last_confirmed:
                return 0
            lost = self._last_confirmed - last_batch
            _log.warning("batches_missing", session=str(self.opening.key), after=last_batch, batches=lost)
            self._last_confirmed = last_batch
            start: SpoolFile | None = None
            for file in self._files:
                if file.first_batch is not None and (start is None or file.first_batch <= last_batch + 1):
                    start = file
            if start is None or start.first_batch is None:
                return lost
            self._read_from(start, 0)
            return min(lost, max(0, start.first_batch - last_batch - 1))

    async def remove_expired(self) -> None:
        """Let go of what is kept and was found to be in the database before the rewrite window."""
        async with self._turns:
            await self._remove_expired()

    async def remove_kept_file(self) -> None:
        """Remove the oldest file, which holds kept records alone."""
        file = self._files.popleft()
        assert file is not self._reading
        self.spool.note_files(self)
        try:
            await self.spool.disk.remove(file.name)
        except OSError as error:
            # It would come again at the next start, and the ledger would know every batch of it.
            _log.warning("a spool file could not be removed", file=file.name, reason=words_of(error))

    async def _advance(self) -> None:
        assert self._reading is not None
        file, record = self._reading, self._head
        self._head, self.refused_rounds = None, 0
        self._records_read += 1
        file.records = max(file.records, self._records_read)
        if isinstance(record, Batch):
            self._frames_read += len(record.frames)
            file.frames = max(file.frames, self._frames_read)
            file.first_batch = file.first_batch or record.number
            if record.number not in self._set_aside:
                self._last_confirmed = max(self._last_confirmed, record.number)
        self.spool.status.drained_records += 1
        file.confirmed_s = trio.current_time()
        if self._read_at >= file.size:
            self._leave_file(file)
        self.spool.note_files(self)
        await self._remove_expired()

    def _read_from(self, file: SpoolFile, at: int) -> None:
        """Set the reading place: at the start of a file, or at its end before something is added to it."""
        self._head = None
        self._reading, self._read_at = file, at
        self._frames_read, self._records_read = (file.frames, file.records) if at else (0, 0)
        self.spool.note_files(self)

    def _leave_file(self, file: SpoolFile) -> None:
        """A file is read to its end: continue with the next one, if any."""
        file.confirmed_s = trio.current_time()
        self._read_at = self._frames_read = self._records_read = 0
        after = list(self._unread())[1:]
        self._reading = after[0] if after else None
        self.spool.note_files(self)

    async def _remove_expired(self) -> None:
        now_s = trio.current_time()
        while (until_s := self.kept_until_s) is not None and until_s <= now_s:
            await self.remove_kept_file()

    async def _read_next(self, file: SpoolFile) -> Record | None:
        """The record at the reading place, or the next whole one; None where the file has no further one."""
        if self._read_at >= file.size:
            return None
        try:
            record, self._read_at = await self._read_record(file, self._read_at)
        except DamagedRecord:
            return await self._skip_damage(file)
        return record

    async def _skip_damage(self, file: SpoolFile) -> Record | None:
        """Continue with the next whole record of the file, if any. What can't be read is torn or damaged."""
        rest = await self._read_rest(file, self._read_at)
        found = find_record(rest)
        if found is None and file is self._files[-1] and is_cut_short(rest):
            self.torn_bytes = len(rest)
            self.spool.status.torn_records += 1
            _log.warning("spool_record_torn", file=file.name, bytes=len(rest))
            self._read_at = file.size
            return None
        damaged = rest if found is None else rest[: found[0]]
        await self._keep_damaged(file, damaged)
        self._read_at += len(damaged)
        return None if found is None else await self._read_next(file)

    async def _keep_damaged(self, file: SpoolFile, data: bytes) -> None:
        """Keep bytes that can't be read in a file of their own, if the disk has room."""
        self.is_damaged = True
        self.spool.status.damaged_files += 1
        name = f"{file.name.removesuffix(SUFFIX)}.{self._read_at}{DAMAGED_SUFFIX}"
        _log.error("spool_record_damaged", file=file.name, byte=self._read_at, bytes=len(data), kept_in=name)
        try:
            await self.spool.disk.write(name, 0, data)
        except OSError as error:
            _log.error("damaged_record_not_kept", file=name, reason=words_of(error))

    async def _read_record(self, file: SpoolFile, at: int) -> tuple[Record, int]:
        """The record at a place, and the place after it. Raises DamagedRecord."""
        header = await self._read(file, at, HEADER_BYTES)
        length = payload_length(header)
        payload = await self._read(file, at + HEADER_BYTES, length)
        return decode_record(header, payload), at + HEADER_BYTES + length

    async def _read_rest(self, file: SpoolFile, start: int) -> bytes:
        return await self._read(file, start, file.size - start)

    async def _read(self, file: SpoolFile, start: int, size: int) -> bytes:
        try:
            return await self.spool.disk.read(file.name, start, size)
        except OSError as error:
            self.spool.status.failure = words_of(error)
            raise SpoolFailed(f"the spool can't be read: {words_of(error)}") from error
