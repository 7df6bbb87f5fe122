"""What an operator sees: true numbers, what is wrong and what to do, and books that live."""

import itertools
import re
import signal
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.scenes import AXE, open_scene
from tests.service.harness import query

PATHS = ("/rl-stats", "/rl-orderbooks", "/rl-orderbooks?market=SIM-0001")
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def number_on(page: Page, name: str) -> str:
    """One of the key numbers, without the spaces between its digits."""
    cell = page.locator("section[aria-label='Key numbers'] dl > div").filter(
        has=page.locator("dt", has_text=re.compile(f"^{re.escape(name)}$"))
    )
    return re.sub(r"[\s,\u2009\u202f\u00a0]", "", cell.locator("dd").first.inner_text())


def expect_verdict(page: Page, pattern: str, *, s_max: float = 15.0) -> None:
    verdict = page.locator("section[aria-label='Verdict'] h2")
    expect(verdict).to_have_text(re.compile(pattern), timeout=s_max * 1000)


def expect_problem(page: Page, title: str) -> None:
    """The first problem on the page; its advice is there."""
    first = page.locator("ul[aria-label='What is wrong'] > li").first
    expect(first).to_contain_text(re.compile(title, re.IGNORECASE), timeout=30_000)
    expect(first).to_contain_text("What to do")


def test_numbers_on_the_screen_are_those_in_the_database(database_url: str, page: Page) -> None:
    """When the flow stops, page, ledger and rows agree to the last one."""
    with open_scene(database_url, markets=20, rate=500) as scene:
        page.goto(f"{scene.url}/rl-stats")
        scene.wait_all_exact()
        expect_verdict(page, "^Recording$")
        scene.stop_the_flow()
        expect(page.locator("section[aria-label='Key numbers']")).to_contain_text("Queue")
        page.wait_for_timeout(1500)

        (session,) = query(
            database_url,
            "SELECT session_id::text, snapshots, deltas, frames FROM rl_orderbook_sessions",
        )
        (rows,) = query(database_url, "SELECT count(*) FROM rl_orderbook_deltas")
        assert number_on(page, "Session") == session[0]
        assert int(number_on(page, "Snapshots")) == session[1] == 20
        assert int(number_on(page, "Deltas")) == session[2] == rows[0] > 100
        assert int(number_on(page, "Queue")) == 0
        assert int(number_on(page, "Exact markets")) == 20


def test_silence_of_the_collector_is_shown_and_heals(database_url: str, page: Page) -> None:
    """Numbers that have stopped are never shown as if they lived; when they go on, so does the page."""
    with open_scene(database_url) as scene:
        page.goto(f"{scene.url}/rl-stats")
        expect_verdict(page, "^Recording$")
        scene.collector.process.send_signal(signal.SIGSTOP)
        # Two seconds after the last message, which may be one second old, and the page's own tick.
        expect_verdict(page, r"^No connection to the collector . numbers as of \d\d:\d\d:\d\d", s_max=4)
        scene.collector.process.send_signal(signal.SIGCONT)
        expect_verdict(page, "^Recording$")


def test_cut_connection_is_shown_and_heals_with_fresh_numbers(database_url: str, page: Page) -> None:
    """A collector that goes away and comes back is found again without anyone's doing."""
    with open_scene(database_url) as scene:
        page.goto(f"{scene.url}/rl-stats")
        expect_verdict(page, "^Recording$")
        # A session is active a moment before its row is written and gives it a number.
        page.wait_for_timeout(1500)
        first = number_on(page, "Session")
        scene.collector.process.kill()
        expect_verdict(page, "^No connection to the collector", s_max=4)
        with scene.start_again():
            expect_verdict(page, "^Recording$", s_max=40)
            page.wait_for_timeout(1500)
            assert int(number_on(page, "Session")) > int(first)


def test_three_hundred_markets_are_there_and_only_those_in_sight_are_drawn(
    database_url: str, page: Page
) -> None:
    """The grid knows of all, sorts by any column, and scrolls to the last."""
    with open_scene(database_url, markets=300, rate=600) as scene:
        scene.wait_all_exact()
        page.goto(f"{scene.url}/rl-orderbooks")
        grid = page.get_by_role("grid", name="Markets")
        expect(grid).to_have_attribute("aria-rowcount", "301")
        assert 5 < page.locator(".market-row").count() < 80

        page.get_by_role("columnheader", name="Market").get_by_role("button").click()
        expect(page.get_by_role("columnheader", name="Market")).to_have_attribute(
            "aria-sort", re.compile("ascending|descending")
        )
        page.locator(".market-row").first.focus()
        page.keyboard.press("End")
        expect(page.locator(".market-row[data-row='299']")).to_be_visible()


