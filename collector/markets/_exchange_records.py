"""
Schedule and status of the exchange, polled for as long as the service runs.

Nothing of the recording waits for them. While REST does not answer, the weekly maintenance alone is known.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, NoReturn

import trio

from collector.errors import FeedLost
from collector.observe import get_logger
from collector.protocol import SCHEDULE_PATH, STATUS_PATH
from collector.rest import fetch_record

STATUS_S: Final = 60.0
"""Seconds between two looks at the status: a maintenance takes hours."""
SCHEDULE_S: Final = 3600.0
"""Seconds between two looks at the schedule. Maintenance is announced days ahead."""

_log = get_logger("exchange")


async def run_exchange_records(
    api_url: str, use_schedule: Callable[[bytes], None], use_status: Callable[[bytes], None]
) -> None:
    """Fetch both now and then again and again, each in its interval, until cancelled."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(_poll_loop, api_url, SCHEDULE_PATH, SCHEDULE_S, use_schedule))
        nursery.start_soon(partial(_poll_loop, api_url, STATUS_PATH, STATUS_S, use_status))


async def _poll_loop(api_url: str, path: str, interval_s: float, use: Callable[[bytes], None]) -> NoReturn:
    is_failing = False
    while True:
        try:
            use(await fetch_record(api_url, path))
            is_failing = False
        except FeedLost as error:
            if not is_failing:
                _log.warning("exchange_record_not_fetched", path=path, retry_s=STATUS_S, reason=str(error))
            is_failing = True
        await trio.sleep(STATUS_S if is_failing else interval_s)
