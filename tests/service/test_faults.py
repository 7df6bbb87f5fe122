"""What goes wrong between the exchange and the recorder, and what is recorded of it."""

import attrs
import pytest
import structlog
import trio

from collector import app
from collector.session import _writer as writer
from collector.simulator import open_simulator
from tests.service.harness import (
    assert_verified,
    flow,
    query,
    raw_frames,
    record,
    sent_frames,
    serve,
    settings_for,
)
from tests.tcp_proxy import open_proxy, server_target, through_port

GAPS = "SELECT sid, expected, received, cause FROM rl_orderbook_gaps ORDER BY detected_us, expected"


async def test_dropped_frame(database_url: str) -> None:
    """One frame of thousands is missing: one gap with its number, and every book is exact at the end."""
    simulation = flow(markets=5, rate_per_s=2000, speed=1.0, faults=("drop@100x1",), keep_account=True)
    async with open_simulator(simulation) as simulator:
        async with serve(settings_for(simulator, database_url)) as service:
            while query(database_url, "SELECT to_regclass('rl_orderbook_gaps') IS NULL") == [(True,)]:
                await trio.sleep(0.05)
            while query(database_url, GAPS) == []:
                await trio.sleep(0.05)
            while True:
                _, status = await service.get("/rl/status")
                if status["stats"]["markets_active"] == 5:
                    break
                await trio.sleep(0.05)

    await assert_verified(database_url)
    assert query(database_url, GAPS) == [(1, 100, 101, "sequence")]
    requested = "SELECT market_ticker FROM rl_orderbook_snapshots WHERE origin = 'requested' ORDER BY 1"
    assert [ticker for (ticker,) in query(database_url, requested)] == sorted(simulator.tickers)
    assert list(raw_frames(database_url).values()) == sent_frames(simulator)


async def test_repeated_frame_is_no_second_row(database_url: str) -> None:
    """A frame that comes twice is kept raw twice, and is one row."""
    await record(flow(markets=3, rate_per_s=1000, messages_max=500, faults=("duplicate@50x1",)), database_url)

    assert query(database_url, GAPS) == []
    assert query(database_url, "SELECT stales FROM rl_orderbook_sessions") == [(1,)]
    assert query(
        database_url, "SELECT count(*) - count(DISTINCT sequence_number) FROM rl_orderbook_deltas"
    ) == [(0,)]


async def test_garbled_frame_is_kept_verbatim(database_url: str) -> None:
    """Text that is no JSON is a reject with its reason, no book is exact, and its number is a gap."""
    simulator = await record(
        flow(markets=3, rate_per_s=1000, messages_max=500, faults=("garble@50x1",)), database_url
    )

    ((frame, reason),) = query(database_url, "SELECT frame, reason FROM rl_orderbook_rejects")
    assert frame.decode() in sent_frames(simulator)[0]
    assert reason.startswith("envelope: ")
    assert query(database_url, GAPS) == [(1, 50, 50, "reject"), (1, 50, 51, "sequence")]


@pytest.mark.parametrize(("code", "cause"), [(10, "channel_error"), (25, "buffer_overflow")])
async def test_subscription_that_the_exchange_ends(database_url: str, code: int, cause: str) -> None:
    """It is subscribed again on the same connection, and the hole in between is recorded."""
    simulation = flow(
        markets=3, rate_per_s=2000, speed=1.0, faults=(f"error={code}@100x1",), keep_account=True
    )
    async with open_simulator(simulation) as simulator:
        async with serve(settings_for(simulator, database_url)) as service:
            while True:
                _, status = await service.get("/rl/status")
                if status["stats"]["gaps"] and status["stats"]["markets_active"] == 3:
                    break
                await trio.sleep(0.02)

    await assert_verified(database_url)
    causes = query(database_url, "SELECT DISTINCT sid, received, cause FROM rl_orderbook_gaps")
    assert causes == [(1, None, cause)]
    assert query(database_url, "SELECT count(*) FROM rl_orderbook_sessions") == [(1,)]
    initial = "SELECT count(*) FROM rl_orderbook_snapshots WHERE origin = 'initial'"
    assert query(database_url, initial) == [(6,)]


async def test_too_many_markets_are_split_over_connections(database_url: str) -> None:
    """Error 26 halves a connection's markets until the exchange takes them, and all are recorded."""
    simulator = await record(
        flow(markets=12, rate_per_s=1000, messages_max=600, faults=("market-limit=5",)), database_url
    )

    recorded = query(database_url, "SELECT DISTINCT market_ticker FROM rl_orderbook_snapshots ORDER BY 1")
    assert [ticker for (ticker,) in recorded] == sorted(simulator.tickers)
    assert query(database_url, GAPS) == []


