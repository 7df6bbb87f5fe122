"""Counts discouraged phrases in the project's text, and lets their number not rise.

    python -m tests.vocabulary            checks; exit status 1 when a phrase occurs more often than recorded
    python -m tests.vocabulary --update   lowers the recorded counts to the present ones first

`tests/vocabulary.toml` has the phrases, what to write instead, and the recorded counts. The counts are per
phrase and not per file, so moving text between files changes nothing.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import click

ROOT = Path(__file__).resolve().parent.parent

DATA = "tests/vocabulary.toml"

NOT_READ = (
    DATA,
    "LICENSE",
    "frontend/package-lock.json",
    "requirements/*.txt",
    "tests/database/schema_1.sql",
)
"""Git patterns of tracked files that are not read: the phrases, text of others, and what is frozen."""

_ENTRY = re.compile(r'^(?P<before>"(?P<words>[^"]+)" = \{ count = )(?P<count>\d+)', re.MULTILINE)
"""A phrase in the data file. One line each, so that `--update` can change the number and nothing else."""

_LINE_BREAK = r"""["']?[ \t]*\r?\n[ \t]*(?:(?:\#|--|//|\*|\+|f?["'])[ \t]*)*"""
"""A line break inside a sentence: in comments with the next line's marker, in strings with their quotes."""

_GAP = rf"[ \t]*(?:[ \t]|{_LINE_BREAK})"
"""What may stand between two words of a phrase."""


class VocabularyError(Exception):
    """The check could not be made; the text says why, in one sentence."""


@attrs.frozen
class Phrase:
    """A discouraged phrase: its words in lower case, what to write instead, and how often it may occur."""

    words: str
    write: str
    count: int

    def matches(self, lowered: str) -> Iterator[int]:
        """Yield the offset of each occurrence in a text of lower case."""
        words = self.words.split()
        if all(word in lowered for word in words):  # many times faster than the pattern, which seldom matches
            pattern = rf"\b{_GAP.join(map(re.escape, words))}\b"
            yield from (match.start() for match in re.finditer(pattern, lowered))


@attrs.frozen
class Hit:
    """An occurrence of a phrase: the file, relative to the top folder, the line from 1, and its text."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"  {self.path}:{self.line}: {self.text}"


def load(data: str) -> list[Phrase]:
    """Return the phrases of the data file's text. Raises VocabularyError when an entry has another form."""
    try:
        entries = tomllib.loads(data)["phrases"]
        phrases = [Phrase(words, entry["write"], entry["count"]) for words, entry in entries.items()]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise VocabularyError(f"{DATA} is not a table of phrases: {error!r}.") from error
    if [entry["words"] for entry in _ENTRY.finditer(data)] != [phrase.words for phrase in phrases]:
        raise VocabularyError(
            f'{DATA}: write each phrase as one line: "words" = {{ count = 0, write = "..." }}.'
        )
    for phrase in phrases:
        if phrase.words != " ".join(phrase.words.lower().split()):
            raise VocabularyError(f'{DATA}: write "{phrase.words}" in lower case with single spaces.')
    return phrases


def texts(root: Path) -> Iterator[tuple[str, str]]:
    """Yield path and text of each tracked text file under `root`. Raises VocabularyError without git."""
    command = ["git", "ls-files", "-z", "--", ".", *(f":(exclude){pattern}" for pattern in NOT_READ)]
    try:
        listed = subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise VocabularyError(f"git cannot list the tracked files: {error}.") from error
    for path in sorted(filter(None, listed.decode("utf-8").split("\0"))):
        file = root / path
        if file.is_file():  # a file that was removed but is still in the index is none
            content = file.read_bytes()
            if b"\0" not in content:
                yield path, content.decode("utf-8", "replace")


def find(phrases: Sequence[Phrase], files: Iterable[tuple[str, str]]) -> dict[str, list[Hit]]:
    """Return the occurrences of each phrase, in the order of the files and lines."""
    found: dict[str, list[Hit]] = {phrase.words: [] for phrase in phrases}
    for path, text in files:
        lowered = text.lower()
        lines = text.split("\n")
        for phrase in phrases:
            for offset in phrase.matches(lowered):
                line = lowered.count("\n", 0, offset)
                found[phrase.words].append(Hit(path, line + 1, lines[line].strip()))
    return found


def excesses(phrases: Iterable[Phrase], found: Mapping[str, Sequence[Hit]]) -> list[str]:
    """Return the lines of the report: none when no phrase occurs more often than recorded."""
    report: list[str] = []
    for phrase in phrases:
        hits = found[phrase.words]
        if len(hits) > phrase.count:
            uses = f'"{phrase.words}" occurs {len(hits)} times, {phrase.count} allowed.'
            report += [f"{uses} Write instead: {phrase.write}.", *map(str, hits)]
    return report


def can_be_lowered(phrases: Iterable[Phrase], found: Mapping[str, Sequence[Hit]]) -> bool:
    """Whether a phrase occurs less often than recorded, which is no reason to fail."""
    return any(len(found[phrase.words]) < phrase.count for phrase in phrases)


def lower(data: str, found: Mapping[str, Sequence[Hit]]) -> str:
    """Return the data file's text with each count that is above the present one lowered to it."""

    def lowered(entry: re.Match[str]) -> str:
        count = min(int(entry["count"]), len(found[entry["words"]]))
        return f"{entry['before']}{count}"

    return _ENTRY.sub(lowered, data)


@click.command()
@click.option("--update", is_flag=True, help="Lower the recorded counts to the present ones. Raises none.")
@click.option("--root", type=click.Path(path_type=Path), default=ROOT, help="Top folder of the work tree.")
def main(update: bool, root: Path) -> None:
    """Compare how often discouraged phrases occur with the counts in tests/vocabulary.toml."""
    file = root / DATA
    try:
        data = file.read_text("utf-8")
        phrases = load(data)
        found = find(phrases, texts(root))
    except (OSError, VocabularyError) as error:
        click.echo(error, err=True)
        sys.exit(2)
    if update and (lowered := lower(data, found)) != data:
        file.write_text(lowered, "utf-8")
        phrases = load(lowered)
    report = excesses(phrases, found)
    for line in report:
        click.echo(line)
    if report:
        sys.exit(1)
    total = sum(map(len, found.values()))
    click.echo(f"Vocabulary: {total} uses of {len(phrases)} discouraged phrases, none above its count.")
    if can_be_lowered(phrases, found):
        click.echo("A recorded count can be lowered: python -m tests.vocabulary --update")


if __name__ == "__main__":
    main()