def test_market_opens_into_its_ladder_which_is_the_book_in_the_service(database_url: str, page: Page) -> None:
    """By the keyboard, with an address of its own; when the flow stops its levels are the recorder's."""
    with open_scene(database_url, markets=6, rate=200) as scene:
        scene.wait_all_exact()
        page.goto(f"{scene.url}/rl-orderbooks")
        page.locator(".market-row").first.focus()
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(r"\?market=SIM-\d{4}$"))
        ticker = page.url.rsplit("=", 1)[1]
        panel = page.get_by_role("region", name=ticker).or_(page.get_by_role("dialog", name=ticker)).first
        expect(panel).to_be_visible()
        scene.stop_the_flow()
        page.wait_for_timeout(1500)
        (market,) = [m for m in scene.status()["markets"] if m["ticker"] == ticker]
        expect(panel).to_contain_text(market["yes_bid"])
        expect(panel).to_contain_text(market["yes_ask"])
        page.keyboard.press("Escape")
        expect(page).to_have_url(re.compile(r"/rl-orderbooks$"))


@pytest.mark.parametrize(
    ("fault", "settings", "title"),
    [
        ("refuse=401", {}, "refuse"),
        ("drop@400x1", {}, "gap|missing|lost"),
        ("skew@300x1", {"RL_AUDIT_INTERVAL": "4"}, "audit|wrong|differ"),
    ],
    ids=["refused key", "lost frame", "wrong book"],
)
def test_trouble_comes_first_with_its_cause_and_what_to_do(
    fault: str, settings: dict[str, str], title: str, database_url: str, page: Page
) -> None:
    with open_scene(database_url, "--fault", fault, settings=settings) as scene:
        page.goto(f"{scene.url}/rl-stats")
        expect_problem(page, title)


def test_database_that_goes_away_is_told_with_the_reserve_in_use(database_url: str, page: Page) -> None:
    with open_scene(database_url) as scene:
        page.goto(f"{scene.url}/rl-stats")
        expect_verdict(page, "^Recording$")
        scene.close_database()
        expect_verdict(page, "^Recording to disk", s_max=30)
        expect_problem(page, "database|PostgreSQL")
        scene.open_database()
        expect_verdict(page, "^Recording$", s_max=40)


def test_full_spool_is_told_as_a_risk_while_memory_takes_what_comes(database_url: str, page: Page) -> None:
    with open_scene(database_url, rate=4000, settings={"RL_SPOOL_MAX_MB": "1"}) as scene:
        page.goto(f"{scene.url}/rl-stats")
        expect_verdict(page, "^Recording$")
        scene.close_database()
        expect_verdict(page, "^At risk", s_max=60)
        expect_problem(page, "the spool is full")


def test_pages_have_no_serious_fault_of_accessibility(database_url: str, browser: Browser) -> None:
    """By axe: names, roles, contrast, keyboard; light and dark, wide and narrow."""
    serious: list[tuple[object, ...]] = []
    with open_scene(database_url, markets=40, rate=300) as scene:
        scene.wait_all_exact()
        for path, scheme, width in itertools.product(PATHS, SCHEMES, (1440, 390)):
            context = browser.new_context(
                color_scheme=scheme,
                viewport={"width": width, "height": 900},
                reduced_motion="reduce",
                bypass_csp=True,
            )
            page = context.new_page()
            page.goto(f"{scene.url}{path}")
            expect_verdict(page, "^Recording$")
            page.add_script_tag(path=AXE)
            found = page.evaluate("axe.run().then(result => result.violations)")
            serious += [
                (
                    path,
                    scheme,
                    width,
                    violation["id"],
                    [node["html"][:160] for node in violation["nodes"][:3]],
                )
                for violation in found
                if violation["impact"] in ("serious", "critical")
            ]
            context.close()
    assert serious == []