async def test_exchange_that_is_busy_is_asked_again(database_url: str) -> None:
    """A handshake answered with 503 and a command answered with 27 and 18 are tried again."""
    faults = ("refuse=503x2", "error=18@1x1")
    simulator = await record(flow(markets=3, rate_per_s=1000, messages_max=300, faults=faults), database_url)

    assert len(sent_frames(simulator)) == 1
    assert list(raw_frames(database_url).values()) == sent_frames(simulator)


async def test_wrong_key_is_shown_as_refused(database_url: str) -> None:
    """Health says 503 with the reason, nothing is retried in haste, and no secret shows."""
    async with open_simulator(flow(markets=2, rate_per_s=100)) as simulator:
        settings = settings_for(simulator, database_url, api_key_id="not-the-key")
        async with serve(settings) as service:
            while True:
                code, health = await service.get("/health")
                if code == 503:
                    break
                await trio.sleep(0.02)
            feeds = health["components"]["feeds"]
            assert feeds["status"] == "failed"
            assert "401" in str(health)
            assert "not-the-key" not in str(health)
            assert simulator.connections <= 1


async def test_database_that_is_away_at_start(database_url: str) -> None:
    """The recording begins without it, in the spool; when it comes, it gets everything from the start."""
    simulation = flow(markets=3, rate_per_s=1000, messages_max=500, keep_account=True)
    async with open_proxy(server_target(database_url)) as proxy, open_simulator(simulation) as simulator:
        proxy.refuse()
        url = through_port(database_url, proxy.port)
        async with serve(settings_for(simulator, url)) as service:
            while True:
                _, health = await service.get("/health")
                if health["components"]["spool"]["status"] == "degraded":
                    break
                await trio.sleep(0.02)
            await simulator.wait_finished()
            proxy.refuse(False)
        assert service.is_safe
    assert list(raw_frames(database_url).values()) == sent_frames(simulator)


async def test_frames_that_nobody_takes_are_told(
    database_url: str, monkeypatch: pytest.MonkeyPatch, refusing_port: int
) -> None:
    """Neither the database nor the spool takes them: the service stops all the same, and says how many."""
    monkeypatch.setattr(app, "DRAIN_S_MAX", 0.5)
    monkeypatch.setattr(writer, "LAST_FLUSH_S_MAX", 0.5)
    simulation = flow(markets=3, rate_per_s=1000, messages_max=500, keep_account=True)
    with structlog.testing.capture_logs() as logs:
        async with open_simulator(simulation) as simulator:
            nowhere = through_port(database_url, refusing_port)
            async with serve(settings_for(simulator, nowhere, spool_mb_max=0)) as service:
                await simulator.wait_finished()
                while (await service.get("/rl/status"))[1]["stats"]["db_queue_size"] < 500:
                    await trio.sleep(0.02)
    assert service.is_safe is False
    received = sum(len(frames) for frames in sent_frames(simulator))
    last_word = logs[-1]
    assert last_word["event"] == "stopped: the end of sessions could not be kept"
    assert (last_word["sessions"], last_word["frames"], last_word["lost"]) == (1, received, received)


async def test_database_that_goes_away_and_comes_back(database_url: str) -> None:
    """While it is away frames wait in memory; afterwards every one of them is in, once, in order."""
    simulation = flow(markets=5, rate_per_s=1000, speed=1.0, messages_max=3000, keep_account=True)
    async with open_proxy(server_target(database_url)) as proxy, open_simulator(simulation) as simulator:
        url = through_port(database_url, proxy.port)
        async with serve(settings_for(simulator, url)) as service:
            while not query(database_url, "SELECT to_regclass('rl_write_ledger') IS NOT NULL")[0][0]:
                await trio.sleep(0.02)
            while query(database_url, "SELECT count(*) FROM rl_write_ledger") == [(0,)]:
                await trio.sleep(0.02)
            proxy.refuse()
            proxy.cut()
            while True:
                _, status = await service.get("/rl/status")
                if status["stats"]["db_queue_size"] > 500:
                    break
                await trio.sleep(0.02)
            code, health = await service.get("/health")
            assert (code, health["status"]) == (200, "degraded")
            proxy.refuse(False)
            await simulator.wait_finished()
        assert service.is_safe
    await assert_verified(database_url)
    assert list(raw_frames(database_url).values()) == sent_frames(simulator)
    assert query(database_url, "SELECT count(*) FROM rl_orderbook_sessions") == [(1,)]


async def test_pooled_connection(database_url: str) -> None:
    """Through a pooler, writes leave nothing prepared behind, and record the same."""
    simulation = flow(markets=3, rate_per_s=1000, messages_max=500, keep_account=True)
    async with open_proxy(server_target(database_url)) as proxy, open_simulator(simulation) as simulator:
        pooled = through_port(database_url, proxy.port)
        settings = attrs.evolve(settings_for(simulator, database_url), database_url_pooled=pooled)
        async with serve(settings):
            await simulator.wait_finished()
        assert proxy.bytes_passed["to_server"] > 10_000
    assert list(raw_frames(database_url).values()) == sent_frames(simulator)
