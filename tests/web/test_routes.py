"""Every HTTP route over a real socket: what it answers, to whom, and with which headers."""

import math
from collections.abc import Awaitable, Callable

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from collector.errors import StoreUnavailable
from collector.observe import FeedPhase
from collector.web import _app as web_app
from tests.web.recorder import (
    ORIGIN,
    TOKEN,
    WAIT_S,
    delta,
    new_recorder,
    open_web,
    running_recorder,
    snapshot,
)

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize("path", ["/health", "/rl/health"])
async def test_health_follows_the_state(path: str) -> None:
    """Both health routes answer 200 while the service does its job, and 503 with the reason when not."""
    recorder, _ = running_recorder("A")
    async with open_web(recorder) as web:
        healthy = await web.http.get(path)
        recorder.state.feeds[0].phase = FeedPhase.REFUSED
        recorder.state.feeds[0].reason = "HTTP 401"
        refused = await web.http.get(path)
    assert (healthy.status_code, healthy.json()["status"]) == (200, "ok")
    assert set(healthy.json()["components"]) == {
        "feeds", "store", "partitions", "event_loop", "spool", "message_age", "clock", "books",
    }  # fmt: skip
    assert refused.status_code == 503
    assert "HTTP 401" in refused.json()["components"]["feeds"]["why"]


async def test_live_is_always_200() -> None:
    """The event loop turns, whatever else is wrong."""
    recorder, _ = running_recorder("A")
    recorder.state.feeds[0].phase = FeedPhase.REFUSED
    async with open_web(recorder) as web:
        answer = await web.http.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_status_tells_everything() -> None:
    """The status page has health, statistics, feeds, sessions, each market, and recent trouble."""
    recorder, session = running_recorder("A", "B")
    recorder.state.market_tickers = ("A", "B", "C")
    recorder.fold(session, delta("A", 5), f'{{"sid":7,"x":"{"x" * 1000}"}}')
    async with open_web(recorder) as web:
        status = (await web.http.get("/rl/status")).json()
    markets = {market["ticker"]: market for market in status["markets"]}
    assert markets["A"]["unknown_cause"] == "sequence"
    assert (markets["A"]["yes_bid"], markets["A"]["yes_ask"]) == ("45", "55")
    assert markets["C"] == {
        "ticker": "C",
        "has_book": False,
        "is_exact": False,
        "unknown_cause": "no_snapshot_yet",
    }
    assert [gap["cause"] for gap in status["recent_gaps"]] == ["sequence"]
    assert len(status["recent_rejects"][0]["text"]) == 500
    assert status["stats"]["gaps"] == 1
    assert status["sessions"][0]["received"]["rejects"] == 1
    assert status["feeds"][0]["markets"] == ["A", "B"]
    assert set(status["sessions"][0]["ages_ms"]) == {
        "exchange_to_receive", "exchange_to_send", "send_to_receive", "receive_to_book", "receive_to_commit",
    }  # fmt: skip
    assert status["sessions"][0]["ages_ms"]["receive_to_book"]["messages"] == 4
    assert status["stats"]["spool"]["records"] == 0


async def test_snapshot_of_one_market_and_of_all() -> None:
    """A ticker gives its book; none gives all books that there are."""
    recorder, _ = running_recorder("A", "B")
    async with open_web(recorder) as web:
        one = await web.http.get("/rl/orderbook/snapshot", params={"ticker": "A"})
        every = await web.http.get("/rl/orderbook/snapshot")
    assert (one.status_code, one.json()["market_ticker"]) == (200, "A")
    assert '"yes_bids":{"45":100}' in one.text
    assert [book["market_ticker"] for book in every.json()["books"]] == ["A", "B"]


@pytest.mark.parametrize(("ticker", "error"), [("X", "unknown_ticker"), ("A", "no_book_yet")])
async def test_snapshot_that_is_not_there(ticker: str, error: str) -> None:
    """An unknown market, and one without a book, are told apart in a 404."""
    async with open_web(new_recorder("A")) as web:
        answer = await web.http.get("/rl/orderbook/snapshot", params={"ticker": ticker})
    assert (answer.status_code, answer.json()["error"]) == (404, error)


