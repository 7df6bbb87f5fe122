"""
Pictures of both pages, in good times and in each kind of trouble: what docs/pictures shows.

    python -m tests.browser.pictures docs/pictures
    python -m tests.browser.pictures docs/pictures --only spool-full
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import click
from attrs import frozen
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.chromium import find_chromium, launch_chromium
from tests.browser.scenes import Scene, open_scene
from tests.databases import new_database, open_server

SETTLE_MS: Final = 1500
WIDE: Final = (1440, 900)
NARROW: Final = (390, 844)


@frozen
class Trouble:
    """What is done to a service, and what the collector says then."""

    name: str
    simulated: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    rate: float = 300
    problem: str = ""
    act: Callable[[Scene], None] = lambda scene: None


def _kill(scene: Scene) -> None:
    scene.collector.process.kill()


TROUBLES: Final = (
    Trouble("key-refused", ("--fault", "refuse=401"), problem="refuses the API key"),
    Trouble("database-away", problem="database is away", act=Scene.close_database),
    Trouble(
        "spool-full",
        settings=(("RL_SPOOL_MAX_MB", "1"),),
        rate=4000,
        problem="spool is full",
        act=Scene.close_database,
    ),
    Trouble("sequence-gap", ("--fault", "drop@1500x1"), problem="Sequence gap in"),
    Trouble("book-wrong", ("--fault", "skew@600x1"), (("RL_AUDIT_INTERVAL", "5"),), problem="wrong book"),
    Trouble(
        "subscription-silent",
        ("--fault", "mute=orderbook_delta@900x1"),
        (("RL_SILENCE_PROBE", "2"),),
        problem="went silent",
    ),
    Trouble("collector-gone", act=_kill),
)


@contextmanager
def open_page(browser: Browser, url: str, size: tuple[int, int], scheme: str) -> Generator[Page]:
    """A page of that size and colour scheme, without motion."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(url)
    page.locator("section[aria-label='Verdict'] h2").wait_for()
    yield page
    context.close()


def take(page: Page, path: Path, *, is_whole: bool = False) -> None:
    """A picture of what is in sight, or of the whole page."""
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=path, full_page=is_whole)
    click.echo(path)


def picture_good_times(browser: Browser, database_url: str, folder: Path) -> None:
    """Both pages while all is well: light and dark, wide and narrow."""
    with open_scene(database_url, markets=300, rate=600) as scene:
        scene.wait_all_exact()
        views = {"stats": "/rl-stats", "orderbooks": "/rl-orderbooks"}
        views["market"] = "/rl-orderbooks?market=SIM-0003"
        with open_page(browser, f"{scene.url}/rl-stats", WIDE, "light") as page:
            page.wait_for_timeout(60_000)
        for name, path in views.items():
            for scheme in ("light", "dark"):
                for width, size in (("wide", WIDE), ("narrow", NARROW)):
                    with open_page(browser, scene.url + path, size, scheme) as page:
                        is_whole = name == "stats" and width == "wide"
                        take(page, folder / f"{name}-{scheme}-{width}.png", is_whole=is_whole)


def picture_trouble(browser: Browser, database_url: str, folder: Path, trouble: Trouble) -> None:
    """What the pages say of one kind of trouble, wide and light, narrow and dark."""
    with open_scene(
        database_url, *trouble.simulated, rate=trouble.rate, settings=dict(trouble.settings)
    ) as scene:
        views: tuple[tuple[tuple[int, int], Literal["light", "dark"]], ...]
        views = ((WIDE, "light"), (NARROW, "dark"))
        with (
            open_page(browser, f"{scene.url}/rl-stats", *views[0]) as wide,
            open_page(browser, f"{scene.url}/rl-stats", *views[1]) as narrow,
        ):
            wide.wait_for_timeout(5000)
            trouble.act(scene)
            if trouble.problem:
                scene.wait_for_problem(trouble.problem)
            wide.wait_for_timeout(3000)
            take(wide, folder / f"trouble-{trouble.name}.png")
            take(narrow, folder / f"trouble-{trouble.name}-narrow.png")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--only", help="One kind of trouble, or `good`.")
def main(folder: Path, only: str | None) -> None:
    """Take all pictures anew."""
    chromium = find_chromium()
    if chromium is None:
        raise click.ClickException("there is no Chromium here (Debian: apt-get install chromium)")
    folder.mkdir(parents=True, exist_ok=True)
    with open_server() as server_url, sync_playwright() as playwright:
        browser = launch_chromium(playwright, chromium)
        if only in (None, "good"):
            with new_database(server_url) as database_url:
                picture_good_times(browser, database_url, folder)
        for trouble in TROUBLES:
            if only in (None, trouble.name):
                with new_database(server_url) as database_url:
                    picture_trouble(browser, database_url, folder, trouble)
        browser.close()


if __name__ == "__main__":
    main()
