"""
Shortens the frames of one block for the compressor, and restores them.

A compressor can't see that a number follows from an earlier one. Nearly every frame has four members whose
numbers do. Each is taken out of the text: a control character marks its place, and a list holds its value, as
a small difference. The marks and what each difference is from:

- `SEQUENCE`: `"seq":N` right after `"sid":S,`. From the last number of the same `sid`.
- `TIME`: `"ts":"T","ts_ms":N`, where both state the same instant. In microseconds, from the last such time.
- `CLOCK`: `"clock":N`. From the last clock, of any market.
- `SENDING`: `"sending_ts_ms":N`. In milliseconds, from the receive time of its frame.

"The last" is the last one that was taken out of the same block, and zero before the first.

Exact: `restore` gives back every text that `abridge` was given. JSON text has no control characters but
white space, so a mark is never part of a frame, and the place of a mark is the place of the member. A frame
that does contain one of the characters used here is kept apart, whole. Only numbers in the one form that
`restore` writes are taken out; everything else stays in the text. See docs/recording-format.md.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, compress, repeat
from operator import add, sub
from typing import Final

import msgspec

from collector.errors import MalformedFrame
from collector.protocol import format_second, parse_rfc3339_ms

SEQUENCE: Final = "\x01"
TIME: Final = "\x02"
CLOCK: Final = "\x03"
SENDING: Final = "\x04"
WHOLE: Final = "\x05"
"""In place of a frame that is kept apart."""
END: Final = "\x1e"
"""After each frame."""

_RESERVED = re.compile("[\x01-\x05\x1e]")
_MARKS: Final = (SEQUENCE, TIME, CLOCK, SENDING, WHOLE)

# None of the patterns can match across the end of a frame, nor can two of them match overlapping text.
_SEQUENCE = re.compile(r'("sid":[0-9]{1,15},)"seq":([1-9][0-9]{0,14})(?=[,}])')
_TIME = re.compile(r'"ts":"([0-9T:-]{19})\.([0-9]{0,5}[1-9])Z","ts_ms":([1-9][0-9]{12})(?=[,}])')
_CLOCK = re.compile(r'"clock":(0|[1-9][0-9]{0,17})(?=[,}])')
_SENDING = re.compile(r'"sending_ts_ms":([1-9][0-9]{12})(?=[,}])')
_SID = re.compile(r'"sid":[0-9]{1,15},')
_SECOND = re.compile("[1-9][0-9]{9}")


class Abridged(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """The frames of one block, shortened: their text with marks in it, and a list for each kind of mark."""

    text: str
    whole: list[str]
    sequence_numbers: list[int]
    times_us: list[int]
    clocks: list[int]
    sending_times_ms: list[int]


def differences_of(numbers: Sequence[int]) -> list[int]:
    """The difference of each number from the one before it; from zero for the first."""
    return [*numbers[:1], *map(sub, numbers[1:], numbers)]


def abridge(texts: Sequence[str], received_us: Sequence[int]) -> Abridged:
    """Shorten the frames of one block. Each has a receive time, in microseconds since 1970 UTC."""
    whole: list[str] = []
    text = END.join([*texts, ""])
    # Looked for in all frames at once, because it is rare: one search in each frame takes ten times as long.
    if text.count(END) != len(texts) or any(mark in text for mark in _MARKS):
        whole = [frame for frame in texts if _RESERVED.search(frame)]
        text = END.join([*(WHOLE if _RESERVED.search(frame) else frame for frame in texts), ""])
    text, sequence_numbers = _take_sequence_numbers(text)
    text, times_us = _take_times(text)
    text, clocks = _take_clocks(text)
    text, sending_times_ms = _take_sending_times(text, received_us)
    return Abridged(
        text=text,
        whole=whole,
        sequence_numbers=sequence_numbers,
        times_us=times_us,
        clocks=clocks,
        sending_times_ms=sending_times_ms,
    )


def restore(abridged: Abridged, received_us: Sequence[int]) -> list[str]:
    """Return the texts that were shortened. Raises ValueError if `abridge` can't have made this."""
    text = abridged.text
    if text.count(END) != len(received_us) or not f"{END}{text}".endswith(END):
        raise ValueError("not one frame for each receive time")
    text = _put_sequence_numbers(text, abridged.sequence_numbers)
    text = _put_times(text, abridged.times_us)
    text = _put_clocks(text, abridged.clocks)
    text = _put_sending_times(text, abridged.sending_times_ms, received_us)
    texts = text.split(END)[:-1]
    if abridged.whole or WHOLE in text:
        if not text.count(WHOLE) == texts.count(WHOLE) == len(abridged.whole):
            raise ValueError("not one frame for each mark of a whole frame")
        whole = iter(abridged.whole)
        return [next(whole) if frame == WHOLE else frame for frame in texts]
    return texts


# ---------------------------------------------------------------- taking members out


def _take_sequence_numbers(text: str) -> tuple[str, list[int]]:
    """`"sid":S,"seq":N`, of which `"seq":N` is taken out."""
    pieces = _SEQUENCE.split(text)
    last: dict[str, int] = {}
    differences: list[int] = []
    for sid, digits in zip(pieces[1::3], pieces[2::3], strict=True):
        number = int(digits)
        differences.append(number - last.get(sid, 0))
        last[sid] = number
    pieces[2::3] = [SEQUENCE] * len(differences)
    return "".join(pieces), differences


