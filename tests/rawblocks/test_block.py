"""Raw blocks: what goes in comes out, and damage shows."""

import random
import uuid

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from collector.facts import ReceivedFrame
from collector.rawblocks import DamagedBlock, LexiconBuilder, checksum_of, decode_block, encode_block
from collector.rawblocks._dictionary import LEXICON_BYTES_MAX
from collector.rawblocks._elision import NEXT_SEQ, SAME_TIME, abridge, restore
from tests.frames import delta_text, received

PIECES = st.sampled_from(
    [
        '"sid":1,"seq":', '"sid":2,"seq":', "1", "2", "3", "10", "007", ",", "}", "\x01", "\x02", "\x03",
        '"ts":"2026-08-11T01:15:15.566273Z","ts_ms":', "1786410915566",
        '"ts":"2026-13-99T01:15:15Z","ts_ms":',
    ]
)  # fmt: skip
TEXT = st.one_of(
    st.lists(PIECES, max_size=12).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
)


def compact(text: str) -> str:
    """As the exchange writes it, without blanks."""
    return text.replace('": ', '":').replace(', "', ',"')


@given(
    st.lists(st.tuples(st.integers(-(2**40), 2**60), TEXT), min_size=1, max_size=30), st.integers(1, 2**40)
)
def test_frames_come_back_byte_for_byte(stamped: list[tuple[int, str]], first: int) -> None:
    """Whatever the texts and times are, even a clock that jumped back, the block gives them back."""
    frames = [ReceivedFrame(number, us, text) for number, (us, text) in enumerate(stamped, first)]

    block = encode_block(frames)

    assert decode_block(block.first_frame, block.payload) == frames
    assert (block.first_frame, block.last_frame) == (first, first + len(frames) - 1)
    assert (block.first_received_us, block.last_received_us) == (stamped[0][0], stamped[-1][0])


def test_numbers_that_were_to_be_expected_cost_one_character() -> None:
    """The next `seq` and a `ts_ms` that repeats `ts` are left out, and come back."""
    texts = [compact(delta_text("A", n, "0.5000", "1.00")) for n in (5, 6, 8, 9)]

    short = list(abridge(texts))

    assert list(restore(short)) == texts
    assert [NEXT_SEQ in text for text in short] == [False, True, False, True]
    assert all(SAME_TIME in text for text in short)


def test_lexicon_saves_what_names_cost() -> None:
    """With a session's names known, blocks of many markets are smaller, and read back the same."""
    tickers = [f"KXMARKET{number * 7919}-26NOV24" for number in range(60)]
    frames = received(*(delta_text(ticker, n, "0.5000", "1.00") for n, ticker in enumerate(tickers, 1)))
    rng = random.Random(1)
    frames = [
        evolve(frame, text=frame.text.replace('"0000"', f'"{uuid.UUID(int=rng.getrandbits(128))}"'))
        for frame in frames
    ]
    frames = [evolve(frame, text=compact(frame.text)) for frame in frames]
    builder = LexiconBuilder()
    lexicon = builder.learn(frames)

    plain, primed = encode_block(frames), encode_block(frames, lexicon)

    assert lexicon.number == 1
    assert (plain.lexicon_number, primed.lexicon_number) == (0, 1)
    assert len(primed.payload) < 0.7 * len(plain.payload)
    assert decode_block(1, primed.payload, lexicon.content) == frames
    assert builder.learn(frames) is lexicon


def test_lexicon_grows_by_doubling_and_is_bounded() -> None:
    """A new one is begun when names have doubled; names beyond the bound are left to the blocks."""
    builder = LexiconBuilder()
    numbers = [
        builder.learn(received(f'{{"msg":{{"market_ticker":"M{n:050}"}}}}')).number for n in range(3000)
    ]

    assert numbers[:9] == [1, 2, 2, 3, 3, 3, 3, 4, 4]
    assert numbers[-1] <= 12
    assert len(builder.current.content) < 2 * LEXICON_BYTES_MAX


@given(st.data())
def test_a_changed_byte_shows(data: st.DataObject) -> None:
    """A block with one byte changed fails its checksum, and never decodes to something else unnoticed."""
    block = encode_block(received(*(delta_text("A", n, "0.5000", "1.00") for n in range(1, 20))))
    place = data.draw(st.integers(0, len(block.payload) - 1))
    changed = bytearray(block.payload)
    changed[place] ^= data.draw(st.integers(1, 255))

    assert checksum_of(bytes(changed)) != block.checksum


@pytest.mark.parametrize("payload", [b"", b"no block", encode_block(received("a", "b")).payload[:-1]])
def test_what_is_no_block_is_refused(payload: bytes) -> None:
    """A payload that can't be read is a damaged block and no other error."""
    with pytest.raises(DamagedBlock):
        decode_block(1, payload)
