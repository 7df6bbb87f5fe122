"""
A browser for the tests: Debian's Chromium, or the one that `RL_CHROMIUM` names.

Where there is none, or the pages have not been built, the tests of the browser are left out, and say so.
"""

import os
import shutil
from collections.abc import Generator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.scenes import AXE, PAGES

expect.set_options(timeout=15_000)


@pytest.fixture(scope="session")
def browser() -> Generator[Browser]:
    """One Chromium for the whole run."""
    chromium = os.environ.get("RL_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("LEFT OUT: there is no Chromium here (Debian: apt-get install chromium)")
    if not PAGES.exists() or not AXE.exists():
        pytest.skip("LEFT OUT: the dashboard is not built (make frontend)")
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs rights that root and most containers don't have.
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
        launched = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield launched
        launched.close()


@pytest.fixture
def context(browser: Browser) -> Generator[BrowserContext]:
    """A fresh profile for one test."""
    fresh = browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=False)
    yield fresh
    fresh.close()


@pytest.fixture
def page(context: BrowserContext) -> Generator[Page]:
    """A page that fails its test when its script fails, or breaks the content security policy."""
    opened = context.new_page()
    troubles: list[str] = []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on(
        "console",
        lambda message: troubles.append(message.text) if "Content Security Policy" in message.text else None,
    )
    yield opened
    assert troubles == []