def _take_times(text: str) -> tuple[str, list[int]]:
    """`"ts":"T","ts_ms":N`, where N is T in milliseconds. Decimal text is quicker here than numbers."""
    pieces = _TIME.split(text)
    seconds, fractions, milliseconds = pieces[1::4], pieces[2::4], pieces[3::4]
    microseconds = [
        _read_second(second) + fraction.ljust(6, "0")
        for second, fraction in zip(seconds, fractions, strict=True)
    ]
    are_same = list(map(str.startswith, microseconds, milliseconds))
    members = [TIME] * len(are_same)
    if not all(are_same):
        rest = zip(are_same, seconds, fractions, milliseconds, strict=True)
        members = [
            TIME if is_same else f'"ts":"{second}.{fraction}Z","ts_ms":{digits}'
            for is_same, second, fraction, digits in rest
        ]
    return _weave(pieces[::4], members), differences_of(list(map(int, compress(microseconds, are_same))))


def _take_clocks(text: str) -> tuple[str, list[int]]:
    """`"clock":N`."""
    if '"clock":' not in text:
        return text, []
    pieces = _CLOCK.split(text)
    clocks = list(map(int, pieces[1::2]))
    pieces[1::2] = [CLOCK] * len(clocks)
    return "".join(pieces), differences_of(clocks)


def _take_sending_times(text: str, received_us: Sequence[int]) -> tuple[str, list[int]]:
    """`"sending_ts_ms":N`."""
    if '"sending_ts_ms":' not in text:
        return text, []
    pieces = _SENDING.split(text)
    differences = list(map(sub, map(int, pieces[1::2]), _received_ms_at(pieces[::2], received_us)))
    pieces[1::2] = [SENDING] * len(differences)
    return "".join(pieces), differences


def _received_ms_at(pieces: Sequence[str], received_us: Sequence[int]) -> Iterator[int]:
    """For each piece of a text but the last: the receive time, in ms, of the frame in which it ends."""
    received_ms = [received // 1000 for received in received_us]
    return map(received_ms.__getitem__, accumulate(map(str.count, pieces[:-1], repeat(END))))


@lru_cache(maxsize=256)
def _read_second(text: str) -> str:
    """
    Seconds since 1970 UTC, ten digits, of `2026-08-11T01:15:15`; empty unless `_write_second` writes that.

    Cached, because many frames share a second.
    """
    try:
        digits = str(parse_rfc3339_ms(f"{text}Z") // 1000)
        return digits if _write_second(digits) == text else ""
    except (MalformedFrame, ValueError):
        return ""


# ---------------------------------------------------------------- putting members back


def _put_sequence_numbers(text: str, differences: Sequence[int]) -> str:
    pieces = _split(text, SEQUENCE, differences)
    last: dict[str, int] = {}
    members: list[str] = []
    for piece, difference in zip(pieces, differences, strict=False):  # no mark follows the last piece
        sid = piece[piece.rfind('"sid":') :]
        number = last[sid] = last.get(sid, 0) + difference
        members.append(f'"seq":{number}')
    if not all(map(_SID.fullmatch, last)):
        raise ValueError("a sequence number does not follow a sid")
    return _weave(pieces, members)


def _put_times(text: str, differences: Sequence[int]) -> str:
    pieces = _split(text, TIME, differences)
    return _weave(pieces, list(map(_write_time, map(str, accumulate(differences)))))


def _put_clocks(text: str, differences: Sequence[int]) -> str:
    pieces = _split(text, CLOCK, differences)
    return _weave(pieces, [f'"clock":{clock}' for clock in accumulate(differences)])


def _put_sending_times(text: str, differences: Sequence[int], received_us: Sequence[int]) -> str:
    pieces = _split(text, SENDING, differences)
    if not differences:
        return text
    sending_times_ms = map(add, _received_ms_at(pieces, received_us), differences)
    return _weave(pieces, [f'"sending_ts_ms":{sending_ms}' for sending_ms in sending_times_ms])


def _split(text: str, mark: str, differences: Sequence[int]) -> list[str]:
    """The pieces of a text between its marks of one kind. Raises ValueError if their number is wrong."""
    pieces = text.split(mark)
    if len(pieces) != len(differences) + 1:
        raise ValueError(f"not one difference for each mark {mark!r}")
    return pieces


def _weave(pieces: Sequence[str], members: Sequence[str]) -> str:
    """Join pieces with a member between each two."""
    woven = [""] * (len(pieces) + len(members))
    woven[::2] = pieces
    woven[1::2] = members
    return "".join(woven)


def _write_time(microseconds: str) -> str:
    """The two members that state a time. Decimal text is quicker here than numbers."""
    fraction = microseconds[-6:].rstrip("0")
    return f'"ts":"{_write_second(microseconds[:-6])}.{fraction}Z","ts_ms":{microseconds[:-3]}'


@lru_cache(maxsize=256)
def _write_second(digits: str) -> str:
    """`2026-08-11T01:15:15` of seconds since 1970 UTC, ten digits. Raises ValueError for anything else."""
    if not _SECOND.fullmatch(digits):
        raise ValueError(f"not a time: {digits} s")
    return format_second(int(digits))
