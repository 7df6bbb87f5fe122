"""Starting and stopping the server: addresses that can't be had, open WebSockets, deaf clients."""

import math
import socket
from collections.abc import Generator
from functools import partial

import httpx2
import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed

from collector.errors import StartError
from collector.web import make_app, serve_web
from collector.web._app import WebApp
from collector.web._connections import Sends
from collector.web._server import GRACEFUL_S
from tests.web.recorder import (
    WAIT_S,
    connect_deaf,
    deep_levels,
    new_recorder,
    open_client,
    open_web,
    running_recorder,
    snapshot,
    wait_for_clients,
)


def app_of_a_new_recorder() -> WebApp:
    async def flush() -> int:
        await trio.lowlevel.checkpoint()
        return 0

    recorder = new_recorder("A")
    return make_app(recorder.state, recorder.hub, admin_token=None, allowed_origins=(), flush=flush)


@pytest.fixture
def taken_port() -> Generator[int]:
    """A port of the loopback interface at which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("host", [None, "127.0.0.1", "localhost"])
async def test_a_taken_port_is_a_start_error(host: str | None, taken_port: int) -> None:
    """A port that is taken is one clear line, not a nest of exception groups."""
    with pytest.raises(StartError, match=rf"port {taken_port}: it is taken; set PORT") as caught:
        await serve_web(app_of_a_new_recorder(), host, taken_port, shutdown=trio.Event())
    assert "\n" not in str(caught.value)


async def test_a_taken_port_is_told_to_the_starter(taken_port: int) -> None:
    """`nursery.start` raises the StartError where the server is started."""
    async with trio.open_nursery() as nursery:
        with pytest.raises(StartError):
            await nursery.start(
                partial(serve_web, app_of_a_new_recorder(), "127.0.0.1", taken_port, shutdown=trio.Event())
            )


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("192.0.2.1", "this machine has no such address; change HOST \\(--host of a demo\\)"),
        ("nowhere.invalid", "the name has no address"),
    ],
)
async def test_an_address_that_is_not_here_is_a_start_error(host: str, message: str) -> None:
    """A host that can't be listened on is told as such."""
    with pytest.raises(StartError, match=message):
        await serve_web(app_of_a_new_recorder(), host, 0, shutdown=trio.Event())


async def test_no_host_means_all_interfaces() -> None:
    """Without a host the server answers on IPv4, and on IPv6 at the same port where the machine has it."""
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        urls: list[str] = await nursery.start(
            partial(serve_web, app_of_a_new_recorder(), None, 0, shutdown=shutdown)
        )
        port = urls[0].rsplit(":", 1)[1]
        assert urls in ([f"http://0.0.0.0:{port}"], [f"http://0.0.0.0:{port}", f"http://[::]:{port}"])
        async with httpx2.AsyncClient() as http:
            hosts = ["127.0.0.1"] + ["[::1]"] * (len(urls) - 1)
            for host in hosts:
                assert (await http.get(f"http://{host}:{port}/health/live")).status_code == 200
        shutdown.set()


async def test_shutdown_tells_open_websockets_to_go() -> None:
    """With a reading client the server ends at once, and the client is told that it goes away."""
    recorder, _ = running_recorder("A")
    with trio.fail_after(WAIT_S):
        async with open_web(recorder) as web, open_client(web.ws_url()) as client:
            await client.next()
            began_s = trio.current_time()
            web.shutdown.set()
            with pytest.raises(ConnectionClosed) as closed:
                await client.skip_to("nothing of this name")
            assert closed.value.reason is not None
            assert closed.value.reason.code == 1001
        assert trio.current_time() - began_s < GRACEFUL_S + 1


@pytest.mark.parametrize("way", ["shutdown", "cancellation"])
async def test_the_end_with_a_deaf_client_is_bounded(way: str) -> None:
    """A send that is stuck does not outlast the graceful time, however the server is ended."""
    recorder, session = running_recorder("A")
    began_s = math.inf
    with trio.CancelScope() as scope:
        async with open_web(recorder, send_s_max=60) as web:
            deaf = connect_deaf(web)
            await wait_for_clients(recorder.hub, 1)
            for seq in range(2, 400):
                recorder.fold(session, snapshot("A", seq, yes=deep_levels()))
                await trio.sleep(0.001)
            began_s = trio.current_time()
            if way == "cancellation":
                scope.cancel(reason="the test")
            web.shutdown.set()
    with deaf:
        assert GRACEFUL_S * 0.8 < trio.current_time() - began_s < GRACEFUL_S + 2
        assert recorder.hub.clients == 0


async def test_hypercorns_own_log_stays_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    """Requests leave no lines, and Hypercorn's loggers get no handlers."""
    async with open_web(new_recorder("A")) as web:
        await web.http.get("/health")
        await web.http.get("/nowhere")
    output = capfd.readouterr()
    assert output.out + output.err == ""


async def test_sends_of_a_stopping_server_share_its_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Sends under way and those that begin later end together, and never later than they would have."""
    sends = Sends(20.0)
    early = sends.new_scope()
    early.deadline = 1.0
    await trio.lowlevel.checkpoint()
    under_way = sends.new_scope()
    sends.end_within(2.0)
    late = sends.new_scope()
    assert [early.deadline, under_way.deadline, late.deadline] == [1.0, 2.0, 2.0]
