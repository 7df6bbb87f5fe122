"""
The REST record of each market, beside its recording: title, times, tick structure, settlement.

Two tasks: `run_market_records` fetches and stores, `run_record_store` stores what the discovery has fetched.
Nothing of the recording waits for them; when REST or the database is away they come again later.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

import trio

from collector.clock import WallClock
from collector.database import store_market_record
from collector.errors import FeedLost, StoreError, StoreRejected
from collector.observe import get_logger
from collector.postgres import ConnectStore, TrioConnection
from collector.rest import fetch_market_records
from collector.retry import retry

UseRecords: TypeAlias = Callable[[Mapping[str, bytes]], Awaitable[None]]
"""Gets the records of markets by ticker. What is used is in the raw stream of the session that uses it."""

REFRESH_S: Final = 3600.0
RETRY_S: Final = 60.0
WRITE_S_MAX: Final = 30.0

_log = get_logger("records")


async def run_market_records(
    api_url: str,
    tickers: Callable[[], Sequence[str]],
    use: UseRecords,
    connect_store: ConnectStore,
    clock: WallClock,
) -> None:
    """Fetch, use and store the records of what is recorded, now and every hour, until cancelled."""

    async def refresh() -> None:
        records = await _fetch(api_url, tickers())
        await use(records)
        await _store(records, connect_store, clock)

    while True:
        await retry(refresh, (FeedLost, StoreError, trio.TooSlowError), _pause)
        await trio.sleep(REFRESH_S)


async def run_record_store(
    records: trio.MemoryReceiveChannel[dict[str, bytes]],
    use: UseRecords,
    connect_store: ConnectStore,
    clock: WallClock,
) -> None:
    """Use and store the records that arrive, however long that takes, until cancelled."""
    async for some in records:
        await use(some)
        await retry(partial(_store, some, connect_store, clock), (StoreError, trio.TooSlowError), _pause)


async def _pause(failure: Exception) -> None:
    _log.warning("market_records_not_stored", retry_s=RETRY_S, reason=str(failure))
    await trio.sleep(RETRY_S)


async def _fetch(api_url: str, tickers: Sequence[str]) -> dict[str, bytes]:
    records = await fetch_market_records(api_url, tickers)
    missing = sorted(set(tickers) - records.keys())
    if missing:
        _log.warning("the exchange does not know these markets", tickers=missing[:20], count=len(missing))
    return records


async def _store(records: dict[str, bytes], connect_store: ConnectStore, clock: WallClock) -> None:
    async with connect_store() as connection:
        with trio.fail_after(WRITE_S_MAX):
            await store_records(connection, records, clock())


async def store_records(connection: TrioConnection, records: dict[str, bytes], fetched_us: int) -> None:
    """Store records beside their markets. One that PostgreSQL can't hold is logged and left out."""
    for ticker, record in records.items():
        try:
            await store_market_record(connection, ticker, record.decode(), fetched_us)
        except (StoreRejected, UnicodeDecodeError) as error:
            # The exchange's text is not ours to mend, and the recording does not depend on it.
            _log.warning("market_record_not_storable", ticker=ticker, reason=str(error)[:300])
