"""Which REST records of markets go into the stream, whatever the exchange makes of them."""

import pytest

from collector.storage import is_storable_record


@pytest.mark.parametrize(
    ("record", "is_storable"),
    [
        (b'{"ticker":"A","floor_strike":4414.4000,"title":"a\\u0000b","x":1e400000}', True),
        (b'{"title":"\xff"}', False),
        (b'{"title":"a\x01b"}', False),
        (b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}", False),
        (b'{"x":' + b"1" * 5_000 + b"}", False),
        (b'{"x":"' + b"y" * 70_000 + b'"}', False),
        (b"", False),
    ],
)
def test_what_postgresql_cannot_hold_is_not_noted(record: bytes, is_storable: bool) -> None:
    """So that a record never costs the batch that it is in."""
    assert is_storable_record("A", record) is is_storable


def test_names_that_postgresql_cannot_hold() -> None:
    """A NUL character in a ticker is refused by every text column."""
    assert not is_storable_record("A\0", b"{}")
