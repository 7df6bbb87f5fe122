"""Markets that are found, followed as they open and close, and what is recorded of that."""

import json

import attrs
import trio

from collector.config import Settings
from collector.simulator import Simulator, SimulatorSettings, open_simulator
from collector.simulator._markets import Market
from tests import independent
from tests.service.harness import (
    Service,
    assert_verified,
    last_books,
    query,
    raw_frames,
    sent_frames,
    serve,
    settings_for,
)

FLOW = SimulatorSettings(markets=5, rate_per_s=400, speed=1.0, seed=7, keep_account=True)


def discovering(simulator: Simulator, database_url: str, markets: int = 3) -> Settings:
    settings = settings_for(simulator, database_url)
    return attrs.evolve(
        settings, market_mode="discovery", market_tickers=(), market_limit=markets, discovery_interval_s=0.1
    )


def market(simulator: Simulator, number: int) -> Market:
    return simulator.floor.markets[f"SIM-{number:04d}"]


async def wait_for_exact(service: Service, *tickers: str) -> None:
    """Until these markets are recorded and no other, each with an exact book."""
    while True:
        _, status = await service.get("/rl/status")
        followed = {ticker for feed in status["feeds"] for ticker in feed["markets"]}
        exact = {entry["ticker"] for entry in status["markets"] if entry["is_exact"]}
        if followed == exact == set(tickers):
            return
        await trio.sleep(0.02)


async def test_most_traded_open_markets_are_found_and_recorded(database_url: str) -> None:
    """As many as the limit says, without a list; every frame that was sent is there."""
    async with open_simulator(attrs.evolve(FLOW, messages_max=400)) as simulator:
        market(simulator, 1).opened = False
        async with serve(discovering(simulator, database_url)) as service:
            await wait_for_exact(service, "SIM-0002", "SIM-0003", "SIM-0004")
            _, health = await service.get("/health")
            assert health["status"] == "ok"
            await simulator.wait_finished()

    assert query(database_url, "SELECT DISTINCT market_ticker FROM rl_orderbook_deltas ORDER BY 1") == [
        ("SIM-0002",), ("SIM-0003",), ("SIM-0004",),
    ]  # fmt: skip
    assert list(raw_frames(database_url).values()) == sent_frames(simulator)
    await assert_verified(database_url)


async def test_markets_are_followed_as_they_open_close_and_are_settled(database_url: str) -> None:
    """
    In one session, without a hole for the others: a new one takes the place of one that closes, which stays
    until it is settled; its book is then unknown for good, and its record tells the settlement.
    """
    async with open_simulator(FLOW) as simulator:
        market(simulator, 4).opened = market(simulator, 5).opened = False
        async with serve(discovering(simulator, database_url)) as service:
            await wait_for_exact(service, "SIM-0001", "SIM-0002", "SIM-0003")
            market(simulator, 5).opened = True
            market(simulator, 1).closed = True
            await wait_for_exact(service, "SIM-0001", "SIM-0002", "SIM-0003", "SIM-0005")
            market(simulator, 1).settled = True
            await wait_for_exact(service, "SIM-0002", "SIM-0003", "SIM-0005")
            while not query(database_url, "SELECT 1 FROM rl_markets WHERE record->>'status' = 'finalized'"):
                await trio.sleep(0.05)

    sessions = query(database_url, "SELECT market_tickers, added_tickers, gaps FROM rl_orderbook_sessions")
    assert sessions == [(["SIM-0001", "SIM-0002", "SIM-0003", "SIM-0005"], ["SIM-0005"], 1)]
    gaps = query(database_url, "SELECT market_ticker, cause, received - expected FROM rl_orderbook_gaps")
    assert gaps == [("SIM-0001", "unfollowed", 0)]
    last_states = query(
        database_url,
        "SELECT DISTINCT ON (market_ticker) market_ticker, is_exact, cause FROM rl_market_coverage"
        " WHERE until_us IS NOT NULL ORDER BY market_ticker, from_us DESC",
    )
    assert last_states == [
        ("SIM-0001", False, "unfollowed"),
        ("SIM-0002", True, None), ("SIM-0003", True, None), ("SIM-0005", True, None),
    ]  # fmt: skip
    (frames,) = sent_frames(simulator)
    sent = independent.fold(json.loads(frame) for frame in frames)
    books = last_books(database_url)
    for ticker in ("SIM-0002", "SIM-0003", "SIM-0005"):
        yes, no = (independent.as_integers(sent[ticker][side]) for side in ("yes", "no"))
        assert books[ticker] == (yes, no)
    await assert_verified(database_url)


