"""What is installed is whole: the program, its schema, and the pages that the build has made."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_wheel_has_the_schema_and_the_built_pages(tmp_path: Path) -> None:
    if not (ROOT / "collector/web/dist/rl-stats.html").exists():
        pytest.skip("LEFT OUT: the dashboard is not built (make frontend)")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)

    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "collector/schema.sql",
        "collector/web/dist/rl-stats.html",
        "collector/web/dist/rl-orderbooks.html",
        "collector/web/dist/icon.svg",
    } <= names
    built = {path.name for path in (ROOT / "collector/web/dist/assets").iterdir()}
    assert {name.rsplit("/", 1)[1] for name in names if "/dist/assets/" in name} == built
    assert not any("node_modules" in name or name.startswith("frontend") for name in names)
