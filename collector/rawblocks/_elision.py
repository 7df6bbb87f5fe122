"""
Leaves out of frame texts what follows from what was said before, for the compressor. Pure, and exact.

Two numbers in nearly every frame can be told in advance, and a compressor can't see it: `seq` is one more
than the last of its `sid`, and `ts_ms` says again what `ts` says. Where a number is what it was expected to
be, one control character stands for it. JSON has no raw control characters, and a text that has one all the
same is kept as it is, behind a third. `restore` undoes `abridge` for any text whatever.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from attrs import define, field

from collector.errors import MalformedFrame
from collector.protocol import parse_rfc3339_ms

NEXT_SEQ: Final = "\x01"
SAME_TIME: Final = "\x02"
VERBATIM: Final = "\x03"

_CONTROL = re.compile("[\x01-\x03]")
_SEQ = re.compile(r'"sid":([0-9]{1,15}),"seq":([1-9][0-9]{0,14}|\x01),')
_TIME = re.compile(r'"ts":"([0-9T:.-]{19,29}Z)","ts_ms":([0-9]{13}|\x02)(?=[},])')


@define
class _Expectation:
    """The last `seq` of each `sid` in a block."""

    last: dict[str, int] = field(factory=dict[str, int])

    def next_of(self, sid: str) -> int | None:
        last = self.last.get(sid)
        return None if last is None else last + 1


def abridge(texts: Iterable[str]) -> Iterator[str]:
    """The texts of one block, shortened where the next number is what was to be expected."""
    expectation = _Expectation()
    for text in texts:
        if _CONTROL.search(text):
            yield VERBATIM + text
            continue
        match = _SEQ.search(text)
        if match is not None:
            sid, seq = match.group(1), int(match.group(2))
            if seq == expectation.next_of(sid):
                text = f"{text[: match.start(2)]}{NEXT_SEQ}{text[match.end(2) :]}"
            expectation.last[sid] = seq
        match = _TIME.search(text)
        if match is not None and match.group(2) == _milliseconds(match.group(1)):
            text = f"{text[: match.start(2)]}{SAME_TIME}{text[match.end(2) :]}"
        yield text


def restore(texts: Iterable[str]) -> Iterator[str]:
    """The texts as they were before `abridge`. Raises ValueError when they can't have come from it."""
    expectation = _Expectation()
    for text in texts:
        if text.startswith(VERBATIM):
            yield text[1:]
            continue
        match = _SEQ.search(text)
        if match is not None:
            sid, said = match.groups()
            seq = expectation.next_of(sid) if said == NEXT_SEQ else int(said)
            if seq is None:
                raise ValueError("a number follows one that is not there")
            text = f"{text[: match.start(2)]}{seq}{text[match.end(2) :]}"
            expectation.last[sid] = seq
        match = _TIME.search(text)
        if match is not None and match.group(2) == SAME_TIME:
            text = f"{text[: match.start(2)]}{_milliseconds(match.group(1))}{text[match.end(2) :]}"
        yield text


def _milliseconds(time_text: str) -> str | None:
    """What `ts_ms` is expected to be; None where `ts` is no time."""
    try:
        return str(parse_rfc3339_ms(time_text))
    except MalformedFrame:
        return None
