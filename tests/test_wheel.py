"""What is installed is whole: the program, its schema, and the pages that the build has made."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this source tree into `folder` and return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_wheel_has_the_license(tmp_path: Path) -> None:
    with zipfile.ZipFile(build_wheel(tmp_path)) as wheel:
        (info,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
        license_text = wheel.read(f"{info}/licenses/LICENSE")
        metadata = wheel.read(f"{info}/METADATA").decode("utf-8")

    assert license_text == (ROOT / "LICENSE").read_bytes()
    assert "License-Expression: Apache-2.0" in metadata.splitlines()


def test_wheel_has_the_schema_and_the_built_pages(tmp_path: Path) -> None:
    if not (ROOT / "collector/web/dist/rl-stats.html").exists():
        pytest.skip("LEFT OUT: the dashboard is not built (make frontend)")
    names = set(zipfile.ZipFile(build_wheel(tmp_path)).namelist())
    assert {
        "collector/schema.sql",
        "collector/web/dist/rl-stats.html",
        "collector/web/dist/rl-orderbooks.html",
        "collector/web/dist/icon.svg",
    } <= names
    built = {path.name for path in (ROOT / "collector/web/dist/assets").iterdir()}
    assert {name.rsplit("/", 1)[1] for name in names if "/dist/assets/" in name} == built
    assert not any("node_modules" in name or name.startswith("frontend") for name in names)
