"""
Finds the markets to record, and follows them as they open and close.

One task, `run_discovery`: it asks REST what is open, lets the universe choose, and hands the choice on.
Nothing of the recording waits for it; while REST is away, what is recorded stays recorded.
"""

from functools import partial
from typing import Final

import trio
from attrs import frozen

from collector.clock import WallClock
from collector.errors import FeedLost
from collector.markets._metadata import UseRecords
from collector.markets._universe import Choice, Universe
from collector.observe import DiscoveryStatus, get_logger
from collector.rest import fetch_market_records, fetch_open_markets, status_of
from collector.retry import retry

RETRY_S: Final = 10.0

_log = get_logger("discovery")


@frozen
class Discovery:
    """Where to look, how often, and whom to tell."""

    api_url: str
    interval_s: float
    universe: Universe
    status: DiscoveryStatus
    clock: WallClock
    stopping: trio.Event
    changes: trio.MemorySendChannel[tuple[str, ...]]
    use_records: UseRecords


async def run_discovery(discovery: Discovery) -> None:
    """Look now, and then once in each interval, until the service stops."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_poll_loop, discovery, name="discovery polls")
        await discovery.stopping.wait()
        nursery.cancel_scope.cancel(reason="the service stops")


async def _poll_loop(discovery: Discovery) -> None:
    status = discovery.status

    async def pause(failure: Exception) -> None:
        assert isinstance(failure, FeedLost)
        status.reason = str(failure)
        pause_s = max(min(RETRY_S, discovery.interval_s), failure.retry_after_s)
        _log.warning("market_discovery_failed", retry_s=pause_s, reason=status.reason)
        await trio.sleep(pause_s)

    while True:
        await retry(partial(_look, discovery), FeedLost, pause)
        status.reason = ""
        status.last_us = discovery.clock()
        await trio.sleep(discovery.interval_s)


async def _look(discovery: Discovery) -> None:
    """One look. Raises FeedLost, with nothing changed."""
    universe = discovery.universe
    listed = await fetch_open_markets(discovery.api_url)
    gone = await fetch_market_records(discovery.api_url, universe.missing_from(listed))
    statuses = {ticker: status_of(record) for ticker, record in gone.items()}
    # In a thread: to rank a hundred thousand markets takes longer than the recording may wait.
    choice = await trio.to_thread.run_sync(universe.choose, listed, statuses, trio.current_time())
    discovery.status.open_markets = len(listed)
    discovery.status.followed = len(choice.tickers)
    if choice.joined or choice.left:
        _log.info("markets chosen", open=len(listed), joined=choice.joined[:20], left=choice.left[:20])
        await discovery.changes.send(choice.tickers)
        await _hand_on_records(discovery, choice, gone)


async def _hand_on_records(discovery: Discovery, choice: Choice, gone: dict[str, bytes]) -> None:
    """What REST says of those that have joined, and of those that have left: their settlement."""
    records = {ticker: gone[ticker] for ticker in choice.left if ticker in gone}
    try:
        records |= await fetch_market_records(discovery.api_url, choice.joined)
    except FeedLost as error:
        # They come with the hourly refresh too.
        _log.warning("market records not fetched", reason=str(error))
    await discovery.use_records(records)
