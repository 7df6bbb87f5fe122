"""What only an audit or a probe can find, and what is recorded of it."""

from functools import partial

import pytest
import trio

from collector.clock import system_clock
from collector.facts._market_state import HOUR_US
from collector.session import _session as scope
from collector.simulator import Simulator, SimulatorSettings, open_simulator
from collector.subscriptions import Pace
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

AUDITS = (
    "SELECT market_ticker, is_match, first_difference, sequence_number FROM rl_orderbook_audits"
    " ORDER BY session_id, sequence_number"
)


async def wait_for_row(url: str, text: str) -> None:
    """Poll until a query finds something; the service makes its tables meanwhile."""
    while not query(url, "SELECT to_regclass('rl_write_ledger') IS NOT NULL")[0][0] or not query(url, text):
        await trio.sleep(0.05)


async def wait_all_exact(service: Service, markets: int) -> None:
    while True:
        _, status = await service.get("/rl/status")
        if status["stats"]["markets_active"] == markets:
            return
        await trio.sleep(0.02)


def true_books(simulator: Simulator) -> dict[str, tuple[dict[int, int], dict[int, int]]]:
    """The exchange's own books, in the recorder's units."""
    books: dict[str, tuple[dict[int, int], dict[int, int]]] = {}
    for ticker, market in simulator.floor.markets.items():
        depth = market.book.depth()
        books[ticker] = (dict(depth.yes), dict(depth.no))
    return books


by_clock = partial(SimulatorSettings, markets=4, rate_per_s=400, speed=1.0, seed=7, keep_account=True)
"""Generated order flow, at the speed of a busy market."""


async def test_change_that_arrives_wrong_is_found_by_an_audit(database_url: str) -> None:
    """Its sequence is whole and its JSON valid; within one rotation the book is known to be wrong."""
    simulation = by_clock(messages_max=2500, faults=("skew@200x1",))
    async with open_simulator(simulation) as simulator:
        settings = settings_for(simulator, database_url, audit_interval_s=2.0)
        async with serve(settings) as service:
            await wait_for_row(database_url, "SELECT FROM rl_orderbook_audits WHERE NOT is_match")
            await simulator.wait_finished()
            await wait_all_exact(service, 4)

    await assert_verified(database_url)
    audits = query(database_url, AUDITS)
    ((ticker, _, difference, sequence_number),) = [audit for audit in audits if not audit[1]]
    assert difference.startswith(("yes ", "no "))
    ((skewed_at,),) = query(
        database_url,
        "SELECT min(received_us) FROM rl_orderbook_deltas WHERE sequence_number >= 200",
    )
    ((found_at,),) = query(database_url, "SELECT received_us FROM rl_orderbook_audits WHERE NOT is_match")
    assert 0 < found_at - skewed_at < 4_000_000
    gaps = "SELECT cause, market_ticker, channel, expected, received FROM rl_orderbook_gaps"
    after = sequence_number + 1
    assert query(database_url, gaps) == [("audit_mismatch", ticker, "orderbook_delta", after, after)]
    assert {audit[0] for audit in audits if audit[1]} == set(simulator.tickers), "each was audited"
    assert query(database_url, "SELECT sum(audit_rows) FROM rl_write_ledger") == [(len(audits),)]
    assert last_books(database_url) == true_books(simulator)
    assert list(raw_frames(database_url).values()) == sent_frames(simulator)


@pytest.mark.parametrize(("channel", "sid"), [("orderbook_delta", 1), ("trade", 2)])
async def test_mute_subscription_is_found_and_left(
    database_url: str, monkeypatch: pytest.MonkeyPatch, channel: str, sid: int
) -> None:
    """Pings go on and nothing else: a new session begins, and its books are exact."""
    monkeypatch.setattr(scope, "Pace", partial(Pace, reply_s_max=1.0))
    simulation = by_clock(messages_max=3000, faults=(f"mute={channel}@20x1",))
    async with open_simulator(simulation) as simulator:
        settings = settings_for(simulator, database_url, silence_probe_s=1.0)
        async with serve(settings) as service:
            await wait_for_row(database_url, "SELECT FROM rl_orderbook_sessions WHERE status = 'error'")
            await simulator.wait_finished()
            await wait_all_exact(service, 4)

    await assert_verified(database_url)
    reasons = "SELECT status, end_reason FROM rl_orderbook_sessions ORDER BY session_id"
    lost = f"subscription {sid} ({channel}) is silent: two probes without an answer"
    assert query(database_url, reasons) == [("error", lost), ("closed", "recorder stopped")]
    (first, second), sent = raw_frames(database_url).values(), sent_frames(simulator)
    assert first == sent[0][: len(first)], "what was on its way when we hung up is not ours any more"
    assert second == sent[1]
    assert last_books(database_url) == true_books(simulator)


async def test_book_that_goes_on_into_the_next_hour(database_url: str) -> None:
    """Each market's book is written out before its first change in the hour, and reading may begin there."""
    ahead_us = HOUR_US - system_clock() % HOUR_US - 2_000_000

    def clock() -> int:
        return system_clock() + ahead_us

    async with open_simulator(by_clock(messages_max=1600), clock=clock) as simulator:
        async with serve(settings_for(simulator, database_url), clock):
            await simulator.wait_finished()

    await assert_verified(database_url)
    checkpoints = "SELECT market_ticker FROM rl_orderbook_snapshots WHERE origin = 'checkpoint' ORDER BY 1"
    assert [ticker for (ticker,) in query(database_url, checkpoints)] == sorted(simulator.tickers)
    assert query(database_url, "SELECT snapshots FROM rl_orderbook_sessions") == [(4,)], "they are no frames"
    assert last_books(database_url) == true_books(simulator)


async def test_quiet_exchange_is_probed_and_stays_connected(database_url: str) -> None:
    """A market in which nothing happens is asked now and then; the answers agree with the book."""
    simulation = by_clock(messages_max=200)
    async with open_simulator(simulation) as simulator:
        settings = settings_for(simulator, database_url, silence_probe_s=0.5, audit_interval_s=0.0)
        async with serve(settings):
            await simulator.wait_finished()
            await wait_for_row(database_url, "SELECT FROM rl_orderbook_audits HAVING count(*) >= 3")

    await assert_verified(database_url)
    assert query(database_url, "SELECT count(*) FROM rl_orderbook_sessions") == [(1,)]
    assert query(database_url, "SELECT count(*) FROM rl_orderbook_audits WHERE NOT is_match") == [(0,)]
    assert query(database_url, "SELECT count(*) FROM rl_orderbook_gaps") == [(0,)]
    assert last_books(database_url) == true_books(simulator)