async def test_metrics_equal_the_state() -> None:
    """Prometheus reads the recorder's numbers, in its text format."""
    recorder, session = running_recorder("A")
    recorder.fold(session, delta("A", 2), delta("A", 3))
    session.write_ms_last = 12.0
    recorder.state.rows_written = 3
    recorder.state.spool.bytes, recorder.state.spool.torn_records = 4096, 2
    recorder.state.wall_clock.steps = 1
    async with open_web(recorder) as web:
        answer = await web.http.get("/metrics")
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert samples[("collector_frames_total", ("kind", "deltas"))] == 2
    assert samples[("collector_frames_total", ("kind", "snapshots"))] == 1
    assert samples[("collector_rows_written_total",)] == 3
    assert samples[("collector_markets_exact",)] == 1
    assert samples[("collector_store_phase", ("phase", "available"))] == 1
    assert samples[("collector_feed_phase", ("feed", "feed-1"), ("phase", "refused"))] == 0
    assert samples[("collector_spool_bytes",)] == 4096
    assert samples[("collector_spool_torn_records_total",)] == 2
    assert samples[("collector_clock_steps_total",)] == 1
    assert samples[("collector_message_age_growing", ("feed", "feed-1"))] == 0
    assert math.isclose(samples[("collector_write_seconds", ("feed", "feed-1"))], 0.012)


