"""Blocks are what docs/recording-format.md describes: a reader that was written from it reads them."""

import ast
import gzip
import hashlib
import json
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from collector.facts import ConnectionEvent, NoteKind, ReceivedFrame, StreamNote, event_note
from collector.rawblocks import LexiconBuilder, RawBlock, encode_block
from tests.frames import RECEIVED_US, received, subscribed_texts
from tests.rawblocks import reader
from tests.rawblocks.test_block import note
from tests.rawblocks.test_elision import STAMPED

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs/recording-format.md"


def assert_reads(
    block: RawBlock,
    frames: Iterable[ReceivedFrame],
    notes: Sequence[StreamNote] = (),
    dictionary: bytes = b"",
) -> None:
    """The independent reader finds exactly these frames and notes in a block."""
    found_frames, found_notes = reader.read_block(block.first_frame, block.payload, dictionary)

    assert found_frames == [astuple(frame) for frame in frames]
    assert found_notes == [attrs.astuple(each) for each in notes]


@given(STAMPED, st.lists(st.integers(0, 12), max_size=4), st.integers(1, 2**40))
def test_any_block_is_read(stamped: list[tuple[str, int]], places: list[int], first: int) -> None:
    frames = [ReceivedFrame(number, us, text) for number, (text, us) in enumerate(stamped, first)]
    notes = [note(first - 1 + min(place, len(frames)), "{}") for place in sorted([0, *places])]

    assert_reads(encode_block(first, frames, notes), frames, notes)


def test_a_whole_session_is_read() -> None:
    """Opening, command and record before the first frame, an event between, an ending in its own block."""
    frames = received(
        *subscribed_texts(),
        '{"type":"orderbook_delta","sid":1,"seq":2,"msg":{"ts":"2026-08-11T01:15:15.5Z","ts_ms":1786410915500,'
        '"clock":12},"sending_ts_ms":1786410915501}',
    )
    first = [
        StreamNote(NoteKind.OPENING, 0, RECEIVED_US, '{"key":"é"}'),
        StreamNote(NoteKind.COMMAND, 0, RECEIVED_US + 1, '{"id":1,"cmd":"subscribe"}'),
        StreamNote(NoteKind.RECORD, 0, RECEIVED_US + 2, '{"market":{}}'),
        event_note(ConnectionEvent.CLOCK_STEP, 3, RECEIVED_US + 9, step_us=-4),
    ]
    last = [StreamNote(NoteKind.ENDING, 4, RECEIVED_US + 10, '{"status":"closed"}')]

    assert_reads(encode_block(1, frames, first), frames, first)
    assert_reads(encode_block(5, [], last), [], last)


@pytest.mark.frames
@pytest.mark.parametrize("frames_each", [1, 100, 1000])
def test_recorded_frames_are_read(frames_dir: Path, frames_each: int) -> None:
    """In blocks of several sizes, with the dictionary of their session."""
    for path in sorted(frames_dir.glob("*.ndjson.gz"))[:2]:
        with gzip.open(path, "rt", encoding="utf-8") as tape:
            lines = [json.loads(line) for line in islice(tape, min(50 * frames_each, 1500))]
        frames = [
            ReceivedFrame(number, line["recv_ns"] // 1000, line["frame"])
            for number, line in enumerate(lines, 1)
        ]
        builder = LexiconBuilder()
        for first in range(0, len(frames), frames_each):
            run = frames[first : first + frames_each]
            dictionary = builder.learn(run)
            assert_reads(encode_block(first + 1, run, (), dictionary), run, (), dictionary.content)


def test_the_page_names_the_primer_of_this_format() -> None:
    """With another primer no stored block can be read: it needs a new format number and a new page."""
    primer = reader.read_primer()

    assert f"{len(primer):,} bytes" in " ".join(PAGE.read_text("utf-8").split())
    assert hashlib.sha256(primer).hexdigest() in PAGE.read_text("utf-8")


def test_the_page_names_every_kind_of_note() -> None:
    page = PAGE.read_text("utf-8")

    for kind in NoteKind:
        assert f"| {kind.value} | `{kind.name}` |" in page


def test_the_reader_shares_no_code_with_the_collector() -> None:
    tree = ast.parse(Path(reader.__file__).read_text("utf-8"))
    imported = [
        module
        for node in ast.walk(tree)
        for module in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    ]

    assert imported
    assert not [module for module in imported if module.startswith(("collector", "tests"))]
