"""
What happens to values that are pasted into an environment variable: quotes that an env file has kept, line
ends of another system, doubled escapes, invisible characters of a web page. Pure.
"""

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator
from typing import Final

_QUOTES: Final = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019", "\u201e": "\u201c"}
"""Opening quotes and what closes them; typographic ones too."""
_PEM: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_PEM_LINE_CHARACTERS: Final = 64
_KEY_LABELS: Final = ("PRIVATE KEY", "RSA PRIVATE KEY")


def clean(value: str) -> str:
    """A value without space and invisible characters at its ends, and without the quotes around it."""
    while True:
        value = _stripped(value)
        inner = value[1:-1]
        # A list of quoted values begins and ends with quotes too.
        if len(value) < 2 or _QUOTES.get(value[0]) != value[-1] or value[0] in inner:
            return value
        value = inner


def what_is_odd(value: str, *, is_multiline: bool = False) -> str | None:
    """What a cleaned value still has that nobody means, in words that follow its variable's name; or None."""
    if value and (value[0] in _QUOTES or value[-1] in (*_QUOTES, *_QUOTES.values())):
        return "has a quote at one end only: remove it"
    for character in value:
        if character in "\r\n\t" and is_multiline:
            continue
        if character in "\r\n":
            return "has a line break in it: write it on one line"
        if _is_invisible(character):
            return f"has an invisible character in it (U+{ord(character):04X}): type it again"
    return None


def pem_candidates(text: str) -> Iterator[str]:
    """What a pasted private key may be, as PEM: the text as it is meant, or what it is the base64 of."""
    text = re.sub(r"\\+r", "", re.sub(r"\\+n", "\n", text))
    yield _rewrapped(text)
    if "-----" in text:
        return
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return
    if b"-----BEGIN" in content:
        yield _rewrapped(re.sub(r"\\+n", "\n", content.decode("ascii", "replace")))
    else:
        for label in _KEY_LABELS:
            yield _pem(label, text)


def _rewrapped(text: str) -> str:
    """A PEM text with its lines as they were made; anything else as it is."""
    found = _PEM.search(text)
    if found is None or ":" in found[2]:  # a header: the key has a passphrase
        return text
    return _pem(found[1], found[2])


def _pem(label: str, body: str) -> str:
    body = "".join(body.split())
    lines = [body[at : at + _PEM_LINE_CHARACTERS] for at in range(0, len(body), _PEM_LINE_CHARACTERS)]
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""))


def _stripped(value: str) -> str:
    start, end = 0, len(value)
    while start < end and (value[start].isspace() or _is_invisible(value[start])):
        start += 1
    while end > start and (value[end - 1].isspace() or _is_invisible(value[end - 1])):
        end -= 1
    return value[start:end]


def _is_invisible(character: str) -> bool:
    """Whether it is a control or format character, or a space that is none of ASCII."""
    category = unicodedata.category(character)
    return category in ("Cc", "Cf", "Zl", "Zp") or (category == "Zs" and character != " ")
