"""
A database that returns in an older state, on real servers: what it has lost is written again, or is a hole.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import attrs
import psycopg
import pytest
import trio

from collector.simulator import Simulator, open_simulator
from tests.clusters import Cluster, running
from tests.service.harness import (
    Service,
    assert_verified,
    flow,
    query,
    raw_contents,
    raw_frames,
    sent_frames,
    serve,
    settings_for,
)
from tests.tcp_proxy import TcpProxy, open_proxy, server_target, through_port

SIMULATION = flow(markets=3, rate_per_s=400.0, messages_max=3200, speed=1.0, keep_account=True)


async def wait_for_batches(url: str, batches: int) -> None:
    """Until this number of further batches is in the database."""
    with trio.fail_after(30):
        while query(url, "SELECT to_regclass('rl_write_ledger')") == [(None,)]:
            await trio.sleep(0.05)
        ((before,),) = query(url, "SELECT count(*) FROM rl_write_ledger")
        while query(url, "SELECT count(*) FROM rl_write_ledger")[0][0] < before + batches:
            await trio.sleep(0.05)


def restored_backup(cluster: Cluster) -> Cluster:
    """A copy of the server as it is now."""
    return cluster.copy()


def replica_that_falls_behind(cluster: Cluster) -> Cluster:
    """A streaming replica that has everything until now, and nothing from now on."""
    replica = cluster.copy(is_replica=True)
    replica.start()
    ((position,),) = query(cluster.url, "SELECT pg_current_wal_lsn()::text")
    with psycopg.connect(replica.url, autocommit=True) as connection:
        while connection.execute("SELECT pg_last_wal_replay_lsn() < %s::pg_lsn", (position,)).fetchone() != (
            False,
        ):
            connection.execute("SELECT pg_sleep(0.05)")
        connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
        connection.execute("SELECT pg_reload_conf()")
    return replica


@contextmanager
def taking_over(cluster: Cluster, copy: Cluster) -> Generator[str]:
    """The server crashes, and its copy serves in its place, for the time of the block. Gives its URL."""
    cluster.kill()
    if (copy.folder / "data" / "standby.signal").exists():
        copy.promote()
        try:
            yield copy.url
        finally:
            copy.kill()
    else:
        with running(copy):
            yield copy.url


def turn_to(proxy: TcpProxy, url: str) -> None:
    """The recorder's connections are lost, and new ones reach another server."""
    proxy.target = server_target(url)
    proxy.cut()


async def stats(service: Service) -> dict[str, Any]:
    """The recorder's account of itself."""
    _, status = await service.get("/rl/status")
    found: dict[str, Any] = status["stats"]
    return found


async def wait_until_written(simulator: Simulator, service: Service) -> None:
    """Until everything is sent, and nothing waits for the database."""
    await simulator.wait_finished()
    with trio.fail_after(30):
        while (await stats(service))["db_queue_size"] or not (await stats(service))["database"]["database"]:
            await trio.sleep(0.05)


def simulated_tickers(simulator: Simulator) -> list[str]:
    """The simulator's markets, in order."""
    return sorted(simulator.environ["RL_MARKET_TICKERS"].split(","))


def batches_in(url: str) -> int:
    """Rows of the ledger."""
    ((batches,),) = query(url, "SELECT count(*) FROM rl_write_ledger")
    return int(batches)


@pytest.mark.parametrize(
    ("make_copy", "is_restarted"),
    [(restored_backup, False), (replica_that_falls_behind, False), (replica_that_falls_behind, True)],
    ids=["backup", "replica", "replica, and the recorder is restarted"],
)
async def test_a_server_that_lacks_the_last_seconds_loses_no_frame(
    cluster: Cluster, make_copy: Callable[[Cluster], Cluster], is_restarted: bool
) -> None:
    """With the default rewrite window: every frame is in the database once, and the ledger has no hole."""
    async with open_proxy(server_target(cluster.url)) as proxy, open_simulator(SIMULATION) as simulator:
        settings = settings_for(simulator, through_port(cluster.url, proxy.port))
        async with serve(settings) as service:
            await wait_for_batches(cluster.url, 3)
            copy = await trio.to_thread.run_sync(make_copy, cluster)
            await wait_for_batches(cluster.url, 5)
            if is_restarted:
                await service.stop()
            confirmed = batches_in(cluster.url)
            with taking_over(cluster, copy) as url:
                assert batches_in(url) <= confirmed - 5
                turn_to(proxy, url)
                if is_restarted:
                    async with serve(settings) as second:
                        await wait_until_written(simulator, second)
                else:
                    await wait_until_written(simulator, service)
                    assert (await stats(service))["database"]["repeated_batches"] >= 5
                    await service.stop()
                await assert_verified(url)
                assert list(raw_frames(url).values()) == sent_frames(simulator)
                assert query(url, "SELECT count(*) FROM rl_ledger_holes") == [(0,)]


async def test_what_cannot_be_written_again_is_a_recorded_hole(cluster: Cluster) -> None:
    """Without a rewrite window: all books are unknown from the hole on, until the snapshots of a request."""
    async with open_proxy(server_target(cluster.url)) as proxy, open_simulator(SIMULATION) as simulator:
        settings = settings_for(simulator, through_port(cluster.url, proxy.port), rewrite_window_s=0.0)
        async with serve(settings) as service:
            await wait_for_batches(cluster.url, 3)
            copy = await trio.to_thread.run_sync(restored_backup, cluster)
            await wait_for_batches(cluster.url, 5)
            with taking_over(cluster, copy) as url:
                turn_to(proxy, url)
                await wait_until_written(simulator, service)
                assert (await stats(service))["database"]["losses"] == 1
                await service.stop()
                ((hole_us,),) = query(url, "SELECT from_us FROM rl_ledger_holes")
                causes = query(url, "SELECT DISTINCT cause FROM rl_orderbook_gaps")
                assert causes == [("store_lost",)]
                ((detail,),) = query(
                    url, "SELECT detail FROM rl_connection_events WHERE event_type = 'store_lost'"
                )
                assert "were confirmed, and are gone" in detail
                unknown = query(
                    url,
                    "SELECT market_ticker, from_us, until_us FROM rl_book_spans WHERE cause = 'ledger_hole'",
                )
                assert sorted(ticker for ticker, _, _ in unknown) == simulated_tickers(simulator)
                assert all(from_us == hole_us and until_us > hole_us for _, from_us, until_us in unknown)
                recorded = [frame.text for _, _, content in raw_contents(url) for frame in content.frames]
                (sent,) = sent_frames(simulator)
                assert len(recorded) < len(sent)
                assert [text for text in sent if text in set(recorded)] == recorded


async def test_a_crash_after_an_early_confirmation_loses_nothing(cluster: Cluster) -> None:
    """Whatever the server's default is, a batch that it confirmed is in its write-ahead log."""
    cluster.kill()
    early = attrs.evolve(cluster, options=("synchronous_commit=off", "wal_writer_delay=10s", "fsync=off"))
    simulation = attrs.evolve(SIMULATION, messages_max=800)
    with running(early):
        async with open_simulator(simulation) as simulator:
            async with serve(settings_for(simulator, cluster.url, rewrite_window_s=0.0)) as service:
                await wait_until_written(simulator, service)
                confirmed = batches_in(cluster.url)
                early.kill()
                early.start()
                assert batches_in(cluster.url) == confirmed
            assert service.is_safe
        await assert_verified(cluster.url)
        assert list(raw_frames(cluster.url).values()) == sent_frames(simulator)
