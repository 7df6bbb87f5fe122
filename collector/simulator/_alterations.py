"""
What a fault changes in a data frame, while the rest of the frame stays as it is.

Pure: a frame in, a frame out. A frame without such a part passes unchanged. How faults are written, and when
they strike, is in `_faults`.
"""

import decimal
import re
import typing
from collections.abc import Callable, Collection, Mapping

import msgspec

# By how many contracts a skewed change is off.
SKEW_CONTRACTS = decimal.Decimal("1.00")

_DELTA_HEAD = b'{"type":"orderbook_delta",'
_DELTA_FP = re.compile(rb'"delta_fp":"(-?\d+\.\d+)"')
_CLOCK = re.compile(rb'("clock"\s*:\s*)\d+')
_TYPE = re.compile(rb'"type":"(\w+)"')
_SID = re.compile(rb'"sid":(\d+)')
# The fields that say how much: without them a message means nothing.
_QUANTITY = re.compile(rb'"(delta_fp|count_fp|yes_dollars_fp|no_dollars_fp)"(?=\s*:)')


class _Subject(msgspec.Struct):
    market_ticker: str = ""


class _Frame(msgspec.Struct):
    msg: _Subject


_frame_decoder = msgspec.json.Decoder(_Frame)


def skew(frame: bytes) -> bytes:
    """Make a change of a level say more than it should; any other frame stays as it is."""
    match = _DELTA_FP.search(frame)
    if match is None:
        return frame
    size = decimal.Decimal(match.group(1).decode()) + SKEW_CONTRACTS
    return b'%b"delta_fp":"%b"%b' % (frame[: match.start()], str(size).encode(), frame[match.end() :])


def repeat_clock(frame: bytes, snapshot_clocks: Mapping[str, int]) -> bytes:
    """Give a delta the clock of its market's newest snapshot. 0 is no clock of a change: not repeated."""
    if not frame.startswith(_DELTA_HEAD):
        return frame
    clock = snapshot_clocks.get(_frame_decoder.decode(frame).msg.market_ticker, 0)
    return _CLOCK.sub(rb"\g<1>%d" % clock, frame, count=1) if clock else frame


def rename_type(frame: bytes) -> bytes:
    """Give a frame a type that the exchange does not have."""
    return _TYPE.sub(rb'"type":"\1_v9"', frame, count=1)


def rename_field(frame: bytes) -> bytes:
    """Rename the fields that carry the quantities of a message."""
    return _QUANTITY.sub(rb'"\1_v9"', frame)


def change_sid(frame: bytes) -> bytes:
    """Give a frame the next `sid`: that of another subscription, or of none."""
    return _SID.sub(lambda match: b'"sid":%d' % (int(match[1]) + 1), frame, count=1)


ALTERATIONS: typing.Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "skew": skew,
    "rename-type": rename_type,
    "rename-field": rename_field,
    "other-sid": change_sid,
}


def alter(frame: bytes, acts: Collection[str], snapshot_clocks: Mapping[str, int]) -> bytes:
    """Return a frame with everything that these faults change in it."""
    if "repeat-clock" in acts:
        frame = repeat_clock(frame, snapshot_clocks)
    for act, change in ALTERATIONS.items():
        if act in acts:
            frame = change(frame)
    return frame
