"""What `.ci/pythons` finds: the interpreters that continuous integration runs the tests on."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def add_interpreter(path: Path, answer: str) -> None:
    """A program that answers as an interpreter would; without an answer, one that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "{answer}"\n' if answer else "#!/bin/sh\nexit 1\n")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Interpreters on the path and of pyenv: too old, new, twice the same, and one that does not work."""
    for place, answer in {
        "bin/python3.10": "3.10.13 first",
        "bin/python3.12": "3.12.100 first",
        "bin/python3.13": "",
        "other/python3.12": "3.12.99 second",
        "other/python3.13-config": "3.13.1 no-interpreter",
        "pyenv/versions/a/bin/python3": "3.12.99 third",
        "pyenv/versions/b/bin/python3": "3.14.99 third",
        "pyenv/versions/c/bin/python3": "2.7.18 third",
    }.items():
        add_interpreter(tmp_path / place, answer)
    return tmp_path


def test_supported_interpreters_are_listed_once_oldest_first(machine: Path) -> None:
    """Versions are compared as versions, the first place wins, and what can't be used is left out."""
    path = os.pathsep.join((str(machine / "bin"), str(machine / "other"), os.defpath))
    environ = {"PATH": path, "PYENV_ROOT": str(machine / "pyenv")}
    answer = subprocess.run(
        [ROOT / ".ci" / "pythons"], env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    lines = answer.stdout.splitlines()
    # The machine's own interpreters are among them.
    mine = [line for line in lines if line.endswith(("first", "second", "third", "no-interpreter"))]
    assert mine == ["3.12.99 second", "3.12.100 first", "3.14.99 third"]
    assert len({line.split()[0] for line in lines}) == len(lines)