async def test_exchange_that_takes_fewer_markets_gets_more_connections(database_url: str) -> None:
    """Error 26 for a market that joins: the markets are split, and the later ones find their place."""
    limited = attrs.evolve(FLOW, faults=("market-limit=2",))
    async with open_simulator(limited) as simulator:
        market(simulator, 5).opened = False
        async with serve(discovering(simulator, database_url, markets=5)) as service:
            await wait_for_exact(service, "SIM-0001", "SIM-0002", "SIM-0003", "SIM-0004")
            market(simulator, 5).opened = True
            await wait_for_exact(service, *simulator.tickers)
    await assert_verified(database_url)


async def test_market_that_is_replaced_at_the_limit_costs_no_connection(database_url: str) -> None:
    """One leaves before the other joins: the exchange's limit is not passed on the way."""
    limited = attrs.evolve(FLOW, faults=("market-limit=2",))
    async with open_simulator(limited) as simulator:
        for number in (3, 4, 5):
            market(simulator, number).opened = False
        async with serve(discovering(simulator, database_url, markets=2)) as service:
            await wait_for_exact(service, "SIM-0001", "SIM-0002")
            market(simulator, 1).closed = market(simulator, 1).settled = True
            market(simulator, 3).opened = True
            await wait_for_exact(service, "SIM-0002", "SIM-0003")
    assert query(database_url, "SELECT count(*), min(status) FROM rl_orderbook_sessions") == [(1, "closed")]
    await assert_verified(database_url)


async def test_markets_that_change_while_the_service_stops_disturb_nothing(database_url: str) -> None:
    """Looks go on at a hundred a second when the stop comes; the session ends in order all the same."""
    async with open_simulator(FLOW) as simulator:
        settings = attrs.evolve(discovering(simulator, database_url, markets=5), discovery_interval_s=0.01)
        async with serve(settings) as service, trio.open_nursery() as nursery:
            await wait_for_exact(service, *simulator.tickers)
            nursery.start_soon(_come_and_go, simulator)
            await trio.sleep(0.3)
            await service.stop()
            nursery.cancel_scope.cancel()
        assert service.is_safe
    assert query(database_url, "SELECT min(status), max(status) FROM rl_orderbook_sessions") == [
        ("closed", "closed")
    ]
    await assert_verified(database_url)


async def _come_and_go(simulator: Simulator) -> None:
    while True:
        for number in range(1, 6):
            market(simulator, number).settled = not market(simulator, number).settled
            await trio.sleep(0.01)


async def test_exchange_without_rest_leaves_the_recording_as_it_is(database_url: str) -> None:
    """At the start the health says why nothing is recorded; later, what is recorded stays recorded."""
    async with open_simulator(FLOW) as simulator:
        settings = attrs.evolve(
            discovering(simulator, database_url), api_url="http://127.0.0.1:9/trade-api/v2"
        )
        async with serve(settings) as service:
            while True:
                _, status = await service.get("/rl/status")
                if status["stats"]["discovery"]["reason"]:
                    break
                await trio.sleep(0.02)
            assert "REST" in status["stats"]["discovery"]["reason"]
            assert status["feeds"] == []
            _, health = await service.get("/health")
            assert "REST" in health["components"]["feeds"]["why"]
