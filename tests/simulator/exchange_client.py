"""What the tests of the simulator share: invented tapes, and a client over a real socket."""

import gzip
import pathlib
import typing
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import msgspec
import trio
import trio_websocket

from collector.clock import system_clock
from collector.simulator import Simulator

SECOND_NS = 1_000_000_000
Frame = dict[str, typing.Any]


def snapshot_msg(ticker: str, yes: Iterable[tuple[str, str]] = (), no: Iterable[tuple[str, str]] = ()) -> str:
    """The `msg` of an invented snapshot, with spaces that no encoder of ours would write."""
    sides = {"yes_dollars_fp": list(yes), "no_dollars_fp": list(no)}
    shown = "".join(
        f', "{name}": {msgspec.json.encode(side).decode()}' for name, side in sides.items() if side
    )
    return f'{{"market_ticker": "{ticker}", "market_id": "id-{ticker}"{shown}}}'


def delta_msg(ticker: str, price: str, delta: str, side: str = "yes") -> str:
    """The `msg` of an invented delta."""
    return (
        f'{{"market_ticker":"{ticker}","market_id":"id-{ticker}","price_dollars":"{price}",'
        f'"delta_fp":"{delta}","side":"{side}","ts_ms":1786410915566}}'
    )


def trade_msg(ticker: str, count: str = "3.00") -> str:
    """The `msg` of an invented trade."""
    return (
        f'{{"trade_id":"t-1","market_ticker":"{ticker}","yes_price_dollars":"0.3500",'
        f'"no_price_dollars":"0.6500","count_fp":"{count}","taker_side":"no","ts":1786410063,"ts_ms":1786410063969}}'
    )


def data_frame(kind: str, sid: int, seq: int, msg: str) -> str:
    """A recorded text frame of market data."""
    return f'{{"type":"{kind}","sid":{sid},"seq":{seq},"msg":{msg}}}'


def tape_lines(frames: Iterable[str], *, step_ns: int = 1_000_000) -> list[bytes]:
    """The lines of a tape whose frames came at equal distances."""
    return [
        msgspec.json.encode({"recv_ns": 1_786_410_915 * SECOND_NS + n * step_ns, "frame": frame}) + b"\n"
        for n, frame in enumerate(frames)
    ]


def write_tape(path: pathlib.Path, frames: Iterable[str], *, step_ns: int = 1_000_000) -> pathlib.Path:
    """Put a tape in a file."""
    path.write_bytes(gzip.compress(b"".join(tape_lines(frames, step_ns=step_ns))))
    return path


def busy_frames(ticker: str, deltas: int, *, first_seq: int = 1) -> list[str]:
    """A snapshot and then deltas of one market, none of which takes a level below zero."""
    frames = [data_frame("orderbook_snapshot", 1, first_seq, snapshot_msg(ticker, [("0.4000", "7.00")]))]
    for n in range(deltas):
        msg = delta_msg(ticker, f"0.{10 + n % 30:02d}00", f"{n + 1}.25", "yes" if n % 3 else "no")
        frames.append(data_frame("orderbook_delta", 1, first_seq + 1 + n, msg))
    return frames


class Client:
    """A client of the exchange: sends commands, and hands out frames one by one."""

    def __init__(self, ws: trio_websocket.WebSocketConnection) -> None:
        self._ws = ws
        self.texts: list[str] = []

    async def send(self, text: str) -> None:
        await self._ws.send_message(text)

    async def command(self, command_id: int, command: str, **params: object) -> None:
        await self.send(msgspec.json.encode({"id": command_id, "cmd": command, "params": params}).decode())

    async def subscribe(self, tickers: Iterable[str], *channels: str, command_id: int = 1) -> None:
        chosen = channels or ("orderbook_delta",)
        await self.command(command_id, "subscribe", channels=chosen, market_tickers=list(tickers))

    async def receive_text(self) -> str:
        with trio.fail_after(10):
            text = await self._ws.get_message()
        assert isinstance(text, str)
        self.texts.append(text)
        return text

    async def receive(self) -> Frame:
        return typing.cast("Frame", msgspec.json.decode(await self.receive_text()))

    async def receive_many(self, count: int) -> list[Frame]:
        return [await self.receive() for _ in range(count)]

    async def receive_until_closed(self) -> tuple[list[Frame], int]:
        """The frames up to the end of the connection, and its close code."""
        frames: list[Frame] = []
        try:
            while True:
                frames.append(await self.receive())
        except trio_websocket.ConnectionClosed as closed:
            return frames, closed.reason.code if closed.reason else 0

    async def is_quiet(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes for a while."""
        with trio.move_on_after(seconds):
            await self._ws.get_message()
            return False
        return True


@asynccontextmanager
async def connect(
    simulator: Simulator, headers: list[tuple[bytes, bytes]] | None = None, *, url: str | None = None
) -> AsyncGenerator[Client, None]:
    """
    A client that has been let in.

    It owns its stream: the library leaves the socket open when it is the server that ends a connection.
    """
    if headers is None:
        headers = simulator.access.headers(system_clock() // 1000)
    host, _, resource = (url or simulator.ws_url).removeprefix("ws://").partition("/")
    stream = await trio.open_tcp_stream(*_address(host))
    try:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(10):
                ws = await trio_websocket.wrap_client_stream(
                    nursery,
                    stream,
                    host,
                    f"/{resource}",
                    extra_headers=headers,
                    message_queue_size=1024,
                    max_message_size=64 * 2**20,
                    receive_buffer_size=2**16,
                )
            yield Client(ws)
            with trio.move_on_after(2):
                await ws.aclose()
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)


async def find_refusal(
    simulator: Simulator, headers: list[tuple[bytes, bytes]] | None = None, *, url: str | None = None
) -> tuple[int, str]:
    """The status and the body with which a handshake is refused."""
    refusals: list[trio_websocket.ConnectionRejected] = []
    try:
        async with connect(simulator, headers, url=url):
            pass
    except* trio_websocket.ConnectionRejected as group:
        refusals += [
            error for error in group.exceptions if isinstance(error, trio_websocket.ConnectionRejected)
        ]
    (refusal,) = refusals
    return refusal.status_code, (refusal.body or b"").decode()


def _address(host: str) -> tuple[str, int]:
    name, _, port = host.rpartition(":")
    return name, int(port)


def numbers(frames: Iterable[Frame], sid: int) -> list[int]:
    """The sequence numbers of one subscription."""
    return [frame["seq"] for frame in frames if frame.get("sid") == sid and "seq" in frame]


def fold(frames: Iterable[Frame], ticker: str) -> dict[str, dict[str, int]]:
    """The book that snapshots and deltas add up to; sizes in 1/100 contract, levels by their price text."""
    book: dict[str, dict[str, int]] = {"yes": {}, "no": {}}
    for frame in frames:
        msg = frame.get("msg")
        if not isinstance(msg, dict) or msg.get("market_ticker") != ticker:
            continue
        if frame["type"] == "orderbook_snapshot":
            for side in ("yes", "no"):
                pairs = msg.get(f"{side}_dollars_fp", [])
                book[side] = {price: _e2(size) for price, size in pairs}
        elif frame["type"] == "orderbook_delta":
            levels = book[msg["side"]]
            size = levels.get(msg["price_dollars"], 0) + _e2(msg["delta_fp"])
            assert size >= 0
            levels[msg["price_dollars"]] = size
            if not size:
                del levels[msg["price_dollars"]]
    return book


def _e2(text: str) -> int:
    whole, fraction = text.split(".")
    return int(whole + fraction)
