"""Twenty reconnections: quiet markets stay exact, by proof; those that changed meanwhile have a hole."""

import json
import time

import trio

from collector.facts._maintenance import touches_weekly_maintenance
from collector.simulator import open_simulator
from tests.service.harness import assert_verified, flow, query, raw_frames, serve, settings_for

RECONNECTIONS = 20
NOW_US = time.time_ns() // 1000
IS_MAINTENANCE = touches_weekly_maintenance(NOW_US, NOW_US + 120_000_000)
"""Whether this test runs in the two hours of the week in which nothing is ever proven."""

PROOFS = """
    SELECT session_id, market_ticker FROM rl_proven_empty"""
UNKNOWN = """
    SELECT DISTINCT market_ticker FROM rl_market_coverage c WHERE NOT is_exact AND until_us IS NOT NULL
       AND from_us >= (SELECT min(received_us) FROM rl_orderbook_snapshots s
                        WHERE s.market_ticker = c.market_ticker)"""

Book = tuple[int, dict[str, int]]
"""A market's clock, and its levels."""


def books_of(texts: list[str]) -> tuple[dict[str, Book], dict[str, Book]]:
    """Each market's first snapshot on a connection and its last book, by the exchange's own words."""
    first: dict[str, Book] = {}
    last: dict[str, Book] = {}
    for text in texts:
        frame = json.loads(text)
        msg = frame.get("msg", {})
        ticker = msg.get("market_ticker")
        if frame["type"] == "orderbook_snapshot":
            levels = {
                f"{side} {price}": round(float(size) * 100)
                for side in ("yes", "no")
                for price, size in msg.get(f"{side}_dollars_fp", [])
            }
            last[ticker] = (msg["clock"], levels)
            first.setdefault(ticker, (msg["clock"], dict(levels)))
        elif frame["type"] == "orderbook_delta":
            levels = last[ticker][1]
            level = f"{msg['side']} {msg['price_dollars']}"
            levels[level] = levels.get(level, 0) + round(float(msg["delta_fp"]) * 100)
            if not levels[level]:
                del levels[level]
            last[ticker] = (msg["clock"], levels)
    return first, last


async def test_twenty_reconnections(database_url: str) -> None:
    """Exactly the interruptions in which the exchange changed nothing are proven empty, and show no hole."""
    simulation = flow(
        markets=30, rate_per_s=30, speed=1.0, faults=("cut-every=0.5",), keep_account=True, seed=11
    )
    async with open_simulator(simulation) as simulator:
        async with serve(settings_for(simulator, database_url)):
            while len(simulator.account.counts) <= RECONNECTIONS:
                await trio.sleep(0.05)
    await assert_verified(database_url)

    empty: set[tuple[int, str]] = set()
    changed: set[str] = set()
    held: dict[str, Book] = {}
    for session_id, texts in raw_frames(database_url).items():
        first, last = books_of(texts)
        for ticker in first.keys() & held.keys():
            clock, levels = first[ticker]
            if first[ticker] == held[ticker] and (clock or not levels) and not IS_MAINTENANCE:
                empty.add((session_id, ticker))
            else:
                changed.add(ticker)
        held |= last
    assert len(empty) > RECONNECTIONS or IS_MAINTENANCE
    assert changed
    assert set(query(database_url, PROOFS)) == empty
    assert {ticker for (ticker,) in query(database_url, UNKNOWN)} == changed
