"""
The built pages of the dashboard, held in memory: what the frontend's build has left in `dist/`.

    rl-stats.html, rl-orderbooks.html    the two pages, never kept by a browser without asking
    assets/*                             what they load; names carry a hash of the content, kept for good
    icon.svg                             and other files beside the pages

A file that the build has also compressed (`.br`, `.gz` beside it) is sent so to whoever takes that. Nothing
is read later than at the start: what is not here then is not served.
"""

import re
from pathlib import Path
from typing import Final

from attrs import field, frozen

DIST: Final = Path(__file__).parent / "dist"
FOR_GOOD: Final = "public, max-age=31536000, immutable"
ASK_AGAIN: Final = "no-cache"

_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
    ".map": "application/json",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
_SUFFIX_BY_CODING: Final = {"br": ".br", "gzip": ".gz"}
"""Content codings, the best first."""
_HOST: Final = re.compile(r"[A-Za-z0-9.\-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")

MISSING_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The dashboard is not built</title>
<h1>The dashboard is not built</h1>
<p>The collector runs, and this installation of it has no pages. Build them with</p>
<pre>make frontend</pre>
<p>and restart the collector. Until then <a href="/rl/status">/rl/status</a> has every number, and
<a href="/health">/health</a> says whether all is well.</p>
</html>
"""


@frozen
class PageFile:
    """One file: its bytes, plain and by content coding."""

    media_type: str
    cache_control: str
    plain: bytes = field(repr=False)
    coded: dict[str, bytes] = field(factory=dict[str, bytes], repr=False)


def load_pages(folder: Path) -> dict[str, PageFile]:
    """
    All files of a build by their path in it, as in `assets/index-1a2b.js`; none when there is no build.

    Reads files, without Trio: for the time before anything runs.
    """
    files: dict[str, PageFile] = {}
    for path in sorted((*folder.glob("*.*"), *folder.glob("assets/*.*"))):
        if path.is_file() and path.suffix in _MEDIA_TYPES:
            name = path.relative_to(folder).as_posix()
            coded = {
                coding: path.with_name(path.name + suffix).read_bytes()
                for coding, suffix in _SUFFIX_BY_CODING.items()
                if path.with_name(path.name + suffix).is_file()
            }
            cache_control = FOR_GOOD if name.startswith("assets/") else ASK_AGAIN
            files[name] = PageFile(_MEDIA_TYPES[path.suffix], cache_control, path.read_bytes(), coded)
    return files


def content_policy(host: str) -> str:
    """
    What a page may load: its own files, and the live stream of the host that it came from. Pure.

    The stream is named because not every browser takes it for one's own origin; its scheme is not known
    behind a proxy that ends TLS.
    """
    streams = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        f" connect-src 'self'{streams}; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
