"""The simulator over real sockets: who is let in, and what arrives."""

import pathlib
import time

import pytest
import trio

from collector.clock import system_clock
from collector.errors import ConfigError, StartError
from collector.simulator import SimulatorSettings, open_simulator
from collector.simulator._access import AccessKey, KeyKind
from collector.simulator._tape import load_tape
from tests.simulator.exchange_client import (
    Client,
    Frame,
    busy_frames,
    connect,
    data_frame,
    delta_msg,
    find_refusal,
    fold,
    numbers,
    snapshot_msg,
    trade_msg,
    write_tape,
)


def flow(messages: int = 500, **more: object) -> SimulatorSettings:
    """A small generated flow, as fast as it is taken unless said otherwise."""
    values: dict[str, object] = {
        "markets": 4,
        "messages_max": messages,
        "speed": None,
        "key": "ed25519",
        **more,
    }
    return SimulatorSettings(**values)  # type: ignore[arg-type]


def tapes(*paths: pathlib.Path, **more: object) -> SimulatorSettings:
    """Tapes, as fast as they are taken unless said otherwise."""
    values: dict[str, object] = {"tapes": paths, "speed": None, "key": "ed25519", **more}
    return SimulatorSettings(**values)  # type: ignore[arg-type]


def data_msgs(client: Client) -> list[str]:
    """The msg texts of the market data that a client has received, verbatim."""
    return [text[text.index('"msg":') + 6 : -2] for text in client.texts if '"seq":' in text]


