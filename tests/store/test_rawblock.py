"""Raw blocks: what goes in comes out, and damage shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.protocol.facts import ReceivedFrame
from collector.store.rawblock import DamagedBlock, checksum_of, decode_block, encode_block
from tests.frames import delta_text, received

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


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
