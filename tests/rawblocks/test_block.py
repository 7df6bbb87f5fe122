"""Raw blocks: frames and notes are restored as they were, and damage shows."""

import random
import tracemalloc
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import zstandard
from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from collector.facts import NoteKind, ReceivedFrame, StreamNote
from collector.rawblocks import DamagedBlock, LexiconBuilder, decode_block, encode_block, hash_block
from collector.rawblocks._block import BLOCK_BYTES_MAX, BlockContent
from collector.rawblocks._dictionary import LEXICON_BYTES_MAX
from collector.rawblocks._primer import PRIMER
from tests.frames import RECEIVED_US, delta_text, received

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
TIMES_US = st.integers(-(2**40), 2**60)
NOTES = st.lists(
    st.builds(StreamNote, st.sampled_from(NoteKind), st.integers(0, 9), TIMES_US, TEXT), max_size=6
)


def compact(text: str) -> str:
    """As the exchange writes it, without blanks."""
    return text.replace('": ', '":').replace(', "', ',"')


def deltas(count: int) -> list[ReceivedFrame]:
    return received(*(compact(delta_text("A", n, "0.5000", "1.00")) for n in range(1, count + 1)))


def note(after_frame: int, content: str = "{}", kind: NoteKind = NoteKind.EVENT) -> StreamNote:
    return StreamNote(kind, after_frame, RECEIVED_US + after_frame, content)


@given(st.lists(st.tuples(TIMES_US, TEXT), max_size=9), NOTES, st.integers(1, 2**40))
@example([], [note(0)], 1)
@example([(5, "")], [], 7)
def test_frames_and_notes_are_restored(
    stamped: list[tuple[int, str]], notes: list[StreamNote], first: int
) -> None:
    """Whatever the texts and times are, also times that fall. Notes after the same frame keep their order."""
    frames = [ReceivedFrame(number, us, text) for number, (us, text) in enumerate(stamped, first)]
    notes = sorted(
        (evolve(each, after_frame=first - 1 + min(each.after_frame, len(frames))) for each in notes),
        key=lambda each: each.after_frame,
    )
    if not frames and not notes:
        return

    block = encode_block(first, frames, notes)

    assert decode_block(first, block.payload) == BlockContent(tuple(frames), tuple(notes))
    times_us = [frame.received_us for frame in frames] or [each.noted_us for each in notes]
    assert (block.first_received_us, block.last_received_us) == (times_us[0], times_us[-1])
    assert (block.first_frame, block.last_frame) == (first, first + len(frames) - 1)
    assert block.format == 2


def test_the_numbers_of_the_kinds_of_notes_never_change() -> None:
    """They are stored."""
    assert {kind.name: kind.value for kind in NoteKind} == {
        "OPENING": 1,
        "COMMAND": 2,
        "EVENT": 3,
        "RECORD": 4,
        "ENDING": 5,
    }


@pytest.mark.parametrize(
    ("frames", "notes"),
    [
        ([], []),
        (deltas(3)[1:], []),
        (deltas(3)[::2], []),
        (deltas(3), [note(4)]),
        (deltas(3), [note(2), note(1)]),
        ([], [note(1)]),
        (received("a", first=5), [note(3)]),
    ],
)
def test_what_is_no_run_of_a_stream_is_not_encoded(
    frames: list[ReceivedFrame], notes: list[StreamNote]
) -> None:
    """Frames in the numbers' order from the first on, and notes between them: anything else is a bug."""
    first_frame = 5 if frames and frames[0].number == 5 else 1
    with pytest.raises(AssertionError):
        encode_block(first_frame, frames, notes)


def test_the_dictionary_saves_what_names_cost() -> None:
    """With a session's names known, blocks of many markets are smaller, and read back the same."""
    tickers = [f"KXMARKET{number * 7919}-26NOV24" for number in range(60)]
    rng = random.Random(1)
    texts = [
        compact(delta_text(ticker, n, "0.5000", "1.00")).replace(
            '"0000"', f'"{uuid.UUID(int=rng.getrandbits(128))}"'
        )
        for n, ticker in enumerate(tickers, 1)
    ]
    frames = received(*texts)
    builder = LexiconBuilder()
    dictionary = builder.learn(frames)

    plain, primed = encode_block(1, frames), encode_block(1, frames, (), dictionary)

    assert dictionary.number == 1
    assert (plain.lexicon_number, primed.lexicon_number) == (0, 1)
    assert len(primed.payload) < 0.7 * len(plain.payload)
    assert decode_block(1, primed.payload, dictionary.content).frames == tuple(frames)
    assert builder.learn(frames) is dictionary


