"""
What the dashboard costs a browser: frames drawn, main thread, memory and first load, under load.

A demonstration with many markets, and Debian's Chromium without a screen. The grid of all markets is scrolled
up and down for a bounded time, one step in each animation frame, while everything changes. Told are the times
between frames, the share of the main thread that was busy, and the memory of the page after a collection of
garbage, at the beginning and at the end; the growth in between is told by the hour. Both pages are loaded
with an empty cache too, and what came over the wire is counted.

The browser shares the machine with the service, the simulator and PostgreSQL: on two cores the frame times
are worse than on an operator's machine, and the memory is the same.

    python -m bench.dashboard
    python -m bench.dashboard --markets 300 --rate 500 --seconds 600
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from attrs import frozen
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from bench.rig import free_port, percentile, print_table, temporary_folder

START_S_MAX: Final = 90.0
STEP_PX: Final = 24
FRAME_MS: Final = 1000 / 60
"""What a screen of 60 Hz asks for."""
SLOW_MS: Final = 50.0
"""Three frames: from here on a person sees it."""

FIRST_CONTENT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
SCROLL = """
async ([seconds, step]) => {
  const box = document.querySelector('.market-scroll');
  const gaps = [];
  let last = performance.now(), down = true;
  const end = last + seconds * 1000;
  while (last < end) {
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    gaps.push(now - last);
    last = now;
    const before = box.scrollTop;
    box.scrollTop += down ? step : -step;
    if (box.scrollTop === before) down = !down;
  }
  return gaps;
}"""


@frozen
class Sample:
    """The page at one moment."""

    at_s: float
    heap_mb: float
    process_mb: float
    nodes: int
    busy_s: float


@contextmanager
def open_demo(folder: Path, markets: int, rate: float) -> Generator[str]:
    """A demonstration for the time of the block, at its URL."""
    port = free_port()
    command = [sys.executable, "-m", "collector", "demo", "--dir", str(folder / "demo"), "--port", str(port)]
    command += ["--markets", str(markets), "--rate", str(rate)]
    with (folder / "demo.log").open("w") as log:
        demo = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_serving(f"http://127.0.0.1:{port}/health/live", demo)
        yield f"http://127.0.0.1:{port}"
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(60)


def _wait_serving(url: str, demo: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline and demo.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise click.ClickException("the demonstration does not answer")


def renderer_mb(browser: Browser) -> float:
    """Resident memory of the page's process: the largest of the browser's renderers."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    sizes = [_resident_mb(int(process["id"])) for process in processes if process["type"] == "renderer"]
    return max(sizes, default=float("nan"))


def _resident_mb(process: int) -> float:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def take_sample(browser: Browser, session: CDPSession, began_s: float) -> Sample:
    """Collect garbage, and read the browser's own counters."""
    session.send("HeapProfiler.collectGarbage")
    metrics = {
        metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]
    }
    return Sample(
        time.monotonic() - began_s,
        metrics["JSHeapUsedSize"] / 2**20,
        renderer_mb(browser),
        int(metrics["Nodes"]),
        metrics["TaskDuration"],
    )


def first_load(browser: Browser, url: str) -> tuple[int, float]:
    """Bytes over the wire, and seconds until the page's first content, with an empty cache."""
    context = browser.new_context()
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    sizes: list[int] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
    page.goto(url, wait_until="load")
    page.locator("h1").wait_for()
    paint: float = page.evaluate(FIRST_CONTENT)
    context.close()
    return sum(sizes), paint / 1000


def scroll(page: Page, seconds: float) -> list[float]:
    """Milliseconds between frames while the grid is scrolled."""
    gaps: list[float] = page.evaluate(SCROLL, [seconds, STEP_PX])
    return gaps[1:]


def measure(url: str, chromium: str, seconds: float) -> None:
    """Open, scroll, and tell."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        loads = [(path, *first_load(browser, f"{url}{path}")) for path in ("/rl-stats", "/rl-orderbooks")]
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Performance.enable")
        page.goto(f"{url}/rl-orderbooks")
        page.locator(".market-row").first.wait_for(timeout=60_000)
        page.wait_for_timeout(5000)
        began_s = time.monotonic()
        first = take_sample(browser, session, began_s)
        gaps = scroll(page, seconds)
        last = take_sample(browser, session, began_s)
        browser.close()
    _tell(loads, first, last, gaps)


def _tell(loads: list[tuple[str, int, float]], first: Sample, last: Sample, gaps: list[float]) -> None:
    between_s = last.at_s - first.at_s
    rows = [
        (f"first load of {path}", f"{size / 1000:,.1f} kB, first content after {paint_s * 1000:,.0f} ms")
        for path, size, paint_s in loads
    ]
    shares = ", ".join(f"p{share * 100:g} {percentile(gaps, share):.1f}" for share in (0.5, 0.9, 0.99))
    slow = sum(gap > SLOW_MS for gap in gaps)
    growth_mb = (last.heap_mb - first.heap_mb) / between_s * 3600
    rows += [
        ("frames drawn", f"{len(gaps):,} in {between_s:.0f} s"),
        ("between frames, ms", f"{shares}, max {max(gaps):.1f}; a screen of 60 Hz asks for {FRAME_MS:.1f}"),
        (f"longer than {SLOW_MS:g} ms", f"{slow} ({slow / len(gaps):.2%})"),
        ("main thread busy", f"{(last.busy_s - first.busy_s) / between_s:.0%}"),
        ("heap, after garbage collection", f"{first.heap_mb:.1f} MB, then {last.heap_mb:.1f} MB"),
        ("growth of the heap by the hour", f"{growth_mb:+.0f} MB"),
        ("process of the page, resident", f"{first.process_mb:.0f} MB, then {last.process_mb:.0f} MB"),
        ("nodes in the page", f"{first.nodes:,}, then {last.nodes:,}"),
    ]
    print_table("the dashboard in Chromium", rows)


@click.command()
@click.option("--markets", type=click.IntRange(1, 5000), default=1000, show_default=True)
@click.option("--rate", type=click.FloatRange(1, 20_000), default=2000.0, show_default=True)
@click.option("--seconds", type=click.FloatRange(5, 7200), default=60.0, show_default=True)
def main(markets: int, rate: float, seconds: float) -> None:
    """Measure the dashboard in a real browser."""
    chromium = os.environ.get("RL_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise click.ClickException("there is no Chromium here (Debian: apt-get install chromium)")
    print(f"{markets} markets, {rate:g} generated messages a second, {seconds:g} s of scrolling")
    with temporary_folder() as folder, open_demo(folder, markets, rate) as url:
        measure(url, chromium, seconds)


if __name__ == "__main__":
    main()
