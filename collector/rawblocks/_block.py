"""
Raw blocks: runs of a session's stream, verbatim, compressed and hashed. Pure.

A block of format 2 is zstd, primed with a session's dictionary and the primer of `_primer`, over a
MessagePack array of three things: the frames as `_elision` shortens them, their receive times, and the notes.
See docs/recording-format.md.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, count
from typing import Annotated, Final

import msgspec
import zstandard
from attrs import frozen

from collector.errors import CollectorError
from collector.facts import NoteKind, ReceivedFrame, StreamNote
from collector.rawblocks._dictionary import Lexicon
from collector.rawblocks._elision import Abridged, abridge, differences_of, restore
from collector.rawblocks._primer import PRIMER

FORMAT: Final = 2
LEVEL: Final = 8
"""
In blocks of 100 frames, level 9 saves at most 0.1 bytes a frame more, and encoding takes up to 1.3 times as
long. Level 6 takes about the same time and adds 0.6 bytes a frame with many markets. Level 1 takes 0.6 to
0.8 times as long and adds 1.2 to 2.4 bytes.
"""
BLOCK_BYTES_MAX: Final = 2**30
"""Maximum size of a block before compression."""
COMPRESSION_RATIO_MAX: Final = 2**15
"""
Upper bound of what zstd reaches: 128 KiB of one repeated byte take 4 bytes.

A payload that declares a larger content than this allows is damaged, and no memory is allocated for it.
"""


class DamagedBlock(CollectorError):  # noqa: N818 - names the thing
    """A raw block is not what was written."""


@frozen
class RawBlock:
    """A compressed run of a stream, a row of `rl_raw_blocks`. `lexicon_number` is 0 without a dictionary."""

    first_received_us: int
    last_received_us: int
    first_frame: int
    last_frame: int
    batch_number: int
    format: int
    lexicon_number: int
    payload: bytes


@frozen
class BlockContent:
    """What a block holds: frames whose numbers follow each other, and the notes around and between them."""

    frames: tuple[ReceivedFrame, ...]
    notes: tuple[StreamNote, ...]


class _Note(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A note as it is stored."""

    kind: NoteKind
    frames_since: Annotated[int, msgspec.Meta(ge=0)]
    """Number of frames of the block since the note before it; since the start of the block for the first."""
    noted_us: int
    """Difference from the note before it; from zero for the first."""
    content: str


class _Content(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A block before compression."""

    frames: Abridged
    received_us: list[int]
    """Difference from the frame before; from zero for the first."""
    notes: list[_Note]


_decoder = msgspec.msgpack.Decoder(_Content)


def encode_block(
    first_frame: int,
    frames: Sequence[ReceivedFrame],
    notes: Sequence[StreamNote] = (),
    lexicon: Lexicon = Lexicon(),  # noqa: B008 - frozen
    *,
    batch_number: int = 0,
) -> RawBlock:
    """
    Compress a run of a session's stream: frames, notes or both.

    `first_frame` is the number of the first frame; without frames, that of the session's next frame. Notes
    are in the order of the stream. `batch_number` is that of the ledger, 0 outside of one.
    """
    last_frame = first_frame + len(frames) - 1
    assert frames or notes, "a block holds at least one frame or note"
    if frames:
        numbers = (frames[0].number, frames[-1].number)
        assert numbers == (first_frame, last_frame), "frame numbers must follow each other"
    received_us = [frame.received_us for frame in frames]
    abridged = abridge([frame.text for frame in frames], received_us)
    content = msgspec.msgpack.encode(
        _Content(abridged, differences_of(received_us), _pack_notes(notes, first_frame, last_frame))
    )
    assert len(content) <= BLOCK_BYTES_MAX, "larger than decode_block accepts"
    payload = _compressor(lexicon.content).compress(content)
    times_us = received_us or [note.noted_us for note in notes]
    return RawBlock(
        first_received_us=times_us[0],
        last_received_us=times_us[-1],
        first_frame=first_frame,
        last_frame=last_frame,
        batch_number=batch_number,
        format=FORMAT,
        lexicon_number=lexicon.number,
        payload=payload,
    )


def decode_block(first_frame: int, payload: bytes, lexicon_content: bytes = b"") -> BlockContent:
    """The frames and notes of a block, verbatim. Raises DamagedBlock and nothing else."""
    try:
        content = _decoder.decode(_decompress(payload, lexicon_content))
        received_us = list(accumulate(content.received_us))
        texts = restore(content.frames, received_us)
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError) as error:
        raise DamagedBlock(str(error)) from error
    frames = tuple(map(ReceivedFrame, count(first_frame), received_us, texts))
    notes = _unpack_notes(content.notes, first_frame, first_frame + len(frames) - 1)
    if not frames and not notes:
        raise DamagedBlock("neither frames nor notes")
    return BlockContent(frames, notes)


def _pack_notes(notes: Sequence[StreamNote], first_frame: int, last_frame: int) -> list[_Note]:
    packed: list[_Note] = []
    after_frame, noted_us = first_frame - 1, 0
    for note in notes:
        assert after_frame <= note.after_frame <= last_frame, "a note is outside the block or out of order"
        packed.append(
            _Note(note.kind, note.after_frame - after_frame, note.noted_us - noted_us, note.content)
        )
        after_frame, noted_us = note.after_frame, note.noted_us
    return packed


def _unpack_notes(packed: Sequence[_Note], first_frame: int, last_frame: int) -> tuple[StreamNote, ...]:
    notes: list[StreamNote] = []
    after_frame, noted_us = first_frame - 1, 0
    for note in packed:
        after_frame += note.frames_since
        noted_us += note.noted_us
        notes.append(StreamNote(note.kind, after_frame, noted_us, note.content))
    if after_frame > last_frame:
        raise DamagedBlock(f"a note follows frame {after_frame}, and the block ends with frame {last_frame}")
    return tuple(notes)


def _decompress(payload: bytes, lexicon_content: bytes) -> bytes:
    """The size that the payload declares is allocated at once, so it is checked first."""
    size = zstandard.get_frame_parameters(payload).content_size
    if size > min(BLOCK_BYTES_MAX, len(payload) * COMPRESSION_RATIO_MAX):
        raise ValueError(f"{len(payload)} bytes can't hold the declared size, {size} bytes")
    return _decompressor(lexicon_content).decompress(payload, allow_extra_data=False)


@lru_cache(maxsize=16)
def _compressor(lexicon_content: bytes) -> zstandard.ZstdCompressor:
    """A compressor primed with a dictionary. Kept, since priming takes longer than a block."""
    dictionary = _dictionary(lexicon_content)
    dictionary.precompute_compress(level=LEVEL)  # pyright: ignore[reportUnknownMemberType] - returns nothing
    return zstandard.ZstdCompressor(level=LEVEL, dict_data=dictionary)


@lru_cache(maxsize=16)
def _decompressor(lexicon_content: bytes) -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(dict_data=_dictionary(lexicon_content))


def _dictionary(lexicon_content: bytes) -> zstandard.ZstdCompressionDict:
    # The grammar comes last, because what is near is cheapest to refer to.
    return zstandard.ZstdCompressionDict(lexicon_content + PRIMER, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def hash_block(payload: bytes, dictionary: bytes = b"") -> bytes:
    """The SHA-256 of a block: of the content of its dictionary, followed by its payload."""
    return hashlib.sha256(dictionary + payload).digest()
