"""
Secrets are replaced by value wherever this program writes text for people: in its errors, from which the
reasons of health and pages are made, in its log, and in tracebacks.

The values are known once, at the start of a command. Pure but for that.
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, unquote

REPLACEMENT: Final = "[secret]"
CHARACTERS_MIN: Final = 4
"""A shorter secret is not replaced: the text around it would become unreadable, and so show what it is."""

_known: list[re.Pattern[str]] = []


def set_secrets(values: Iterable[str]) -> None:
    """Replace these values from now on, also percent-encoded or decoded; those of an earlier call no more."""
    forms = {form for value in values for form in (value, quote(value, safe=""), unquote(value))}
    long_enough = [form for form in forms if len(form) >= CHARACTERS_MIN]
    # Longest first, so that nothing is left of one that another one is a part of.
    _known[:] = [_pattern(form) for form in sorted(long_enough, key=lambda form: (-len(form), form))]


def scrub(text: str) -> str:
    """The text with `[secret]` in place of each secret."""
    for pattern in _known:
        text = pattern.sub(REPLACEMENT, text)
    return text


def _pattern(secret: str) -> re.Pattern[str]:
    # Inside a longer word it is something else: "postgres" is a password and a part of many words.
    before = r"(?<![A-Za-z0-9])" if secret[0].isalnum() else ""
    after = r"(?![A-Za-z0-9])" if secret[-1].isalnum() else ""
    return re.compile(f"{before}{re.escape(secret)}{after}")
