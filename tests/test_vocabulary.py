"""The vocabulary check finds phrases in text of every kind, and its counts only fall."""

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests import vocabulary

PAGE = """# A page

A purple cow is here, and A Purple
cow there; purple cows and a repurple cow do not count.
"""


def make_tree(root: Path, count: int, page: str = PAGE) -> None:
    """Make a work tree under `root` with one page, and one phrase of which `count` uses are recorded."""
    (root / "docs").mkdir()
    (root / "docs/page.md").write_text(page, "utf-8")
    (root / "tests").mkdir()
    (root / vocabulary.DATA).write_text(
        f'# The phrases.\n[phrases]\n"purple cow" = {{ count = {count}, write = "brown cow" }} # why\n',
        "utf-8",
    )
    for command in (["git", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=60)


def check(root: Path, *options: str) -> Result:
    """Run the command on the work tree under `root`."""
    return CliRunner().invoke(vocabulary.main, ["--root", str(root), *options])


def recorded(root: Path) -> str:
    """Return the line of the phrase in the data file."""
    return (root / vocabulary.DATA).read_text("utf-8").splitlines()[2]


def test_as_many_as_recorded_pass(tmp_path: Path) -> None:
    make_tree(tmp_path, count=2)
    result = check(tmp_path)

    assert result.exit_code == 0
    assert result.output == "Vocabulary: 2 uses of 1 discouraged phrases, none above its count.\n"


def test_one_more_fails_with_each_line_and_the_replacement(tmp_path: Path) -> None:
    make_tree(tmp_path, count=1)
    result = check(tmp_path)

    assert result.exit_code == 1
    assert result.output.splitlines() == [
        '"purple cow" occurs 2 times, 1 allowed. Write instead: brown cow.',
        "  docs/page.md:3: A purple cow is here, and A Purple",
        "  docs/page.md:3: A purple cow is here, and A Purple",
    ]


def test_one_fewer_passes_and_says_how_to_lower_the_count(tmp_path: Path) -> None:
    make_tree(tmp_path, count=3)
    result = check(tmp_path)

    assert result.exit_code == 0
    assert result.output.splitlines()[1:] == [
        "A recorded count can be lowered: python -m tests.vocabulary --update"
    ]


def test_update_lowers_a_count_and_keeps_the_rest_of_the_file(tmp_path: Path) -> None:
    make_tree(tmp_path, count=3)

    assert check(tmp_path, "--update").exit_code == 0
    assert recorded(tmp_path) == '"purple cow" = { count = 2, write = "brown cow" } # why'
    assert check(tmp_path).exit_code == 0


def test_update_raises_no_count(tmp_path: Path) -> None:
    make_tree(tmp_path, count=1)

    assert check(tmp_path, "--update").exit_code == 1
    assert recorded(tmp_path) == '"purple cow" = { count = 1, write = "brown cow" } # why'


@pytest.mark.parametrize(
    "text",
    [
        "purple cow",
        "Purple  Cow's",
        "# a purple\n    # cow\n",
        "-- a purple\n-- cow\n",
        "/** a purple\n * cow\n",
        "// a purple\r\n// cow\r\n",
        'raise Error(\n    "a purple "\n    "cow"\n)',
        'raise Error(\n    "a purple "\n    f"cow"\n)',
        '"a purple"\n    + " cow"',
    ],
)
def test_a_phrase_is_found_across_the_lines_of_a_sentence(tmp_path: Path, text: str) -> None:
    make_tree(tmp_path, count=0, page=text)

    assert check(tmp_path).output.startswith('"purple cow" occurs 1 times, 0 allowed.')


@pytest.mark.parametrize(
    "text", ["purple. Cow", "purple\n\ncow", "purple_cow", "purplecow", "purple cowbell"]
)
def test_other_words_do_not_count(tmp_path: Path, text: str) -> None:
    make_tree(tmp_path, count=0, page=text)

    assert check(tmp_path).exit_code == 0


def test_only_tracked_text_is_read(tmp_path: Path) -> None:
    make_tree(tmp_path, count=0, page="nothing\n")
    (tmp_path / "docs/untracked.md").write_text("purple cow", "utf-8")
    (tmp_path / "LICENSE").write_text("purple cow", "utf-8")
    (tmp_path / "picture").write_bytes(b"\0 purple cow")
    (tmp_path / "removed.md").write_text("purple cow", "utf-8")
    add = ["git", "add", "LICENSE", "picture", "removed.md"]
    subprocess.run(add, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    (tmp_path / "removed.md").unlink()

    assert check(tmp_path).exit_code == 0


@pytest.mark.parametrize(
    "entry",
    [
        '"Purple cow" = { count = 2, write = "brown cow" }',
        '"purple cow" = { write = "brown cow", count = 2 }',
        '"purple cow" = { count = 2 }',
        '"purple cow" = 2',
        '"purple cow" = ',
    ],
)
def test_an_entry_of_another_form_is_refused(tmp_path: Path, entry: str) -> None:
    make_tree(tmp_path, count=2)
    (tmp_path / vocabulary.DATA).write_text(f"[phrases]\n{entry}\n", "utf-8")
    result = check(tmp_path)

    assert result.exit_code == 2
    assert vocabulary.DATA in result.output


def test_the_phrases_of_this_project_are_in_order() -> None:
    """Alphabetical order keeps the list readable, and two branches seldom change the same line."""
    phrases = vocabulary.load((vocabulary.ROOT / vocabulary.DATA).read_text("utf-8"))
    words = [phrase.words for phrase in phrases]

    assert words == sorted(words)
    assert all(phrase.write for phrase in phrases)
