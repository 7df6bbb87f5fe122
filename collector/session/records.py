"""
The REST record of each market, beside its recording: title, times, tick structure, settlement.

Two tasks: `run_market_records` fetches and stores, `run_record_store` stores what the discovery has fetched.
Nothing of the recording waits for them; when REST or the database is away they come again later.
"""

from collections.abc import Callable, Sequence
from typing import Final

import trio

from collector.clock import WallClock
from collector.errors import FeedLost, StoreRejected, StoreUnavailable, leaves_of
from collector.exchange.rest import fetch_market_records
from collector.observe.logs import get_logger
from collector.store.connection import ConnectStore, TrioConnection, translate_errors

REFRESH_S: Final = 3600.0
RETRY_S: Final = 60.0
WRITE_S_MAX: Final = 30.0

_log = get_logger("records")


async def run_market_records(
    api_url: str,
    tickers: Callable[[], Sequence[str]],
    connect_store: ConnectStore,
    clock: WallClock,
) -> None:
    """Fetch and store the records of what is recorded, now and every hour, until cancelled."""
    while True:
        is_done = False
        try:
            await _refresh(api_url, tickers(), connect_store, clock)
            is_done = True
        except* (FeedLost, StoreUnavailable, trio.TooSlowError) as group:
            _log.warning("market records not refreshed", reason=str(leaves_of(group)[0]))
        await trio.sleep(REFRESH_S if is_done else RETRY_S)


async def run_record_store(
    records: trio.MemoryReceiveChannel[dict[str, bytes]], connect_store: ConnectStore, clock: WallClock
) -> None:
    """Store what comes, however long that takes, until cancelled."""
    async for some in records:
        is_done = False
        while not is_done:
            try:
                await _store(some, connect_store, clock)
                is_done = True
            except* (StoreUnavailable, trio.TooSlowError) as group:
                _log.warning("market records not stored yet", reason=str(leaves_of(group)[0]))
            if not is_done:
                await trio.sleep(RETRY_S)


async def _refresh(
    api_url: str,
    tickers: Sequence[str],
    connect_store: ConnectStore,
    clock: WallClock,
) -> None:
    records = await fetch_market_records(api_url, tickers)
    missing = sorted(set(tickers) - records.keys())
    if missing:
        _log.warning("the exchange does not know these markets", tickers=missing[:20], count=len(missing))
    await _store(records, connect_store, clock)


async def _store(records: dict[str, bytes], connect_store: ConnectStore, clock: WallClock) -> None:
    async with connect_store() as connection:
        with trio.fail_after(WRITE_S_MAX):
            await store_records(connection, records, clock())


async def store_records(connection: TrioConnection, records: dict[str, bytes], fetched_us: int) -> None:
    """Put records beside their markets. One that PostgreSQL can't hold is told and left out."""
    for ticker, record in records.items():
        try:
            await _store_one(connection, ticker, record.decode(), fetched_us)
        except (StoreRejected, UnicodeDecodeError) as error:
            # The exchange's text is not ours to mend, and the recording does not depend on it.
            _log.warning("market record not storable", ticker=ticker, reason=str(error)[:300])


async def _store_one(connection: TrioConnection, ticker: str, record: str, fetched_us: int) -> None:
    with translate_errors():
        await connection.execute(
            "INSERT INTO rl_markets (market_ticker, record, fetched_us) VALUES (%s, %s::jsonb, %s)"
            " ON CONFLICT (market_ticker) DO UPDATE"
            " SET record = EXCLUDED.record, fetched_us = EXCLUDED.fetched_us",
            (ticker, record, fetched_us),
        )
