"""
The REST record of each market: title, times, tick structure, settlement.

One task, `run_market_records`. Nothing of the recording waits for it; while REST is away, records come again
later. What is fetched is used by the sessions: they note it in their streams, from which it is stored.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias

import trio

from collector.errors import FeedLost
from collector.observe import get_logger
from collector.rest import fetch_market_records
from collector.retry import retry

UseRecords: TypeAlias = Callable[[Mapping[str, bytes]], Awaitable[None]]
"""Gets the records of markets by ticker."""

REFRESH_S: Final = 3600.0
RETRY_S: Final = 60.0

_log = get_logger("records")


async def run_market_records(api_url: str, tickers: Callable[[], Sequence[str]], use: UseRecords) -> None:
    """Fetch and use the records of what is recorded, now and every hour, until cancelled."""

    async def refresh() -> None:
        await use(await _fetch(api_url, tickers()))

    while True:
        await retry(refresh, FeedLost, _pause)
        await trio.sleep(REFRESH_S)


async def _pause(failure: Exception) -> None:
    _log.warning("market_records_not_fetched", retry_s=RETRY_S, reason=str(failure))
    await trio.sleep(RETRY_S)


async def _fetch(api_url: str, tickers: Sequence[str]) -> dict[str, bytes]:
    records = await fetch_market_records(api_url, tickers)
    missing = sorted(set(tickers) - records.keys())
    if missing:
        _log.warning("the exchange does not know these markets", tickers=missing[:20], count=len(missing))
    return records
