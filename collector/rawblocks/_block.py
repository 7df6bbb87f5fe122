"""
Raw blocks: runs of frames, verbatim, compressed and checksummed. Pure.

A block of format 1 is zstd, primed with a session's lexicon and the text below, over MessagePack of three
things: the differences of the receive times (the first one from zero), the lengths in bytes of the frames as
`prediction` shortens them, and their UTF-8 bytes one after the other. See docs/recording-format.md.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final

import msgspec
import zstandard
from attrs import frozen

from collector.errors import CollectorError
from collector.facts import ReceivedFrame
from collector.rawblocks._dictionary import Lexicon
from collector.rawblocks._elision import abridge, restore

FORMAT: Final = 1
LEVEL: Final = 6
"""Measured by bench/storage.py: level 9 saves under 0.3 bytes a frame more and takes twice the time."""
CHECKSUM_BYTES: Final = 8
BLOCK_BYTES_MAX: Final = 2**30

# Small blocks are mostly the frames' grammar; priming the compressor with it saves 2 bytes a frame in blocks
# of a hundred and 14 in blocks of ten. Part of the format: blocks can't be read without it.
_PRIMER: Final = (
    b'{"type":"subscribed","id":1,"msg":{"channel":"orderbook_delta","sid":1}}\n'
    b'{"type":"orderbook_snapshot","sid":1,"seq":1,"msg":{"market_ticker":"KX","market_id":"-4000-8000-",'
    b'"yes_dollars_fp":[["0.0100","100.00"],["0.0200","50.00"]],"no_dollars_fp":[["0.0100","100.00"]]}}\n'
    b'{"type":"trade","sid":2,"seq":1,"msg":{"trade_id":"-4000-8000-","market_ticker":"KX-26",'
    b'"yes_price_dollars":"0.5000","no_price_dollars":"0.5000","count_fp":"10.00","taker_side":"yes",'
    b'"taker_outcome_side":"yes","taker_book_side":"bid","is_block_trade":false,"ts":1786400000,'
    b'"ts_ms":1786400000000}}\n'
    b'{"type":"orderbook_delta","sid":1,"seq":100,"msg":{"market_ticker":"KX-26","market_id":"-4000-8000-",'
    b'"price_dollars":"0.4500","delta_fp":"-100.00","side":"no","ts":"2026-08-11T01:15:15.500000Z",'
    b'"ts_ms":1786400000000}}\n'
    b'{"type":"orderbook_delta","sid":1,"seq":1000,"msg":{"market_ticker":"KX-26","market_id":"-4000-8000-",'
    b'"price_dollars":"0.5500","delta_fp":"50.00","side":"yes","ts":"2026-08-11T01:15:15.500000Z",'
    b'"ts_ms":1786400000000}}'
)


class DamagedBlock(CollectorError):  # noqa: N818 - names the thing
    """A raw block is not what was written."""


@frozen
class RawBlock:
    """A compressed run of frames: one row of `rl_raw_blocks`. `lexicon_number` is 0 without a dictionary."""

    first_received_us: int
    last_received_us: int
    first_frame: int
    last_frame: int
    format: int
    lexicon_number: int
    checksum: bytes
    payload: bytes


def encode_block(frames: Sequence[ReceivedFrame], lexicon: Lexicon = Lexicon()) -> RawBlock:  # noqa: B008
    """Compress frames whose numbers follow each other. At least one."""
    first, last = frames[0], frames[-1]
    assert last.number - first.number + 1 == len(frames), "frame numbers must follow each other"
    times_us = [frame.received_us for frame in frames]
    texts = [text.encode() for text in abridge(frame.text for frame in frames)]
    content = (
        [times_us[0], *(later - earlier for earlier, later in pairwise(times_us))],
        [len(text) for text in texts],
        b"".join(texts),
    )
    payload = _compressor(lexicon.content).compress(msgspec.msgpack.encode(content))
    return RawBlock(
        first_received_us=first.received_us,
        last_received_us=last.received_us,
        first_frame=first.number,
        last_frame=last.number,
        format=FORMAT,
        lexicon_number=lexicon.number,
        checksum=checksum_of(payload),
        payload=payload,
    )


def decode_block(first_frame: int, payload: bytes, lexicon_content: bytes = b"") -> list[ReceivedFrame]:
    """The frames of a block, verbatim. Raises DamagedBlock."""
    try:
        content = _decompressor(lexicon_content).decompress(payload, max_output_size=BLOCK_BYTES_MAX)
        differences_us, lengths, joined = msgspec.msgpack.decode(
            content, type=tuple[list[int], list[int], bytes]
        )
        ends = list(accumulate(lengths))
        if len(differences_us) != len(lengths) or (ends[-1] if ends else 0) != len(joined):
            raise DamagedBlock("lengths do not add up")
        abridged = (joined[end - length : end].decode() for end, length in zip(ends, lengths, strict=True))
        texts = list(restore(abridged))
    except (zstandard.ZstdError, msgspec.MsgspecError, ValueError) as error:
        raise DamagedBlock(str(error)) from error
    stamped = zip(accumulate(differences_us), texts, strict=True)
    return [
        ReceivedFrame(number, received_us, text)
        for number, (received_us, text) in enumerate(stamped, first_frame)
    ]


@lru_cache(maxsize=16)
def _compressor(lexicon_content: bytes) -> zstandard.ZstdCompressor:
    """A compressor primed with a lexicon. Kept, since priming takes longer than a block."""
    dictionary = _dictionary(lexicon_content)
    dictionary.precompute_compress(level=LEVEL)  # pyright: ignore[reportUnknownMemberType] - returns nothing
    return zstandard.ZstdCompressor(level=LEVEL, dict_data=dictionary)


@lru_cache(maxsize=16)
def _decompressor(lexicon_content: bytes) -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(dict_data=_dictionary(lexicon_content))


def _dictionary(lexicon_content: bytes) -> zstandard.ZstdCompressionDict:
    # The grammar comes last, because what is near is cheapest to refer to.
    return zstandard.ZstdCompressionDict(lexicon_content + _PRIMER, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def checksum_of(payload: bytes) -> bytes:
    """The first 8 bytes of SHA-256."""
    return hashlib.sha256(payload).digest()[:CHECKSUM_BYTES]