async def test_metrics_have_message_ages_as_histograms() -> None:
    """Each of the three ages is a Prometheus histogram in seconds, cumulative up to +Inf."""
    recorder, session = running_recorder("A")
    recorder.now_us = 1_750_000_000_123_000 + 3_000
    batch = recorder.fold(session, delta("A", 2), delta("A", 3))
    session.ages.note_committed(batch.frames, recorder.now_us + 500_000)
    async with open_web(recorder) as web:
        text = (await web.http.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    family = families["collector_exchange_to_receive_seconds"]
    assert family.type == "histogram"
    buckets = {
        sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")
    }
    assert (buckets["0.002048"], buckets["0.004096"], buckets["+Inf"]) == (0, 2, 2)
    assert list(buckets.values()) == sorted(buckets.values())
    sums = {sample.name: sample.value for sample in family.samples if not sample.labels}
    assert sums == {
        "collector_exchange_to_receive_seconds_count": 2,
        "collector_exchange_to_receive_seconds_sum": 0.006,
    }
    commits = {
        sample.name: sample.value for sample in families["collector_receive_to_commit_seconds"].samples
    }
    assert commits["collector_receive_to_commit_seconds_sum"] == 1.0


async def flush_three() -> int:
    await trio.lowlevel.checkpoint()
    return 3


async def flush_in_vain() -> int:
    await trio.lowlevel.checkpoint()
    raise StoreUnavailable("connection refused")


async def flush_for_ever() -> int:
    await trio.sleep(WAIT_S)
    return 0


@pytest.mark.parametrize(
    ("token", "headers", "status", "error"),
    [
        (None, BEARER, 403, "admin_off"),
        (TOKEN, {}, 401, "unauthorized"),
        (TOKEN, {"Authorization": "Bearer wrong"}, 401, "unauthorized"),
        (TOKEN, {"Authorization": f"Basic {TOKEN}"}, 401, "unauthorized"),
        (TOKEN, {"Authorization": "Bearer"}, 401, "unauthorized"),
    ],
)
async def test_flush_needs_the_token(
    token: str | None, headers: dict[str, str], status: int, error: str
) -> None:
    """Without the right bearer token nothing is flushed; without RL_ADMIN_TOKEN the endpoint is off."""
    calls: list[int] = []

    async def flush() -> int:
        await trio.lowlevel.checkpoint()
        calls.append(1)
        return 1

    async with open_web(new_recorder("A"), admin_token=token, flush=flush) as web:
        answer = await web.http.post("/rl/admin/flush", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert ("RL_ADMIN_TOKEN is not set" in answer.json()["message"]) == (token is None)
    assert calls == []


@pytest.mark.parametrize(
    ("flush", "status", "answer"),
    [
        (flush_three, 200, ("flushed", 3)),
        (flush_in_vain, 503, ("error", "store_unavailable")),
        (flush_for_ever, 503, ("error", "flush_timed_out")),
    ],
)
async def test_flush_tells_what_came_of_it(
    flush: Callable[[], Awaitable[int]],
    status: int,
    answer: tuple[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The holder of the token hears how much was written, or why not, within a deadline."""
    monkeypatch.setattr(web_app, "FLUSH_S_MAX", 0.05)
    async with open_web(new_recorder("A"), flush=flush) as web:
        response = await web.http.post("/rl/admin/flush", headers=BEARER)
    name, value = answer
    assert (response.status_code, response.json()[name]) == (status, value)


async def test_series_are_the_last_seconds() -> None:
    """Charts get one value a second, oldest first, null where nothing came, up to the newest second."""
    recorder, session = running_recorder("A", "B")
    recorder.state.note_series(100.0)
    batch = recorder.fold(session, delta("A", 3), delta("A", 4))
    session.ages.note_committed(batch.frames, recorder.now_us + 300_000)
    recorder.now_us += 1_000_000
    recorder.state.note_series(101.0)
    recorder.state.note_series(102.0)
    async with open_web(recorder) as web:
        series = (await web.http.get("/rl/series")).json()
    assert (series["step_ms"], series["end_ms"]) == (1000, recorder.now_us // 1000)
    assert series["messages_per_second"] == [None, 2, 0]
    assert series["exact_markets"] == [2, 2, 2]
    assert [value is None for value in series["commit_p99_ms"]] == [True, False, True]
    assert 262 <= series["commit_p99_ms"][1] <= 525
    assert [value is None for value in series["age_p99_ms"]] == [True, True, True]


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("GET", "/rl/admin/flush", 405, "method_not_allowed"),
        ("GET", "/rl/ws", 400, "wrong_protocol"),
    ],
)
async def test_errors_are_json(method: str, path: str, status: int, error: str) -> None:
    """What can't be answered is told as JSON, as everything else."""
    async with open_web(new_recorder("A")) as web:
        answer = await web.http.request(method, path)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_a_bug_is_a_json_500_and_the_service_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    """An unexpected error in a handler is logged with its traceback, and tells the client nothing."""

    async def flush() -> int:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError("inner secret")

    async with open_web(new_recorder("A"), flush=flush) as web:
        answer = await web.http.post("/rl/admin/flush", headers=BEARER)
        alive = await web.http.get("/health/live")
    assert (answer.status_code, answer.json()["error"]) == (500, "internal_server_error")
    assert "secret" not in answer.text
    assert alive.status_code == 200
    output = capfd.readouterr()
    assert "request_failed" in output.out + output.err


@pytest.mark.parametrize(("origin", "is_allowed"), [(ORIGIN, True), ("https://evil.example", False)])
async def test_cors_is_for_the_listed_origins(origin: str, is_allowed: bool) -> None:
    """A listed origin may read and send the token; others get no CORS header."""
    async with open_web(new_recorder("A")) as web:
        read = await web.http.get("/rl/status", headers={"Origin": origin})
        asked = await web.http.options(
            "/rl/admin/flush", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
        )
    for answer in (read, asked):
        assert answer.headers.get("access-control-allow-origin") == (origin if is_allowed else None)
        assert "Origin" in answer.headers["vary"]
    assert ("Authorization" in asked.headers.get("access-control-allow-headers", "")) == is_allowed


async def test_stats_equal_status_equal_state() -> None:
    """When the flow has stopped, the status page repeats exactly what was folded."""
    recorder, session = running_recorder("A")
    for seq in range(2, 102):
        recorder.fold(session, delta("A", seq))
    recorder.fold(session, snapshot("A", 102), snapshot("A", 102))
    async with open_web(recorder) as web:
        stats = (await web.http.get("/rl/status")).json()["stats"]
    assert stats["deltas_processed"] == recorder.state.received.deltas == 100
    assert stats["snapshots_processed"] == recorder.state.received.snapshots == 2
    assert stats["stales"] == recorder.state.received.stales == 1
    assert stats["frames_received"] == session.received.total == 103
