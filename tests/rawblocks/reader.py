"""
A reader of raw blocks that was written from docs/recording-format.md and shares no code with the collector.

It reads one frame after the other and replaces one mark after the other, which is slow and plain.
"""

import ast
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import zstandard

PRIMER_FILE = Path(__file__).resolve().parent.parent.parent / "collector/rawblocks/_primer.py"

Frame = tuple[int, int, str]
"""Number, receive time in µs, text."""
Note = tuple[int, int, int, str]
"""Kind, number of the frame before it, time in µs, content."""


def read_primer() -> bytes:
    """The text of the format that every block is compressed with, from the source of the program."""
    for statement in ast.parse(PRIMER_FILE.read_text("utf-8")).body:
        if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == "PRIMER":
            assert statement.value is not None
            return bytes(ast.literal_eval(statement.value))
    raise LookupError(f"no PRIMER in {PRIMER_FILE}")


def read_block(first_frame: int, payload: bytes, dictionary: bytes = b"") -> tuple[list[Frame], list[Note]]:
    """The frames and notes of a block that is not damaged."""
    known = zstandard.ZstdCompressionDict(
        dictionary + read_primer(), dict_type=zstandard.DICT_TYPE_RAWCONTENT
    )
    content = zstandard.ZstdDecompressor(dict_data=known).decompress(payload)
    shortened, received_us, notes = msgspec.msgpack.decode(content)
    return read_frames(first_frame, shortened, received_us), read_notes(first_frame, notes)


def read_frames(first_frame: int, shortened: list[Any], received_us: list[int]) -> list[Frame]:
    text, whole, *numbers = shortened
    remaining = dict(zip("\x01\x02\x03\x04", numbers, strict=True))
    last: dict[str, int] = {}
    frames: list[Frame] = []
    time_us = 0

    def replace_mark(mark: re.Match[str]) -> str:
        """The text that one mark of a frame stands for."""
        kind = mark.group()
        difference = remaining[kind].pop(0)
        if kind == "\x04":
            return f'"sending_ts_ms":{time_us // 1000 + difference}'
        counter = kind
        if kind == "\x01":
            before = mark.string[: mark.start()]
            counter = before[before.rindex('"sid":') :]
        number = last[counter] = last.get(counter, 0) + difference
        if kind == "\x01":
            return f'"seq":{number}'
        if kind == "\x03":
            return f'"clock":{number}'
        second, fraction = str(number)[:10], str(number)[10:]
        time = datetime.fromtimestamp(int(second), UTC)
        return f'"ts":"{time:%Y-%m-%dT%H:%M:%S}.{fraction.rstrip("0")}Z","ts_ms":{second}{fraction[:3]}'

    for frame in text.split("\x1e")[:-1]:
        time_us += received_us[len(frames)]
        restored = whole.pop(0) if frame == "\x05" else re.sub("[\x01-\x04]", replace_mark, frame)
        frames.append((first_frame + len(frames), time_us, restored))
    assert len(frames) == len(received_us)
    assert not whole
    assert not any(remaining.values())
    return frames


def read_notes(first_frame: int, stored: list[Any]) -> list[Note]:
    notes: list[Note] = []
    after_frame, time_us = first_frame - 1, 0
    for kind, frames_since, difference_us, content in stored:
        after_frame += frames_since
        time_us += difference_us
        notes.append((kind, after_frame, time_us, content))
    return notes
