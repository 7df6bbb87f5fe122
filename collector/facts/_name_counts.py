"""Counts of names that the exchange makes up."""

from collections import Counter
from typing import Final

NAMES_MAX: Final = 200
NAME_CHARACTERS_MAX: Final = 200
OTHERS: Final = "(others)"


class NameCounts(Counter[str]):
    """NAMES_MAX names are counted each, all others together."""

    def note(self, name: str) -> None:
        """Count a name, cut to NAME_CHARACTERS_MAX."""
        name = name[:NAME_CHARACTERS_MAX]
        self[name if name in self or len(self) < NAMES_MAX else OTHERS] += 1
