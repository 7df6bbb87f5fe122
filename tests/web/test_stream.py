"""The WebSocket over a real socket: its sequence, its filters, who is let in, and the slow client."""

import time

import pytest
import structlog
import trio
import trio.testing
from trio_websocket import ConnectionClosed

from collector.facts import ReceivedFrame
from collector.live import run_ticks
from tests.frames import ok_text
from tests.web.recorder import (
    NOW_US,
    ORIGIN,
    WAIT_S,
    Client,
    connect_deaf,
    deep_levels,
    delta,
    handshake_status,
    new_recorder,
    open_client,
    open_web,
    running_recorder,
    snapshot,
    wait_for_clients,
)


async def closed_with(client: Client) -> tuple[int, str | None]:
    """How the server closes the connection, reading on until then."""
    with pytest.raises(ConnectionClosed) as closed:
        await client.skip_to("nothing of this name")
    assert closed.value.reason is not None
    return closed.value.reason.code, closed.value.reason.reason


@pytest.mark.parametrize("path", ["/rl/ws", "/ws"])
async def test_the_sequence_on_connecting(path: str) -> None:
    """`connection`, a snapshot for each market with a book, statistics, then what happens."""
    recorder, session = running_recorder("A", "B")
    recorder.state.market_tickers = ("A", "B", "C")
    async with open_web(recorder) as web, open_client(web.ws_url(path=path)) as client:
        kind, data = await client.next()
        assert (kind, data["markets"], data["status"]) == ("connection", ["A", "B", "C"], "connected")
        greeting = [await client.next() for _ in range(2)]
        assert [(kind, data["market_ticker"]) for kind, data in greeting] == [
            ("orderbook_snapshot", "A"),
            ("orderbook_snapshot", "B"),
        ]
        kind, data = await client.next()
        assert (kind, data["session_id"]) == ("stats", "17")
        recorder.fold(session, delta("A", 3))
        kind, data = await client.next()
        assert (kind, data["sequence_number"], data["new_size"]) == ("orderbook_delta", 3, 150)
        recorder.fold(session, snapshot("B", 4, yes={}))
        kind, data = await client.next()
        assert (kind, data["yes_bids"], data["yes_mid_price"]) == ("orderbook_snapshot", {}, None)


async def test_filters_by_stream_and_market() -> None:
    """A client that asks for one stream, or some markets, gets nothing else."""
    recorder, session = running_recorder("A", "B")
    async with open_web(recorder) as web:
        async with open_client(web.ws_url("?streams=stats")) as client:
            assert [(await client.next())[0] for _ in range(2)] == ["connection", "stats"]
            recorder.fold(session, delta("A", 3))
            recorder.hub.publish_stats()
            kind, data = await client.next()
            assert (kind, data["deltas_processed"]) == ("stats", 1)
        async with open_client(web.ws_url("?streams=orderbook&markets=B")) as client:
            kind, data = await client.next()
            assert (kind, data["markets"]) == ("connection", ["B"])
            recorder.hub.publish_stats()
            recorder.fold(session, delta("A", 4), delta("B", 5))
            assert (await client.next())[1]["market_ticker"] == "B"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?streams=stats,trades", "unknown stream: trades (there are: orderbook, stats)"),
        ("?markets=A,NOWHERE", "unknown market: NOWHERE is not recorded here"),
    ],
)
async def test_unknown_names_are_refused_clearly(query: str, message: str) -> None:
    """A wish that can't be fulfilled is answered with an error message and a policy close."""
    recorder, _ = running_recorder("A")
    async with open_web(recorder) as web, open_client(web.ws_url(query)) as client:
        assert await client.next() == ("error", {"message": message})
        assert await closed_with(client) == (1008, message)
    assert recorder.hub.clients_ever == 0


async def test_the_number_of_clients_is_bounded() -> None:
    """When the hub is full, the next client is asked to come again later."""
    recorder, _ = running_recorder("A")
    recorder.hub.clients_max = 1
    async with open_web(recorder) as web, open_client(web.ws_url()) as first:
        await first.next()
        async with open_client(web.ws_url()) as second:
            code, _ = await closed_with(second)
        assert code == 1013
        assert recorder.hub.clients == 1


async def test_the_origin_is_checked_on_the_handshake() -> None:
    """Pages of this origin and of listed ones are let in, programs too; other pages are not."""
    async with open_web(new_recorder("A")) as web:
        for origin in (web.url, ORIGIN):
            async with open_client(web.ws_url(), (("Origin", origin),)) as client:
                assert (await client.next())[0] == "connection"
        for origin in ("https://evil.example", "null", f"{web.url}.evil.example"):
            assert await handshake_status(f"{web.url}/rl/ws", origin) == 403


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/rl-stats", 400)])
async def test_handshakes_elsewhere_are_turned_down(path: str, status: int) -> None:
    """A WebSocket that nobody serves is the client's mistake and no failure of ours."""
    with structlog.testing.capture_logs() as logs:
        async with open_web(new_recorder("A")) as web:
            assert await handshake_status(f"{web.url}{path}", web.url) == status
    assert logs == []


