"""The newest commit says in its body what was wrong or missing, and why it was done this way."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

_TRAILER = re.compile(r"[A-Za-z][A-Za-z-]*-[Bb]y: ")


def body_of(message: str) -> str:
    """Return the text after the subject and its blank line, without trailers such as Signed-off-by."""
    _, _, body = message.partition("\n\n")
    return "\n".join(line for line in body.splitlines() if not _TRAILER.match(line)).strip()


def newest_commit(root: Path) -> tuple[int, str]:
    """Return the number of parents of HEAD, and its message. A shallow clone records both in full."""
    command = ["git", "cat-file", "commit", "HEAD"]
    commit = subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=60).stdout
    header, _, message = commit.decode("utf-8", "replace").partition("\n\n")
    return sum(line.startswith("parent ") for line in header.splitlines()), message


def test_the_newest_commit_has_a_body() -> None:
    if not (ROOT / ".git").exists():  # a folder in a clone, a file in a linked work tree
        pytest.skip("LEFT OUT: this source tree has no git history")
    parents, message = newest_commit(ROOT)
    if parents > 1:
        pytest.skip("LEFT OUT: the newest commit is a merge")

    assert body_of(message), (
        f"This commit has only a subject; CONTRIBUTING.md says what belongs below it: {message}"
    )


@pytest.mark.parametrize(
    ("message", "body"),
    [
        ("Subject\n", ""),
        ("Subject\n\n", ""),
        ("Subject\nsecond line\n", ""),
        ("Subject\n\nSigned-off-by: A Name <name@example.org>\n", ""),
        ("Subject\n\nWhy.\n", "Why."),
        ("Subject\n\nWhy.\n\nAnd how.\n\nReviewed-by: A Name <name@example.org>\n", "Why.\n\nAnd how."),
    ],
)
def test_a_body_is_what_follows_the_subject(message: str, body: str) -> None:
    assert body_of(message) == body


def test_a_shallow_clone_still_shows_a_merge(tmp_path: Path) -> None:
    """Otherwise a build of a shallow clone would ask a merge commit for a body."""

    def git(*arguments: str, folder: Path = tmp_path / "full") -> None:
        identity = [
            "-c",
            "user.name=A Name",
            "-c",
            "user.email=name@example.org",
            "-c",
            "commit.gpgsign=false",
        ]
        command = ["git", *identity, *arguments]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)

    (tmp_path / "full").mkdir()
    git("init", "-q", "-b", "one")
    git("commit", "-q", "--allow-empty", "-m", "First")
    git("checkout", "-q", "-b", "two")
    git("commit", "-q", "--allow-empty", "-m", "Second", "-m", "Why.")
    git("checkout", "-q", "one")
    git("merge", "-q", "--no-ff", "-m", "Merge", "two")
    git("clone", "-q", "--depth", "1", (tmp_path / "full").as_uri(), "shallow", folder=tmp_path)

    assert newest_commit(tmp_path / "shallow") == (2, "Merge\n")