# Who is let in.


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
async def test_a_signed_client_is_let_in(kind: KeyKind) -> None:
    """Both kinds of key sign a handshake that is accepted."""
    async with open_simulator(flow(key=kind)) as simulator, connect(simulator) as client:
        await client.command(1, "list_subscriptions")
        reply = await client.receive()
        assert (reply["id"], reply["type"], reply["msg"]) == (1, "ok", [])


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("expired", "header_timestamp_expired"),
        ("ahead", "header_timestamp_expired"),
        ("unsigned", "NOT_FOUND"),
        ("other key", "NOT_FOUND"),
        ("other id", "NOT_FOUND"),
        ("not base64", "NOT_FOUND"),
        ("seconds", "header_timestamp_expired"),
    ],
)
async def test_a_bad_handshake_is_refused(case: str, says: str) -> None:
    """A signature, key or time that is off is answered with 401 and the exchange's reason."""
    now_ms = system_clock() // 1000
    async with open_simulator(flow()) as simulator:
        good = simulator.access
        other = AccessKey("ed25519").headers(now_ms)
        headers = {
            "expired": good.headers(now_ms - 31_000),
            "ahead": good.headers(now_ms + 31_000),
            "unsigned": [],
            "other key": [good.headers(now_ms)[0], *other[1:]],
            "other id": [other[0], *good.headers(now_ms)[1:]],
            "not base64": [
                good.headers(now_ms)[0],
                (b"KALSHI-ACCESS-SIGNATURE", b"?"),
                good.headers(now_ms)[2],
            ],
            "seconds": good.headers(now_ms // 1000),
        }[case]
        status, body = await find_refusal(simulator, headers)
        assert status == 401
        assert says in body


@pytest.mark.parametrize("offset_ms", [-29_000, 29_000])
async def test_a_clock_that_is_a_little_off_is_let_in(offset_ms: int) -> None:
    """The window is 30 s to either side."""
    headers_ms = system_clock() // 1000 + offset_ms
    async with open_simulator(flow()) as simulator, connect(simulator, simulator.access.headers(headers_ms)):
        assert simulator.connected == (1,)


async def test_another_path_is_not_found() -> None:
    """Only the documented path is a WebSocket."""
    async with open_simulator(flow()) as simulator:
        url = simulator.ws_url.removesuffix("/v2")
        status, _ = await find_refusal(simulator, url=url)
        assert status == 404


async def test_a_handshake_is_refused_as_often_as_asked() -> None:
    """`refuse=503x1` refuses the first handshake and lets the second in."""
    async with open_simulator(flow(faults=("refuse=503x1",))) as simulator:
        status, _ = await find_refusal(simulator)
        assert status == 503
        async with connect(simulator) as client:
            await client.subscribe(["SIM-0001"])
            assert (await client.receive())["type"] == "subscribed"


async def test_a_stranger_who_says_nothing_harms_nobody() -> None:
    """A connection that is no WebSocket, or goes at once, leaves the others alone."""
    async with open_simulator(flow()) as simulator:
        port = int(simulator.ws_url.split(":")[2].split("/")[0])
        for greeting in (b"", b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            if greeting:
                await stream.send_all(greeting)
            await stream.aclose()
        async with connect(simulator) as client:
            await client.subscribe(["SIM-0001"])
            assert (await client.receive())["type"] == "subscribed"


# What arrives.


async def test_a_tape_is_delivered_whole(tmp_path: pathlib.Path) -> None:
    """Every frame arrives once, with its recorded bytes, numbered from 1 without a hole."""
    frames = busy_frames("M", 900)
    frames.insert(300, data_frame("trade", 2, 1, trade_msg("M")))
    path = write_tape(tmp_path / "t.gz", frames)
    async with open_simulator(tapes(path, keep_account=True)) as simulator:
        async with connect(simulator) as client:
            await client.subscribe(["M"], "orderbook_delta", "trade")
            received = await client.receive_many(904)
            with trio.fail_after(5):
                await simulator.wait_finished()
            assert await client.is_quiet()
        assert numbers(received, 1) == list(range(1, 902))
        assert numbers(received, 2) == [1]
        recorded = [frame.msg.decode() for frame in load_tape(path).frames]
        assert sorted(data_msgs(client)) == sorted(recorded)
        assert simulator.account.frames(1) == client.texts
        assert simulator.account.counts == {1: 904}


async def test_two_commands_for_two_channels_lose_nothing(tmp_path: pathlib.Path) -> None:
    """A client that subscribes the trades with a second command still gets the tape's first trade."""
    frames = [*busy_frames("M", 3), data_frame("trade", 2, 1, trade_msg("M"))]
    async with (
        open_simulator(tapes(write_tape(tmp_path / "t.gz", frames))) as simulator,
        connect(simulator) as client,
    ):
        await client.subscribe(["M"])
        assert (await client.receive())["type"] == "subscribed"
        await client.subscribe(["M"], "trade", command_id=2)
        received = await client.receive_many(6)
        assert [frame["type"] for frame in received].count("trade") == 1


async def test_a_late_subscriber_gets_the_book_of_that_moment(tmp_path: pathlib.Path) -> None:
    """The snapshot for who comes later is what the tape's frames so far add up to."""
    path = write_tape(tmp_path / "t.gz", busy_frames("M", 400))
    async with (
        open_simulator(tapes(path)) as simulator,
        connect(simulator) as early,
        connect(simulator) as late,
    ):
        await early.subscribe(["M"])
        frames = await early.receive_many(402)
        await late.subscribe(["M"])
        snapshot = (await late.receive_many(2))[1]
        assert snapshot["seq"] == 1
        assert fold([snapshot], "M") == fold(frames, "M")


async def test_a_snapshot_asked_for_in_the_middle_stands_at_its_place() -> None:
    """A get_snapshot answer is the fold of all frames with smaller numbers."""
    async with (
        open_simulator(flow(3000, speed=5.0, rate_per_s=1000)) as simulator,
        connect(simulator) as client,
    ):
        await client.subscribe(simulator.tickers)
        frames = await client.receive_many(300)
        sent = list(simulator.tickers)
        await client.command(7, "update_subscription", sids=[1], market_tickers=sent, action="get_snapshot")
        answers: list[Frame] = []
        while len(answers) < len(sent):
            frame = await client.receive()
            if frame.get("id") == 7:
                ticker = frame["msg"]["market_ticker"]
                assert fold([frame], ticker) == fold(frames, ticker)
                answers.append(frame)
            frames.append(frame)
        assert numbers(frames, 1) == list(range(1, len(frames)))


@pytest.mark.parametrize("older", [False, True])
async def test_a_refused_update_is_answered_as_the_settings_say(older: bool) -> None:
    """The error names the subscription and has a number, or has the command's id as of older servers."""
    async with open_simulator(flow(0, refusals_with_id=older)) as simulator, connect(simulator) as client:
        await client.subscribe(simulator.tickers)
        await client.receive_many(1 + len(simulator.tickers))
        await client.command(2, "update_subscription", sids=[1], action="get_snapshot")
        refused = await client.receive()
        assert refused["msg"]["code"] == 14
        named = {name: refused.get(name) for name in ("id", "sid", "seq")}
        numbered = {"id": None, "sid": 1, "seq": len(simulator.tickers) + 1}
        assert named == ({"id": 2, "sid": None, "seq": None} if older else numbered)


async def test_a_snapshot_in_the_middle_is_sent_as_it_stands(tmp_path: pathlib.Path) -> None:
    """A later recorded snapshot is a frame like any other, and it replaces the book."""
    msgs = [snapshot_msg("M", [("0.4000", "7.00")]), delta_msg("M", "0.4000", "1.00"), snapshot_msg("M")]
    kinds = ["orderbook_snapshot", "orderbook_delta", "orderbook_snapshot"]
    frames = [data_frame(kind, 1, n + 1, msg) for n, (kind, msg) in enumerate(zip(kinds, msgs, strict=True))]
    async with open_simulator(tapes(write_tape(tmp_path / "t.gz", frames))) as simulator:
        async with connect(simulator) as client:
            await client.subscribe(["M"])
            await client.receive_many(4)
            assert data_msgs(client) == msgs
        assert simulator.floor.markets["M"].book.yes == {}


async def test_a_cut_ends_the_connection_and_the_rest_waits(tmp_path: pathlib.Path) -> None:
    """Where recorded numbers fall the connection ends; who comes again gets the book, then the rest."""
    frames = busy_frames("M", 700, first_seq=500) + busy_frames("M", 600)
    path = write_tape(tmp_path / "t.gz", frames)
    recorded = [frame.msg.decode() for frame in load_tape(path).frames]
    async with open_simulator(tapes(path)) as simulator:
        async with connect(simulator) as first:
            await first.subscribe(["M"])
            before, code = await first.receive_until_closed()
        assert code == 1001
        assert data_msgs(first) == recorded[:701]
        async with connect(simulator) as second:
            await second.subscribe(["M"])
            after = await second.receive_many(603)
            assert await second.is_quiet()
        assert fold(after[:2], "M") == fold(before, "M")
        assert data_msgs(second)[1:] == recorded[701:]
        assert numbers(after, 1) == list(range(1, 603))


async def test_a_cut_leaves_other_tapes_alone(tmp_path: pathlib.Path) -> None:
    """Only connections that follow the tape which was cut are ended."""
    cut = write_tape(tmp_path / "cut.gz", busy_frames("CUT", 5, first_seq=50) + busy_frames("CUT", 5))
    whole = write_tape(tmp_path / "whole.gz", busy_frames("WHOLE", 5))
    async with (
        open_simulator(tapes(cut, whole)) as simulator,
        connect(simulator) as one,
        connect(simulator) as other,
    ):
        await other.subscribe(["WHOLE"])
        await other.receive_many(7)
        await one.subscribe(["CUT"])
        _, code = await one.receive_until_closed()
        assert code == 1001
        assert await other.is_quiet(0.05)
        assert simulator.connected == (2,)


async def test_copies_are_markets_of_their_own(tmp_path: pathlib.Path) -> None:
    """With copies a tape's market is served several times, each whole, on one sid without a hole."""
    path = write_tape(tmp_path / "t.gz", busy_frames("M", 300))
    async with open_simulator(tapes(path, copies=3)) as simulator:
        assert simulator.tickers == ("M", "M-C001", "M-C002")
        async with connect(simulator) as client:
            await client.subscribe(simulator.tickers)
            frames = await client.receive_many(1 + 3 * 301)
            assert numbers(frames, 1) == list(range(1, 3 * 301 + 1))
            assert fold(frames, "M") == fold(frames, "M-C001") == fold(frames, "M-C002")
            assert fold(frames, "M")["yes"]


async def test_two_connections_have_numbers_of_their_own() -> None:
    """Each connection counts its own sids and numbers, and both end with the same book."""
    async with open_simulator(flow(800)) as simulator:
        async with connect(simulator) as one, connect(simulator) as two, trio.open_nursery() as nursery:
            heard: dict[str, list[Frame]] = {}
            await one.subscribe(simulator.tickers, "orderbook_delta")
            await two.subscribe(simulator.tickers, "trade", "orderbook_delta")
            with trio.fail_after(5):
                await simulator.wait_finished()
            for name, client in (("one", one), ("two", two)):
                nursery.start_soon(_receive_all, client, heard.setdefault(name, []))
        assert numbers(heard["one"], 1) == list(range(1, len(numbers(heard["one"], 1)) + 1))
        assert numbers(heard["two"], 2) == list(range(1, len(numbers(heard["two"], 2)) + 1))
        for ticker in simulator.tickers:
            assert fold(heard["one"], ticker) == fold(heard["two"], ticker)


async def _receive_all(client: Client, frames: list[Frame]) -> None:
    with trio.move_on_after(0.5):
        while True:
            frames.append(await client.receive())


async def test_played_by_the_clock_a_tape_takes_its_time(tmp_path: pathlib.Path) -> None:
    """At ten times the recorded speed a tape of two seconds takes a fifth of a second."""
    path = write_tape(tmp_path / "t.gz", busy_frames("M", 20), step_ns=100_000_000)
    async with open_simulator(tapes(path, speed=10.0)) as simulator, connect(simulator) as client:
        await client.subscribe(["M"])
        began_s = time.monotonic()
        frames = await client.receive_many(22)
        assert 0.15 < time.monotonic() - began_s < 2.0
        assert numbers(frames, 1) == list(range(1, 22))


async def test_played_by_the_clock_a_tape_goes_on_without_listeners(tmp_path: pathlib.Path) -> None:
    """Tape time passes while nobody listens: who returns gets the book of then, and no more."""
    path = write_tape(tmp_path / "t.gz", busy_frames("M", 20), step_ns=10_000_000)
    async with open_simulator(tapes(path, speed=1.0)) as simulator:
        async with connect(simulator) as client:
            await client.subscribe(["M"])
            await client.receive_many(3)
        with trio.fail_after(5):
            await simulator.wait_finished()
        async with connect(simulator) as client:
            await client.subscribe(["M"])
            _, snapshot = await client.receive_many(2)
            assert len(fold([snapshot], "M")["yes"]) > 5
            assert await client.is_quiet(0.05)


async def test_pings_come_with_their_body() -> None:
    """The server pings at its interval with the body `heartbeat`, as a raw frame on the wire."""
    async with open_simulator(flow(ping_interval_s=0.05)) as simulator:
        port = int(simulator.ws_url.split(":")[2].split("/")[0])
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            headers = b"".join(
                b"%b: %b\r\n" % pair for pair in simulator.access.headers(system_clock() // 1000)
            )
            await stream.send_all(
                b"GET /trade-api/ws/v2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
                + headers
                + b"\r\n"
            )
            received = b""
            with trio.fail_after(5):
                while b"\x89\x09heartbeat" not in received:
                    received += await stream.receive_some()
            assert received.startswith(b"HTTP/1.1 101")


# Settings.


async def test_nothing_to_serve_is_said() -> None:
    """Settings that make no sense are refused, with a line for each."""
    with pytest.raises(ConfigError) as refused:
        async with open_simulator(SimulatorSettings(copies=0, speed=-1.0)):
            pass
    assert len(refused.value.problems) == 3


async def test_a_market_served_twice_is_refused(tmp_path: pathlib.Path) -> None:
    """The same tape named twice is refused, with the way to do it."""
    path = write_tape(tmp_path / "t.gz", busy_frames("M", 1))
    with pytest.raises(ConfigError, match="--copies"):
        async with open_simulator(tapes(path, path)):
            pass


async def test_a_port_that_is_taken_is_said() -> None:
    """A port in use is refused, with what to do."""
    async with open_simulator(flow()) as simulator:
        port = int(simulator.ws_url.split(":")[2].split("/")[0])
        with pytest.raises(StartError, match="--port"):
            async with open_simulator(flow(port=port)):
                pass


@pytest.mark.frames
async def test_a_real_tape_is_delivered_whole(frames_dir: pathlib.Path) -> None:
    """The real connection of 8 markets arrives frame for frame, with its own bytes."""
    path = frames_dir / "KXBTC-8-markets-2026-04-18.ndjson.gz"
    async with open_simulator(tapes(path)) as simulator, connect(simulator) as client:
        await client.subscribe(simulator.tickers)
        frames = await client.receive_many(70)
        assert numbers(frames, 1) == list(range(1, 70))
        assert data_msgs(client) == [frame.msg.decode() for frame in load_tape(path).frames]
