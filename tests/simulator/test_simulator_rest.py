"""The REST endpoints, over a real socket."""

import pathlib

import httpx2
import trio

from collector.simulator import SimulatorSettings, open_simulator
from tests.simulator.exchange_client import (
    Frame,
    busy_frames,
    connect,
    data_frame,
    trade_msg,
    write_tape,
)

FLOW = SimulatorSettings(markets=7, messages_max=1, speed=None, key="ed25519")


async def get(client: httpx2.AsyncClient, path: str, **query: object) -> Frame:
    response = await client.get(path, params={name: str(value) for name, value in query.items()}, timeout=5)
    assert response.headers["content-type"] == "application/json"
    body: Frame = response.json()
    return {"status": response.status_code, **body}


async def test_markets_are_listed_page_by_page() -> None:
    """Pages follow the cursor until it is empty, and hold every market once, the most traded first."""
    async with open_simulator(FLOW) as simulator, httpx2.AsyncClient(base_url=simulator.api_url) as client:
        seen: list[Frame] = []
        cursor = ""
        for _ in range(4):
            answer = await get(client, "/markets", limit=3, cursor=cursor, status="open")
            seen += answer["markets"]
            cursor = answer["cursor"]
            if not cursor:
                break
        assert [market["ticker"] for market in seen] == list(simulator.tickers)
        volumes = [float(market["volume_fp"]) for market in seen]
        assert volumes == sorted(volumes, reverse=True)
        assert {market["status"] for market in seen} == {"active"}
        assert all(market["open_time"] < market["close_time"] for market in seen)
        assert seen[3]["price_ranges"] == [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}]


async def test_markets_are_filtered() -> None:
    """Tickers, series and status narrow the list; nonsense is answered with 400."""
    async with open_simulator(FLOW) as simulator, httpx2.AsyncClient(base_url=simulator.api_url) as client:
        two = await get(client, "/markets", tickers="SIM-0002,SIM-0005,NOWHERE")
        assert [market["ticker"] for market in two["markets"]] == ["SIM-0002", "SIM-0005"]
        assert len((await get(client, "/markets", series_ticker="SIM"))["markets"]) == 7
        assert (await get(client, "/markets", series_ticker="OTHER"))["markets"] == []
        assert (await get(client, "/markets", status="closed"))["markets"] == []
        assert (await get(client, "/markets", status="rising"))["status"] == 400
        assert (await get(client, "/markets", limit=1001))["status"] == 400


async def test_one_market_and_its_event() -> None:
    """A market, its book and its event are found by name; an unknown name is 404."""
    async with open_simulator(FLOW) as simulator, httpx2.AsyncClient(base_url=simulator.api_url) as client:
        market = (await get(client, "/markets/SIM-0001"))["market"]
        book = (await get(client, "/markets/SIM-0001/orderbook", depth=1))["orderbook_fp"]
        assert book["yes_dollars"][0][0] == market["yes_bid_dollars"]
        assert len((await get(client, "/markets/SIM-0001/orderbook"))["orderbook_fp"]["yes_dollars"]) > 1
        event = await get(client, f"/events/{market['event_ticker']}")
        assert event["event"]["series_ticker"] == "SIM"
        assert len(event["markets"]) == 7
        for path in ("/markets/NOWHERE", "/markets/NOWHERE/orderbook", "/events/NOWHERE", "/nowhere"):
            assert (await get(client, path))["status"] == 404


async def test_several_books_at_once() -> None:
    """The tickers are an exploded query, and each known one is answered."""
    async with open_simulator(FLOW) as simulator, httpx2.AsyncClient(base_url=simulator.api_url) as client:
        response = await client.get("/markets/orderbooks?tickers=SIM-0001&tickers=SIM-0003")
        assert [book["ticker"] for book in response.json()["orderbooks"]] == ["SIM-0001", "SIM-0003"]
        assert (await get(client, "/markets/orderbooks"))["status"] == 400


async def test_the_exchange_says_that_it_is_open() -> None:
    """Status and schedule answer as on a normal day."""
    async with open_simulator(FLOW) as simulator, httpx2.AsyncClient(base_url=simulator.api_url) as client:
        status = await get(client, "/exchange/status")
        assert status["exchange_active"] is True
        assert status["trading_active"] is True
        assert (await get(client, "/exchange/schedule"))["schedule"]["maintenance_windows"] == []


async def test_a_market_at_its_end_is_closed_and_has_its_trades(tmp_path: pathlib.Path) -> None:
    """When a tape is over REST says closed, and tells the trades that were played."""
    frames = [*busy_frames("M-1", 2), data_frame("trade", 2, 1, trade_msg("M-1", "2.50"))]
    path = write_tape(tmp_path / "t.gz", frames)
    settings = SimulatorSettings(tapes=(path,), speed=None, key="ed25519")
    async with (
        open_simulator(settings) as simulator,
        httpx2.AsyncClient(base_url=simulator.api_url) as rest,
        connect(simulator) as client,
    ):
        assert (await get(rest, "/markets/trades", ticker="M-1"))["trades"] == []
        await client.subscribe(["M-1"])
        with trio.fail_after(5):
            await simulator.wait_finished()
        market = (await get(rest, "/markets", status="closed"))["markets"][0]
        assert (market["status"], market["volume_fp"]) == ("closed", "2.50")
        (trade,) = (await get(rest, "/markets/trades", ticker="M-1"))["trades"]
        assert (trade["ticker"], trade["count_fp"], trade["taker_side"]) == ("M-1", "2.50", "no")