def test_the_dictionary_grows_by_doubling_and_is_bounded() -> None:
    """A new one is begun when names have doubled; names beyond the bound are left to the blocks."""
    builder = LexiconBuilder()
    numbers = [
        builder.learn(received(f'{{"msg":{{"market_ticker":"M{n:050}"}}}}')).number for n in range(3000)
    ]

    assert numbers[:9] == [1, 2, 2, 3, 3, 3, 3, 4, 4]
    assert numbers[-1] <= 12
    assert len(builder.current.content) < 2 * LEXICON_BYTES_MAX


def test_clock_and_sending_time_cost_little() -> None:
    """A hundred frames with both members take at most 3 bytes a frame more than without them."""
    rng = random.Random(1)
    plain = deltas(100)
    clock = 9_000_000_000
    today: list[ReceivedFrame] = []
    for frame in plain:
        clock += rng.randint(1, 40)
        sending_ms = frame.received_us // 1000 - rng.randint(2, 10)
        text = frame.text.replace("}}", f',"clock":{clock}}},"sending_ts_ms":{sending_ms}}}')
        today.append(replace(frame, text=text))

    added = len(encode_block(1, today).payload) - len(encode_block(1, plain).payload)

    assert 0 < added < 300


# ---------------------------------------------------------------- damage

CONTENT: list[Any] = [
    ['"sid":1,\x01\x02\x03\x04\x1e\x05\x1e', ["\x01"], [5], [1_786_410_915_566_273], [7], [-3]],
    [RECEIVED_US, 9],
    [[1, 0, RECEIVED_US, "{}"], [3, 1, 5, "{}"], [5, 1, 5, "{}"]],
]
"""A block before compression with everything in it, as plain values."""


def compress(content: bytes) -> bytes:
    primer = zstandard.ZstdCompressionDict(PRIMER, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdCompressor(dict_data=primer).compress(content)


def pack(content: object) -> bytes:
    """The payload of plain values."""
    return compress(msgspec.msgpack.encode(content))


def replaced(path: Sequence[int], value: object) -> list[Any]:
    """The content with another value in one place."""
    content: list[Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(CONTENT))
    inner = content
    for index in path[:-1]:
        inner = inner[index]
    inner[path[-1]] = value
    return content


def decode_or_refuse(payload: bytes) -> BlockContent | None:
    """What a payload holds; None when it is damaged. Any other error fails the test."""
    try:
        return decode_block(1, payload)
    except DamagedBlock:
        return None


def test_the_content_of_these_tests_is_sound() -> None:
    frames, notes = (content := decode_block(1, pack(CONTENT))).frames, content.notes

    assert [frame.text for frame in frames] == [
        '"sid":1,"seq":5"ts":"2026-08-11T01:15:15.566273Z","ts_ms":1786410915566"clock":7"sending_ts_ms":1786410915567',
        "\x01",
    ]
    assert [each.after_frame for each in notes] == [0, 1, 2]


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        CONTENT[:2],
        [*CONTENT, []],
        [["", [], [], [], [], []], [], []],
        replaced([0], ["", [], [], [], []]),
        replaced([0], [*CONTENT[0], []]),
        replaced([0, 0], b"bytes"),
        replaced([0, 0], "one\x1e"),
        replaced([0, 1], []),
        replaced([0, 2], [5, 1]),
        replaced([0, 3], [0]),
        replaced([0, 4], ["7"]),
        replaced([0, 5], [1.5]),
        replaced([1], [RECEIVED_US]),
        replaced([1], [RECEIVED_US, 9, 9]),
        replaced([1], [RECEIVED_US, None]),
        replaced([2, 0], [0, 0, 0, "{}"]),
        replaced([2, 0], [6, 0, 0, "{}"]),
        replaced([2, 0], [1, 0, 0]),
        replaced([2, 0], [1, 0, 0, "{}", 0]),
        replaced([2, 0], [1, 0, 0, None]),
        replaced([2, 0, 1], 1),
        replaced([2, 1, 1], -1),
        replaced([2, 2, 1], 2),
        replaced([2, 2, 1], 2**63),
    ],
)
def test_content_that_does_not_add_up_is_damage(content: object) -> None:
    """Wrong shapes, lists too long or too short, unknown kinds, notes outside the block or out of order."""
    with pytest.raises(DamagedBlock):
        decode_block(1, pack(content))


