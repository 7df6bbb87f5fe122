"""Time texts of the exchange, read and written."""

from hypothesis import given
from hypothesis import strategies as st

from collector.protocol import format_second, parse_rfc3339_ms


@given(st.integers(0, 253_402_300_799))
def test_a_second_that_is_written_is_read_back(second: int) -> None:
    """For every second from 1970 to the end of 9999, leap days included."""
    assert parse_rfc3339_ms(f"{format_second(second)}Z") == second * 1000


def test_how_a_second_is_written() -> None:
    """Zeros are padded, and the 29th of February is a day of leap years."""
    assert format_second(0) == "1970-01-01T00:00:00"
    assert format_second(1_709_251_199) == "2024-02-29T23:59:59"
