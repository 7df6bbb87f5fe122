"""
Records as they lie in a spool file. Pure.

A record is a magic word, the length of its payload, a checksum and the payload: MessagePack, compressed. A
reader that meets damage finds the next whole record by the magic word and the checksum.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from types import GenericAlias
from typing import Any, Final, TypeAlias

import msgspec
import zstandard

from collector.errors import CollectorError
from collector.facts import Fact, FrameCounts, NoteKind, ReceivedFrame, StreamNote
from collector.storage import KINDS, Batch, SessionEnding, SessionOpening, opening_of

MAGIC: Final = b"RLS4"
HEADER_BYTES: Final = 16
_CHECKSUM_BYTES: Final = 8
RECORD_BYTES_MAX: Final = 2**30
LEVEL: Final = 1
"""A spooled batch is compressed for the disk's sake, and only for a while."""

_FACT_LISTS: Final[dict[str, Any]] = {kind.name: GenericAlias(list, kind.fact) for kind in KINDS}

Record: TypeAlias = SessionOpening | Batch | SessionEnding


class DamagedRecord(CollectorError):  # noqa: N818 - names the thing
    """What lies in a spool file is not what was written."""


def encode_record(record: Record) -> bytes:
    """A record as it lies in a file: magic, length, checksum, payload."""
    match record:
        case SessionOpening():
            content: tuple[Any, ...] = ("opening", record)
        case SessionEnding():
            content = ("ending", record)
        case Batch():
            facts = {kind.name: rows for kind, rows in record.rows.items()}
            place = (record.number, record.next_frame, record.formed_us)
            content = ("batch", *place, record.counts, record.frames, record.notes, facts)
    payload = zstandard.ZstdCompressor(level=LEVEL).compress(msgspec.msgpack.encode(content))
    return MAGIC + len(payload).to_bytes(4, "big") + _checksum(payload) + payload


def payload_length(header: bytes) -> int:
    """How many bytes follow a header. Raises DamagedRecord."""
    length = int.from_bytes(header[4:8], "big")
    if len(header) < HEADER_BYTES or header[:4] != MAGIC or length > RECORD_BYTES_MAX:
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
    number, next_frame, formed_us, counts, frames, notes, grouped = rest
    facts: list[Fact] = []
    for name, group in msgspec.msgpack.decode(grouped, type=dict[str, msgspec.Raw]).items():
        facts += msgspec.msgpack.decode(group, type=_FACT_LISTS[name])
    return Batch(
        msgspec.msgpack.decode(number, type=int),
        msgspec.msgpack.decode(frames, type=list[ReceivedFrame]),
        facts,
        msgspec.msgpack.decode(counts, type=FrameCounts),
        msgspec.msgpack.decode(next_frame, type=int),
        formed_us=msgspec.msgpack.decode(formed_us, type=int),
        notes=msgspec.msgpack.decode(notes, type=list[StreamNote]),
    )


def _is_whole(header: bytes, payload: bytes) -> bool:
    """Whether these are all bytes of a record. Raises DamagedRecord when no record begins with the header."""
    return len(payload) == payload_length(header) and _checksum(payload) == header[8:HEADER_BYTES]


def is_cut_short(rest: bytes) -> bool:
    """Whether the end of a file is the beginning of a record, or nothing but space for one."""
    if not rest.startswith(MAGIC):
        return MAGIC.startswith(rest) or not any(rest)
    is_only_one = MAGIC not in rest[len(MAGIC) :]
    return is_only_one and (
        len(rest) < HEADER_BYTES or not _is_whole(rest[:HEADER_BYTES], rest[HEADER_BYTES:])
    )


def find_record(data: bytes, start: int = 0) -> tuple[int, Record] | None:
    """The first whole record at or after a place: its offset, and the record. None without any."""
    at = data.find(MAGIC, start)
    while at >= 0:
        header = data[at : at + HEADER_BYTES]
        with suppress(DamagedRecord):
            payload = data[at + HEADER_BYTES : at + HEADER_BYTES + payload_length(header)]
            return at, decode_record(header, payload)
        at = data.find(MAGIC, at + 1)
    return None


def opening_in(record: Record) -> SessionOpening | None:
    """The opening that a record is, or that a session's first batch holds."""
    match record:
        case SessionOpening():
            return record
        case Batch(notes=[StreamNote(kind=NoteKind.OPENING) as note, *_]):
            with suppress(ValueError, msgspec.MsgspecError):
                return opening_of(note.content)
        case _:
            pass
    return None


def _checksum(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()[:_CHECKSUM_BYTES]
