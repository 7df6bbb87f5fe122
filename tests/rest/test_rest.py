"""What is open, page by page, from an exchange that is not always ready to tell."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import hypercorn
import hypercorn.trio
import pytest
import trio
from quart import Response, request
from quart_trio import QuartTrio

from collector.errors import FeedLost
from collector.protocol import OpenMarket
from collector.rest import _rest as rest
from collector.rest import fetch_open_markets


@asynccontextmanager
async def exchange(answer: Callable[[str], tuple[int, str]]) -> AsyncGenerator[str]:
    """A REST API that answers each request for markets by its cursor, with a status and a body."""
    app = QuartTrio(__name__)

    @app.get("/markets")
    async def markets() -> Response:  # pyright: ignore[reportUnusedFunction]
        await trio.lowlevel.checkpoint()
        status, body = answer(request.args.get("cursor", ""))
        return Response(body, status, content_type="application/json")

    config = hypercorn.Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    serve: Any = hypercorn.trio.serve  # pyright: ignore[reportUnknownMemberType]
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(partial(serve, app, config, shutdown_trigger=trio.sleep_forever))
        yield url
        nursery.cancel_scope.cancel()


def page(*markets: str, cursor: str = "") -> str:
    return f'{{"markets":[{",".join(markets)}],"cursor":"{cursor}"}}'


def market(ticker: str, volume: str = '"1.00"') -> str:
    return f'{{"ticker":"{ticker}","volume_24h_fp":{volume},"title":"whatever"}}'


async def test_all_pages_are_read_and_odd_volumes_rank_last() -> None:
    """A volume that is a number, missing or nonsense costs a market its rank, and nobody the look."""
    pages = {
        "": page(market("A", '"12.50"'), market("B", "7.5"), cursor="x"),
        "x": page(market("C", "null"), '{"ticker":"D"}', market("E", '"nonsense"')),
    }
    async with exchange(lambda cursor: (200, pages[cursor])) as url:
        assert await fetch_open_markets(url) == [
            OpenMarket("A", 1250), OpenMarket("B", 750), OpenMarket("C", 0), OpenMarket("D", 0),
            OpenMarket("E", 0),
        ]  # fmt: skip


async def test_page_is_asked_for_again_when_the_exchange_wants_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was read before it is not thrown away."""
    monkeypatch.setattr(rest, "PAGE_PAUSE_S", 0.01)
    asked: list[str] = []

    def answer(cursor: str) -> tuple[int, str]:
        asked.append(cursor)
        if cursor == "x" and asked.count("x") < 3:
            return 429, '{"error":"too many requests"}'
        return 200, page(market("B")) if cursor else page(market("A"), cursor="x")

    async with exchange(answer) as url:
        assert [found.ticker for found in await fetch_open_markets(url)] == ["A", "B"]
    assert asked == ["", "x", "x", "x"]


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (500, "", "HTTP 500"),
        (200, "<html>", "not a page of markets"),
        (200, page(market("A"), cursor="same"), "go round in circles"),
    ],
)
async def test_look_that_can_not_be_finished_is_told(status: int, body: str, why: str) -> None:
    async with exchange(lambda _cursor: (status, body)) as url:
        with pytest.raises(FeedLost, match=why):
            await fetch_open_markets(url)
