"""
The routes: health, status, books, metrics, the dashboard, and the live stream.

Every handler is a coroutine, though most never wait: Quart would run a plain function in a thread, and the
recorder's state belongs to the Trio thread alone.

Who may do what. Everything may be read without a token. What changes something needs the admin token. Pages
of other origins may read only when they are listed, on HTTP by CORS and on the WebSocket by its handshake,
which browsers don't restrict by themselves; programs send no Origin and are let in.

Each connection has a task below Hypercorn's; it ends with the connection, when the hub closes, or when
Hypercorn's nursery is cancelled. Nothing else runs here.
"""

import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import msgspec
import trio
from attrs import define, frozen
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from quart import Response, request, websocket
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException
from werkzeug.routing.exceptions import WebsocketMismatch

from collector.errors import StoreError
from collector.live import STREAMS, LiveHub, Mailbox, Stream
from collector.observe import RecorderState, get_logger
from collector.recording import Recording
from collector.web._book_messages import LiveMessages, book_data, connection_text, error_text
from collector.web._coverage import MINUTES_DEFAULT, MINUTES_MAX, CoverageQuery
from collector.web._current_books import current_book, current_books
from collector.web._data_health import SESSIONS_DEFAULT, SESSIONS_MAX, DataHealthQuery
from collector.web._health import health_json
from collector.web._metrics import make_registry
from collector.web._pages import ASK_AGAIN, DIST, MISSING_PAGE, PageFile, content_policy, load_pages
from collector.web._query_cache import Unanswered
from collector.web._schema import BookData, ErrorAnswer
from collector.web._stats import series_data, stats_text
from collector.web._status import status_json

FLUSH_S_MAX: Final = 30.0
"""A write waits for PostgreSQL; whoever asks for one should hear within a proxy's patience."""
REQUEST_BYTES_MAX: Final = 16 * 1024
"""No route reads a body."""
PACE_BURST_S: Final = 0.5
"""How much of its share an idle client may have at once: the books of its first moment."""
PACE_MESSAGES: Final = 25

CLOSE_GOING_AWAY: Final = 1001
CLOSE_POLICY: Final = 1008
CLOSE_TRY_AGAIN: Final = 1013

_BOOKS_PER_STEP: Final = 8

_log = get_logger("web")


@frozen
class _Wish:
    """What a client asks of the live stream; `problem` says what it can't have."""

    streams: frozenset[Stream]
    markets: frozenset[str] | None
    problem: str | None = None


@define(eq=False)
class _Pace:
    """Keeps a client's messages to its share, so that those who look don't take the recorder's processor."""

    due_s: float
    sent: int = 0

    async def note_sent(self, per_s: float) -> None:
        """Count one message, and wait where the share is used up. Not always a checkpoint."""
        now_s = trio.current_time()
        self.due_s = max(self.due_s, now_s - PACE_BURST_S) + 1 / per_s
        self.sent += 1
        # To sleep after each message would cost as much as to send it.
        if self.due_s > now_s and self.sent % PACE_MESSAGES == 0:
            await trio.sleep_until(self.due_s)


