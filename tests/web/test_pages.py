"""The dashboard's pages as a browser gets them, and what is said where they were not built."""

import gzip
from pathlib import Path

import httpx2
import pytest

from collector.web._pages import content_policy, load_pages
from tests.web.recorder import ORIGIN, new_recorder, open_web

SCRIPT = b"console.log('the page');"


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """A build: two pages, an icon, a script that is also compressed, a style that is not."""
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "rl-stats.html").write_text("<title>Stats</title>")
    (folder / "rl-orderbooks.html").write_text("<title>Books</title>")
    (folder / "icon.svg").write_text("<svg/>")
    (folder / "assets" / "index-1a2b3c.js").write_bytes(SCRIPT)
    (folder / "assets" / "index-1a2b3c.js.gz").write_bytes(gzip.compress(SCRIPT))
    (folder / "assets" / "index-4d5e6f.css").write_text("body{}")
    (tmp_path / "secret.html").write_text("not for anybody")
    return folder


async def get(dist: Path, path: str, **headers: str) -> httpx2.Response:
    async with open_web(new_recorder("A"), pages_folder=dist) as web:
        return await web.http.get(path, headers=headers)


@pytest.mark.parametrize(("path", "title"), [("/rl-stats", "Stats"), ("/rl-orderbooks?market=A", "Books")])
async def test_a_page_is_asked_for_again_each_time(dist: Path, path: str, title: str) -> None:
    """Both pages are HTML under a strict policy, and no browser keeps an old one without asking."""
    page = await get(dist, path)
    assert (page.status_code, page.text) == (200, f"<title>{title}</title>")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;" in policy
    assert "unsafe" not in policy


async def test_the_root_leads_to_the_dashboard(dist: Path) -> None:
    """Whoever asks for nothing in particular gets the page with the numbers."""
    root = await get(dist, "/")
    assert (root.status_code, root.headers["location"]) == (302, "/rl-stats")


async def test_assets_are_kept_for_good(dist: Path) -> None:
    """A file with a hash in its name never changes; the icon may."""
    style = await get(dist, "/assets/index-4d5e6f.css")
    assert (style.status_code, style.text) == (200, "body{}")
    assert style.headers["content-type"] == "text/css; charset=utf-8"
    assert style.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert style.headers["x-content-type-options"] == "nosniff"
    icon = await get(dist, "/icon.svg")
    assert (icon.headers["content-type"], icon.headers["cache-control"]) == (
        "image/svg+xml; charset=utf-8", "no-cache",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip, deflate, br", "gzip"), ("gzip;q=0", None), ("identity", None), ("br", None), ("*", "gzip")],
)
async def test_a_compressed_asset_is_for_those_who_take_it(
    dist: Path, accepted: str, coding: str | None
) -> None:
    """What the build has compressed is sent so where the browser accepts it, and caches know of both."""
    script = await get(dist, "/assets/index-1a2b3c.js", **{"Accept-Encoding": accepted})
    assert script.content == SCRIPT
    assert script.headers.get("content-encoding") == coding
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "Accept-Encoding" in script.headers.get_list("vary")[0]


def test_brotli_is_preferred(dist: Path) -> None:
    """Where the build has both, the smaller one goes out."""
    (dist / "assets" / "index-1a2b3c.js.br").write_bytes(b"brotli")
    assert list(load_pages(dist)["assets/index-1a2b3c.js"].coded) == ["br", "gzip"]


async def test_vary_names_the_origin_too(dist: Path) -> None:
    """A page of another origin that may read does not spoil the cache of others."""
    script = await get(dist, "/assets/index-1a2b3c.js", Origin=ORIGIN)
    assert {"Accept-Encoding", "Origin"} <= set(", ".join(script.headers.get_list("vary")).split(", "))


@pytest.mark.parametrize(
    "path",
    [
        "/assets/nothing.js",
        "/assets/index-1a2b3c.js.gz",
        "/assets/../secret.html",
        "/assets/..%2f..%2fsecret.html",
        "/assets/%2e%2e/rl-stats.html",
        "/secret.html",
    ],
)
async def test_nothing_else_is_served(dist: Path, path: str) -> None:
    """What the build has not made is not there, whatever the path looks like."""
    answer = await get(dist, path)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/rl-stats", "/rl-orderbooks"])
async def test_without_a_build_the_page_says_how_to_make_it(tmp_path: Path, path: str) -> None:
    """An installation without pages answers 503, names the command, and leads to the numbers."""
    page = await get(tmp_path / "nothing", path)
    assert page.status_code == 503
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "make frontend" in page.text
    assert 'href="/rl/status"' in page.text
    assert (await get(tmp_path / "nothing", "/icon.svg")).status_code == 404


@pytest.mark.parametrize(
    ("host", "sources"),
    [
        ("127.0.0.1:8001", "'self' ws://127.0.0.1:8001 wss://127.0.0.1:8001"),
        ("recorder.example", "'self' ws://recorder.example wss://recorder.example"),
        ("[::1]:8001", "'self' ws://[::1]:8001 wss://[::1]:8001"),
        ("", "'self'"),
        ("evil; script-src *", "'self'"),
        ("a b", "'self'"),
    ],
)
def test_the_policy_names_the_live_stream_of_its_own_host(host: str, sources: str) -> None:
    """Only the page's own host may be talked to, and no host name can add to the policy."""
    assert f"connect-src {sources};" in content_policy(host)