async def test_statistics_come_each_second_and_equal_the_state() -> None:
    """The ticks bring the recorder's numbers, and they stand still when the flow does."""
    recorder, session = running_recorder("A")
    async with (
        open_web(recorder) as web,
        open_client(web.ws_url("?streams=stats")) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(run_ticks, recorder.state, recorder.hub)
        await client.skip_to("stats")
        for seq in range(2, 12):
            recorder.fold(session, delta("A", seq))
        first, second = await client.skip_to("stats"), await client.skip_to("stats")
        assert first["deltas_processed"] == second["deltas_processed"] == recorder.state.received.deltas == 10
        assert recorder.state.messages_per_second == second["messages_per_second"]
        recorder.fold(session, delta("A", 12), delta("A", 13))
        await client.skip_to("stats")
        series = (await web.http.get("/rl/series")).json()["messages_per_second"]
        assert series[-1] == 2
        nursery.cancel_scope.cancel()


async def test_an_ended_session_makes_its_books_unknown_for_clients() -> None:
    """Within a tick after a session's end its markets are sent again, as not exact."""
    recorder, session = running_recorder("A")
    async with (
        open_web(recorder) as web,
        open_client(web.ws_url("?streams=orderbook")) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(run_ticks, recorder.state, recorder.hub)
        assert (await client.skip_to("orderbook_snapshot"))["is_exact"] is True
        await trio.sleep(1.2)
        session.status = "closed"
        data = await client.skip_to("orderbook_snapshot")
        assert (data["is_exact"], data["unknown_cause"]) == (False, "session_ended")
        nursery.cancel_scope.cancel()


async def test_market_that_is_recorded_no_more_is_taken_from_clients() -> None:
    """It goes with an empty book that says why, instead of standing there as if it lived."""
    recorder, session = running_recorder("A", "B")
    async with open_web(recorder) as web, open_client(web.ws_url("?streams=orderbook")) as client:
        for _ in range(3):
            await client.next()
        recorder.state.feeds[0].market_tickers = ("B",)
        recorder.state.market_tickers = ("B",)
        recorder.fold(session, ok_text(["B"], 3))
        kind, data = await client.next()
        assert (kind, data["market_ticker"], data["yes_bids"]) == ("orderbook_snapshot", "A", {})
        assert (data["is_exact"], data["unknown_cause"]) == (False, "unfollowed")


async def test_what_clients_send_is_discarded() -> None:
    """A talkative client is listened to, so that its leaving is noticed, and ignored."""
    recorder, session = running_recorder("A")
    async with open_web(recorder) as web:
        async with open_client(web.ws_url("?streams=orderbook")) as client:
            for _ in range(100):
                await client.ws.send_message("hello")
            recorder.fold(session, delta("A", 2))
            await client.skip_to("orderbook_snapshot")
        await wait_for_clients(recorder.hub, 0)


async def test_a_deaf_client_slows_nobody_and_is_dropped() -> None:
    """Beside a client that reads nothing publishing stays instant, others get everything, and it is cut."""
    recorder, session = running_recorder("A")
    deep, slowest_s, seq = deep_levels(), 0.0, 1
    async with open_web(recorder, send_s_max=1.0) as web:
        with connect_deaf(web):
            async with open_client(web.ws_url("?streams=orderbook")) as client:
                await client.skip_to("orderbook_snapshot")
                await wait_for_clients(recorder.hub, 2)
                began_s = trio.current_time()
                while recorder.hub.clients == 2:
                    assert trio.current_time() - began_s < WAIT_S
                    seq += 1
                    text = snapshot("A", seq, yes=deep) if seq % 2 else delta("A", seq)
                    batch = session.tracker.process([ReceivedFrame(seq, recorder.now_us, text)])
                    before_s = time.perf_counter()
                    recorder.hub.publish(session, batch)
                    slowest_s = max(slowest_s, time.perf_counter() - before_s)
                    _, data = await client.next()
                    assert data["sequence_number"] == seq
                assert seq > 20
                assert recorder.hub.clients == 1
                # Cut after the deadline of its send, not sooner.
                assert trio.current_time() - began_s >= 1.0
    assert slowest_s < 0.25


async def test_trouble_with_times_is_logged_once(autojump_clock: trio.testing.MockClock) -> None:
    """The ticks see messages get older, and the clock being set, and log each when it begins and ends."""
    recorder, session = running_recorder("A")
    began_s = trio.current_time()
    set_by_us = 0
    recorder.state.clock = lambda: NOW_US + round((trio.current_time() - began_s) * 1e6) + set_by_us
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_ticks, recorder.state, recorder.hub)
            for second in range(200):
                session.age_trend.note(50_000 * min(second, 100))
                await trio.sleep(1)
            set_by_us = -60_000_000
            await trio.sleep(30)
            nursery.cancel_scope.cancel()
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("growing_age_began", "warning"),
        ("clock_was_set", "warning"),
    ]
    assert (logs[0]["feed"], logs[1]["seconds"]) == ("feed-1", -60.0)
    assert recorder.state.wall_clock.steps == 1
    assert not session.age_trend.is_alarming
