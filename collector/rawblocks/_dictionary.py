"""
The words of a session: tickers and ids of its markets, for the compressor. Pure.

A block of a hundred frames over sixty markets spends more bytes on naming markets than on what they did. So a
session keeps a lexicon: the names that its frames have used so far, each once. Blocks are compressed with it,
and it is stored once, with the first block that needs it. When the names have doubled, a new one is begun.
"""

import re
from collections.abc import Iterable
from typing import Final

from attrs import define, field, frozen

from collector.facts import ReceivedFrame

LEXICON_BYTES_MAX: Final = 100_000
"""The names of about a thousand markets; a compressor searches no further back for so small blocks."""

_NAMES = re.compile(r'"market_ticker":"([^"\\]{1,200})"(?:,"market_id":"[^"\\]{1,100}")?')


@frozen
class Lexicon:
    """The text that blocks of a session are compressed with. Number 0 is the empty one."""

    number: int = 0
    content: bytes = b""


@define(eq=False)
class LexiconBuilder:
    """
    Learns the names of one session. The same frames in the same order give the same lexicons.

    `last_number` is the highest number that the session has given already: an earlier process may have begun.
    """

    last_number: int = 0
    current: Lexicon = field(factory=Lexicon, init=False)
    _names: dict[str, str] = field(factory=dict[str, str])
    _bytes: int = 0
    _names_in_current: int = 0

    def learn(self, frames: Iterable[ReceivedFrame]) -> Lexicon:
        """Take in the names of some frames; the lexicon to compress them with, and what follows them."""
        for frame in frames:
            match = _NAMES.search(frame.text)
            if match is not None and match.group(1) not in self._names and self._bytes < LEXICON_BYTES_MAX:
                self._names[match.group(1)] = match.group(0)
                self._bytes += len(match.group(0))
        if self._names and len(self._names) >= 2 * self._names_in_current:
            self._names_in_current = len(self._names)
            content = "\n".join(self._names.values()).encode()
            self.last_number += 1
            self.current = Lexicon(self.last_number, content)
        return self.current
