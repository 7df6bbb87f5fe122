"""
The exchange's REST API, as far as a recorder needs it.

Public endpoints only, unsigned: they don't draw on the account's rate limit (Kalshi documentation, rate
limits). Records are handed on as the JSON text that they came as, so that no number in them is changed.

Combos (multivariate events) are left out of what is open: they are made by the hundred thousand, and the
lifecycle channel does not tell of them.
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import httpx2
import msgspec
import trio
from msgspec import Raw, Struct

from collector.errors import FeedLost, MalformedFrame, translated_errors
from collector.protocol import OpenMarket, parse_size_e2

REQUEST_S_MAX: Final = 20.0
TICKERS_MAX: Final = 100
"""In one request: well below what a URL may be long."""
PAGE_MARKETS: Final = 1000
PAGES_MAX: Final = 1000
"""Ten times the markets that the exchange is known to have had open."""
RECORD_BYTES_MAX: Final = 1_000_000
"""Of a record that is fetched as a whole."""
TOO_MANY_REQUESTS: Final = 429
PAGE_TRIES_MAX: Final = 10
PAGE_PAUSE_S: Final = 2.0
TOO_MANY_S: Final = 30.0
"""The exchange names no time to wait."""


class _Page(Struct):
    markets: list[Raw]


class _Market(Struct):
    ticker: str
    status: str | None = None


class _Listed(Struct):
    ticker: str
    volume_24h_fp: Raw = Raw()


class _ListedPage(Struct):
    markets: list[_Listed]
    cursor: str | None = None


_Shape = TypeVar("_Shape", _Page, _ListedPage, Raw)


async def fetch_open_markets(api_url: str) -> list[OpenMarket]:
    """
    All markets that can be traded now, combos left out.

    Raises FeedLost when the exchange can't be reached or answers with anything but pages of markets.
    """
    markets: dict[str, OpenMarket] = {}
    query = {"status": "open", "mve_filter": "exclude", "limit": str(PAGE_MARKETS)}
    async with httpx2.AsyncClient(headers={"Accept-Language": "en"}) as client:
        for _ in range(PAGES_MAX):
            page = await _get_listed_page(client, f"{api_url}/markets", query)
            markets |= {
                market.ticker: OpenMarket(market.ticker, _volume_e2(market)) for market in page.markets
            }
            if not page.cursor:
                return list(markets.values())
            if page.cursor == query.get("cursor"):
                raise FeedLost("REST: the pages of markets go round in circles")
            query["cursor"] = page.cursor
    raise FeedLost(f"REST: more than {PAGES_MAX} pages of markets")


async def _get_listed_page(client: httpx2.AsyncClient, url: str, query: Mapping[str, str]) -> _ListedPage:
    """One page, however often the exchange asks for patience: those before it would be lost."""
    for _ in range(PAGE_TRIES_MAX - 1):
        try:
            return await _get_page(client, url, query, _ListedPage)
        except FeedLost as error:
            if not error.retry_after_s:
                raise
        await trio.sleep(PAGE_PAUSE_S)
    return await _get_page(client, url, query, _ListedPage)


def status_of(record: bytes) -> str:
    """How a market stands, by its record: `active`, `closed`, `finalized` ..."""
    return _read_market(Raw(record)).status or ""


def _volume_e2(market: _Listed) -> int:
    try:
        return parse_size_e2(bytes(market.volume_24h_fp).decode().strip('"'))
    except (MalformedFrame, UnicodeDecodeError):
        # It ranks last, and is recorded like any other.
        return 0


async def fetch_market_records(api_url: str, tickers: Sequence[str]) -> dict[str, bytes]:
    """
    The records of markets, ticker to JSON; markets that the exchange does not know are left out.

    Raises FeedLost when the exchange can't be reached or answers with anything but records.
    """
    records: dict[str, bytes] = {}
    async with httpx2.AsyncClient(headers={"Accept-Language": "en"}) as client:
        for first in range(0, len(tickers), TICKERS_MAX):
            some = tickers[first : first + TICKERS_MAX]
            query = {"tickers": ",".join(some), "limit": str(TICKERS_MAX)}
            page = await _get_page(client, f"{api_url}/markets", query, _Page)
            for record in page.markets:
                records[_read_market(record).ticker] = bytes(record)
    return records


async def fetch_record(api_url: str, path: str) -> bytes:
    """
    The JSON text at a path below the API's root, at most RECORD_BYTES_MAX long.

    Raises FeedLost when the exchange can't be reached or answers with anything but JSON.
    """
    async with httpx2.AsyncClient(headers={"Accept-Language": "en"}) as client:
        record = await _get_page(client, f"{api_url}{path}", {}, Raw)
    if len(record) > RECORD_BYTES_MAX:
        raise FeedLost(f"REST: the record at {path} has {len(record)} bytes, more than {RECORD_BYTES_MAX}")
    return bytes(record)


async def _get_page(
    client: httpx2.AsyncClient, url: str, query: Mapping[str, str], shape: type[_Shape]
) -> _Shape:
    with translated_errors(_feed_lost):
        with trio.fail_after(REQUEST_S_MAX):
            response = await client.get(url, params=query, timeout=None)
        if response.status_code == TOO_MANY_REQUESTS:
            raise FeedLost("REST: too many requests (HTTP 429)", retry_after_s=TOO_MANY_S)
        if not response.is_success:
            raise FeedLost(f"REST: answered with HTTP {response.status_code}")
        return msgspec.json.decode(response.content, type=shape)


def _read_market(record: Raw) -> _Market:
    with translated_errors(_feed_lost):
        return msgspec.json.decode(record, type=_Market)


def _feed_lost(error: BaseException) -> FeedLost | None:
    """The FeedLost that stands for an error of the network or an answer that is not understood."""
    match error:
        case FeedLost():
            return error
        case trio.TooSlowError():
            return FeedLost(f"REST: no answer within {REQUEST_S_MAX:g} s")
        case httpx2.HTTPError():
            return FeedLost(f"REST: {type(error).__name__} {error}".strip())
        case msgspec.MsgspecError():
            return FeedLost(f"REST: not a page of markets: {error}")
        case _:
            return None
