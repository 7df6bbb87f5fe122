"""
The exchange's REST API, as far as a recorder needs it.

Public endpoints only, unsigned: they don't draw on the account's rate limit (Kalshi documentation, rate
limits). Records are handed on as the JSON text that they came as, so that no number in them is changed.
"""

from collections.abc import Sequence
from typing import Final

import httpx2
import msgspec
import trio
from msgspec import Raw, Struct

from collector.errors import FeedLost

REQUEST_S_MAX: Final = 20.0
TICKERS_MAX: Final = 100
"""In one request: well below what a URL may be long."""


class _Page(Struct):
    markets: list[Raw]


class _Market(Struct):
    ticker: str


async def fetch_market_records(api_url: str, tickers: Sequence[str]) -> dict[str, bytes]:
    """
    The records of markets, ticker to JSON; markets that the exchange does not know are left out.

    Raises FeedLost when the exchange can't be reached or answers with anything but records.
    """
    records: dict[str, bytes] = {}
    async with httpx2.AsyncClient(headers={"Accept-Language": "en"}) as client:
        for first in range(0, len(tickers), TICKERS_MAX):
            page = await _get_page(client, f"{api_url}/markets", tickers[first : first + TICKERS_MAX])
            for record in page.markets:
                records[_ticker_of(record)] = bytes(record)
    return records


async def _get_page(client: httpx2.AsyncClient, url: str, tickers: Sequence[str]) -> _Page:
    query = {"tickers": ",".join(tickers), "limit": str(TICKERS_MAX)}
    try:
        with trio.fail_after(REQUEST_S_MAX):
            response = await client.get(url, params=query, timeout=None)
    except trio.TooSlowError as error:
        raise FeedLost(f"REST: no answer within {REQUEST_S_MAX:g} s") from error
    except httpx2.HTTPError as error:
        raise FeedLost(f"REST: {type(error).__name__} {error}".strip()) from error
    if not response.is_success:
        raise FeedLost(f"REST: answered with HTTP {response.status_code}")
    try:
        return msgspec.json.decode(response.content, type=_Page)
    except msgspec.MsgspecError as error:
        raise FeedLost(f"REST: not a page of markets: {error}") from error


def _ticker_of(record: Raw) -> str:
    try:
        return msgspec.json.decode(record, type=_Market).ticker
    except msgspec.MsgspecError as error:
        raise FeedLost(f"REST: a market without a ticker: {error}") from error
