"""
A browser for the tests: Debian's Chromium, or the one that `RL_CHROMIUM` names.

Where there is none, or the pages have not been built, the tests of the browser are left out, and say so.
"""

from collections.abc import Generator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.chromium import find_chromium, launch_chromium
from tests.browser.scenes import AXE, PAGES

expect.set_options(timeout=15_000)


@pytest.fixture(scope="session")
def browser() -> Generator[Browser]:
    """One Chromium for the whole run."""
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("LEFT OUT: there is no Chromium here (Debian: apt-get install chromium)")
    if not PAGES.exists() or not AXE.exists():
        pytest.skip("LEFT OUT: the dashboard is not built (make frontend)")
    with sync_playwright() as playwright:
        launched = launch_chromium(playwright, chromium)
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