class WebApp(QuartTrio):
    """The app, with its errors in the service's log and the hub that the server closes when it stops."""

    hub: LiveHub

    def log_exception(self, *context_and_error: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Log what a handler did not expect. Quart passes the error last, since 0.23 behind the context."""
        _log.error("request_failed", exc_info=context_and_error[-1])


@frozen
class _Routes:
    """The handlers, with what they read."""

    state: RecorderState
    hub: LiveHub
    admin_token: str | None
    allowed_origins: frozenset[str]
    flush: Callable[[], Awaitable[int]]
    registry: CollectorRegistry
    data_health: DataHealthQuery
    coverage_query: CoverageQuery
    pages: dict[str, PageFile]

    async def health(self) -> Response:
        status, body = health_json(self.state, self.state.clock())
        return _json(body, status)

    async def live(self) -> Response:
        """Whether the event loop turns: that this is answered is the answer."""
        return _json({"status": "ok"})

    async def data(self) -> Response:
        """Whether the recording itself is good, by the database."""
        sessions = _parse_number(request.args.get("sessions"), SESSIONS_DEFAULT, SESSIONS_MAX)
        if sessions is None:
            return _error(400, "bad_sessions", f"sessions is a number from 1 to {SESSIONS_MAX}")
        health = await self.data_health.ask(sessions)
        return _json(health, 200 if health.status == "good" else 503)

    async def series(self) -> Response:
        """The last quarter of an hour, for charts."""
        return _json(series_data(self.state.series))

    async def coverage(self) -> Response:
        """When books were exact, by the database."""
        minutes = _parse_number(request.args.get("minutes"), MINUTES_DEFAULT, MINUTES_MAX)
        if minutes is None:
            return _error(400, "bad_minutes", f"minutes is a number from 1 to {MINUTES_MAX}")
        answer = await self.coverage_query.ask(minutes, _split(request.args.get("markets")) or None)
        if isinstance(answer, Unanswered):
            return _error(503, "store_unavailable", answer.why)
        return _json(answer)

    async def status(self) -> Response:
        hub = self.hub
        return _json(status_json(self.state, hub.clients, hub.clients_ever, hub.dropped))

    async def snapshot(self) -> Response:
        ticker = request.args.get("ticker", "").strip()
        if not ticker:
            return await self._all_snapshots()
        book = current_book(self.state, ticker)
        if book is not None:
            return _json(book_data(book))
        if ticker in self.state.tickers:
            return _error(404, "no_book_yet", f"the first snapshot of {ticker} has not come yet")
        return _error(404, "unknown_ticker", f"{ticker[:80]} is not among the recorded markets")

    async def _all_snapshots(self) -> Response:
        books: list[BookData] = []
        for count, book in enumerate(current_books(self.state).values(), 1):
            books.append(book_data(book))
            if count % _BOOKS_PER_STEP == 0:
                await trio.lowlevel.checkpoint()
        return _json({"books": books})

    async def metrics(self) -> Response:
        return Response(generate_latest(self.registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def flush_now(self) -> Response:
        """Write what waits, for the holder of the token."""
        if self.admin_token is None:
            return _error(403, "admin_off", "RL_ADMIN_TOKEN is not set: admin endpoints are off")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        is_right = hmac.compare_digest(token.strip().encode(), self.admin_token.encode())
        if scheme.lower() != "bearer" or not is_right:
            refusal = _error(401, "unauthorized", "the bearer token is missing or wrong")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal
        flushed: int | None = None
        try:
            with trio.move_on_after(FLUSH_S_MAX):
                flushed = await self.flush()
        except StoreError as error:
            return _error(503, "store_unavailable", f"PostgreSQL did not take it: {error}")
        if flushed is None:
            return _error(503, "flush_timed_out", f"not written within {FLUSH_S_MAX:g} s; it still waits")
        return _json({"status": "flushed", "flushed": flushed})

    async def stats_page(self) -> Response:
        return self._page("rl-stats.html")

    async def orderbooks_page(self) -> Response:
        return self._page("rl-orderbooks.html")

    async def asset(self, name: str) -> Response:
        return self._page_file(f"assets/{name}")

    async def icon(self) -> Response:
        return self._page_file("icon.svg")

    def _page(self, name: str) -> Response:
        if name not in self.pages:
            policy = "default-src 'none'; frame-ancestors 'self'"
            headers = {"Content-Security-Policy": policy, "Cache-Control": ASK_AGAIN}
            return Response(MISSING_PAGE, 503, headers=headers, content_type="text/html; charset=utf-8")
        return self._page_file(name)

    def _page_file(self, name: str) -> Response:
        file = self.pages.get(name)
        if file is None:
            return _error(404, "not_found", "there is no such file")
        headers = {
            "Content-Security-Policy": content_policy(request.headers.get("Host", "")),
            "Cache-Control": file.cache_control,
        }
        body = file.plain
        if file.coded:
            headers["Vary"] = "Accept-Encoding"
            for coding, coded in file.coded.items():
                if request.accept_encodings.quality(coding) > 0:
                    headers["Content-Encoding"] = coding
                    body = coded
                    break
        return Response(body, headers=headers, content_type=file.media_type)

    async def to_dashboard(self) -> Response:
        return Response("", 302, {"Location": "/rl-stats"})

    async def stream(self) -> Response | None:
        """The WebSocket: greet, then send what the mailbox brings until one side goes."""
        if not self._is_origin_allowed(websocket.headers.get("Origin"), websocket.headers.get("Host", "")):
            return _error(403, "origin_not_allowed", "this origin is not listed in RL_ALLOWED_ORIGINS")
        if self.hub.is_full:
            await _turn_away(CLOSE_TRY_AGAIN, "too many clients: try again later")
            return None
        wish = _parse_wish(websocket.args.get("streams"), websocket.args.get("markets"), self.state.tickers)
        if wish.problem is not None:
            await _turn_away(CLOSE_POLICY, wish.problem)
            return None
        mailbox = self.hub.join(wish.streams, wish.markets)
        try:
            await self._serve_client(mailbox)
        finally:
            self.hub.leave(mailbox)
        return None

    async def _serve_client(self, mailbox: Mailbox) -> None:
        await _accept()
        await websocket.send(connection_text(self.state, mailbox.markets))
        if "stats" in mailbox.streams:
            mailbox.put_stats(stats_text(self.state, self.hub.clients))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_discard_incoming)
            # A client that does not read is ended by the connection itself: see DeadlineConnection.
            pace = _Pace(trio.current_time())
            while texts := await mailbox.take():
                for text in texts:
                    await websocket.send(text)
                    await pace.note_sent(self.hub.share_per_s)
            nursery.cancel_scope.cancel(reason="the hub has closed")
        await websocket.close(CLOSE_GOING_AWAY, "the service stops")

    async def answer_error(self, error: HTTPException) -> Response:
        """Every error as JSON, those of routing and of bugs too."""
        if isinstance(error, WebsocketMismatch):
            return _error(400, "wrong_protocol", "/rl/ws and /ws speak WebSocket, everything else HTTP")
        if error.code == 404:
            return _error(404, "not_found", "there is nothing here; the dashboard is at /rl-stats")
        status = error.code or 500
        name = (error.name or "error").lower().replace(" ", "_")
        response = _error(status, name, error.description or name)
        for header, value in error.get_headers():
            if header == "Allow":
                response.headers[header] = value
        return response

    async def add_headers(self, response: Response) -> Response:
        """After every request: what browsers may do with the answer."""
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        response.headers.setdefault("Cache-Control", "no-store")
        if not self.allowed_origins:
            return response
        response.headers.add("Vary", "Origin")
        origin = request.headers.get("Origin", "")
        if origin in self.allowed_origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            if request.method == "OPTIONS":
                response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
                response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
                response.headers["Access-Control-Max-Age"] = "600"
        return response

    def _is_origin_allowed(self, origin: str | None, host: str) -> bool:
        if origin is None or origin in self.allowed_origins:
            return True
        # The scheme can't be compared: a proxy that ends TLS hides it.
        return urlsplit(origin).netloc.lower() == host.lower()


def make_app(
    state: RecorderState,
    hub: LiveHub,
    *,
    admin_token: str | None,
    allowed_origins: tuple[str, ...],
    flush: Callable[[], Awaitable[int]],
    recording: Recording | None = None,
    pages_folder: Path = DIST,
) -> WebApp:
    """
    The app over a state and a hub, which it teaches its JSON.

    `flush` writes what waits now, and returns how many frames that was. `recording` answers questions about
    what is in the database. The built pages are read from `pages_folder` before this returns.
    """
    app = WebApp("collector.web", static_folder=None)
    app.hub = hub
    hub.encoder = LiveMessages(state)
    app.config["MAX_CONTENT_LENGTH"] = REQUEST_BYTES_MAX
    routes = _Routes(
        state=state,
        hub=hub,
        admin_token=admin_token,
        allowed_origins=frozenset(allowed_origins),
        flush=flush,
        registry=make_registry(state, hub),
        data_health=DataHealthQuery.of(recording),
        coverage_query=CoverageQuery.of(state.clock, recording),
        pages=load_pages(pages_folder),
    )
    get, post = ["GET"], ["POST"]
    app.add_url_rule("/", "root", routes.to_dashboard, methods=get)
    app.add_url_rule("/health", "health", routes.health, methods=get)
    app.add_url_rule("/rl/health", "rl_health", routes.health, methods=get)
    app.add_url_rule("/health/live", "live", routes.live, methods=get)
    app.add_url_rule("/health/data", "data", routes.data, methods=get)
    app.add_url_rule("/rl/status", "status", routes.status, methods=get)
    app.add_url_rule("/rl/orderbook/snapshot", "snapshot", routes.snapshot, methods=get)
    app.add_url_rule("/rl/admin/flush", "flush", routes.flush_now, methods=post)
    app.add_url_rule("/metrics", "metrics", routes.metrics, methods=get)
    app.add_url_rule("/rl/series", "series", routes.series, methods=get)
    app.add_url_rule("/rl/coverage", "coverage", routes.coverage, methods=get)
    app.add_url_rule("/rl-stats", "stats_page", routes.stats_page, methods=get)
    app.add_url_rule("/rl-orderbooks", "orderbooks_page", routes.orderbooks_page, methods=get)
    app.add_url_rule("/assets/<name>", "asset", routes.asset, methods=get)
    app.add_url_rule("/icon.svg", "icon", routes.icon, methods=get)
    app.add_websocket("/rl/ws", "rl_ws", routes.stream)
    app.add_websocket("/ws", "ws", routes.stream)
    app.register_error_handler(HTTPException, routes.answer_error)
    app.after_request(cast("Callable[[Response], Awaitable[Response]]", routes.add_headers))
    return app


def _parse_wish(streams: str | None, markets: str | None, known: tuple[str, ...]) -> _Wish:
    """What the query of the WebSocket asks for; what it leaves out means everything."""
    wanted_streams = _split(streams)
    unknown = sorted(wanted_streams - STREAMS)
    if unknown:
        return _Wish(STREAMS, None, f"unknown stream: {unknown[0][:40]} (there are: orderbook, stats)")
    wanted_markets = _split(markets)
    unknown = sorted(wanted_markets.difference(known))
    if unknown:
        return _Wish(STREAMS, None, f"unknown market: {unknown[0][:40]} is not recorded here")
    return _Wish(cast("frozenset[Stream]", wanted_streams) or STREAMS, wanted_markets or None)


def _parse_number(text: str | None, default: int, number_max: int) -> int | None:
    """A number from 1 on that a client has asked for; None when it is none, or is too great."""
    if text is None:
        return default
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0
    return number if 1 <= number <= number_max else None


def _split(text: str | None) -> frozenset[str]:
    return frozenset(part.strip() for part in (text or "").split(",") if part.strip())


async def _turn_away(code: int, reason: str) -> None:
    """Tell a client why it can't stay. Browsers hide a failed handshake, so it is let in first."""
    await _accept()
    await websocket.send(error_text(reason))
    # A close reason has room for 123 bytes.
    await websocket.close(code, reason.encode()[:120].decode(errors="ignore"))


async def _accept() -> None:
    # The library leaves the headers' type open.
    await websocket.accept()  # pyright: ignore[reportUnknownMemberType]


async def _discard_incoming() -> None:
    # Nothing is expected from clients. But what is not read would fill the queue between server and app,
    # and the news that the client is gone comes through that queue.
    while True:
        await websocket.receive()


def _json(data: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(data), status, content_type="application/json")


def _error(status: int, error: str, message: str) -> Response:
    return _json(ErrorAnswer(error, message), status)