SOUND = encode_block(
    1, deltas(20), [note(0, '{"key":1}', NoteKind.OPENING), note(7), note(7), note(20)]
).payload


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"no block",
        SOUND[:-1],
        SOUND[1:],
        SOUND + b"\x00",
        SOUND + SOUND,
        compress(b""),
        compress(b"\xc1"),
        compress(b"\xdd\xff\xff\xff\xff"),
        zstandard.ZstdCompressor(write_content_size=False).compress(b"x"),
        bytes.fromhex("502a4d1804000000") + bytes(4),
    ],
)
def test_what_is_no_block_is_damage(payload: bytes) -> None:
    """Cut, extended, twice, not MessagePack, of undeclared size, or something else that zstd accepts."""
    with pytest.raises(DamagedBlock):
        decode_block(1, payload)


@given(st.binary(max_size=200), st.sampled_from([b"", SOUND[:4], SOUND[:9]]))
@settings(max_examples=300)
def test_random_bytes_are_damage_or_a_block(payload: bytes, start: bytes) -> None:
    """No other error, whatever the bytes are."""
    decode_or_refuse(start + payload)
    decode_or_refuse(compress(payload))


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4), st.booleans())
@settings(max_examples=300)
def test_changed_bytes_are_damage_or_a_block(changes: list[tuple[int, int]], is_compressed: bool) -> None:
    """Changed before compression or after: no error but DamagedBlock, and the hash differs."""
    changed = bytearray(SOUND if is_compressed else msgspec.msgpack.encode(CONTENT))
    for place, mask in changes:
        changed[place % len(changed)] ^= mask
    payload = bytes(changed) if is_compressed else compress(bytes(changed))

    decode_or_refuse(payload)

    if is_compressed and payload != SOUND:
        assert hash_block(payload) != hash_block(SOUND)


INTEGERS = st.lists(st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**64 - 1)), max_size=4)
MARKED = st.lists(
    st.sampled_from([*"\x01\x02\x03\x04\x05\x1e\x1e\x1e", '"sid":1,', "a", "\n"]), max_size=9
).map("".join)


@given(
    st.tuples(
        st.tuples(MARKED, st.lists(MARKED, max_size=3), INTEGERS, INTEGERS, INTEGERS, INTEGERS),
        INTEGERS,
        st.lists(
            st.tuples(st.integers(-1, 7), st.integers(-1, 4), st.integers(), st.just("")), max_size=3
        ).filter(lambda notes: all(-(2**63) <= us < 2**63 for _, _, us, _ in notes)),
    )
)
@settings(max_examples=500)
def test_content_of_the_right_shape_is_damage_or_a_block(content: object) -> None:
    """Marks and lists at random: no error but DamagedBlock; as many frames as receive times."""
    found = decode_or_refuse(pack(content))

    if found is not None:
        after = [0, *(each.after_frame for each in found.notes), len(found.frames)]
        assert after == sorted(after)


@pytest.mark.parametrize(
    "payload",
    [
        *(
            bytes.fromhex("28b52ffde0") + size.to_bytes(8, "little") + b"\x01\x00\x00"
            for size in (2**20, BLOCK_BYTES_MAX, BLOCK_BYTES_MAX + 1, 2**45, 2**64 - 2)
        ),
        compress(b"\xdd\x7f\xff\xff\xff"),
        compress(b"\x93\x96\xdb\xff\xff\xff\xff"),
        compress(b"\x93\x96\xa0\xdd\xff\xff\xff\xff"),
        compress(b"\x93\x96\xa0\x90\xdd\xff\xff\xff\xff"),
    ],
)
def test_a_declared_size_costs_no_memory(payload: bytes) -> None:
    """A few bytes that claim to hold much more, in zstd or in MessagePack: nothing is allocated for it."""
    with pytest.raises(DamagedBlock):
        decode_block(1, b"")  # what is allocated once is allocated now
    tracemalloc.start()
    try:
        with pytest.raises(DamagedBlock):
            decode_block(1, payload)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak_bytes < 2**19


def test_a_block_that_compresses_well_is_read() -> None:
    """The bound on what zstd reaches does not refuse what it really reaches."""
    frames = [ReceivedFrame(number, RECEIVED_US, "0" * 2**20) for number in range(1, 33)]
    block = encode_block(1, frames)

    assert len(block.payload) < 2**25 / 5_000
    assert decode_block(1, block.payload).frames == tuple(frames)
