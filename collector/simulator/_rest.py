"""
The exchange's REST endpoints that a recorder needs, over the markets on the floor. All are public.

A Quart-Trio application; the server runs it as a child of its nursery. Only reads: nothing that is asked
here changes a book or starts a tape.
"""

import typing

import attrs
import msgspec
import quart
import quart_trio
import trio

from collector.clock import WallClock
from collector.simulator._books import DOLLAR_E4, format_price, format_size, levels_text
from collector.simulator._flow import rfc3339
from collector.simulator._markets import Floor, Market

API_PATH = "/trade-api/v2"
MARKETS_PAGE = (100, 1000)
TRADES_PAGE = (100, 1000)
ORDERBOOKS_MAX = 100
STRUCTURES = {100: "linear_cent", 10: "deci_cent", 1: "center_centi_edge_centi_cent"}
# Who filters by status asks with a word of its own for what the records call otherwise.
STATUS_FILTERS = {
    "unopened": "initialized", "open": "active", "paused": "inactive", "closed": "closed",
    "settled": "finalized",
}  # fmt: skip


@attrs.frozen
class Hours:
    """When the served markets opened, and when they close if nothing closes them before."""

    open_us: int
    close_us: int


class BadRequest(Exception):  # noqa: N818 - an answer, not a failure
    """The query makes no sense; the message says which part."""


def event_ticker(ticker: str) -> str:
    """Name the event of a market: its ticker without the last part, `SIM` for `SIM-0001`."""
    return ticker.rpartition("-")[0] or ticker


def series_ticker(ticker: str) -> str:
    """Name the series of a market: the first part of its ticker."""
    return ticker.partition("-")[0]


def market_record(market: Market, hours: Hours) -> dict[str, object]:
    """Write the record of a market as REST shows it at this moment."""
    depth = market.book.depth()
    yes_bid = depth.yes[-1] if depth.yes else (0, 0)
    no_bid = depth.no[-1] if depth.no else (0, 0)
    return {
        "ticker": market.ticker,
        "event_ticker": event_ticker(market.ticker),
        "market_type": "binary",
        "title": f"Simulated market {market.ticker}",
        "yes_sub_title": "Yes",
        "no_sub_title": "No",
        "status": market.status,
        "result": "",
        "open_time": rfc3339(hours.open_us),
        "close_time": rfc3339(hours.close_us),
        "expected_expiration_time": rfc3339(hours.close_us),
        "latest_expiration_time": rfc3339(hours.close_us),
        "created_time": rfc3339(hours.open_us),
        "updated_time": rfc3339(hours.open_us),
        "yes_bid_dollars": format_price(yes_bid[0]),
        "yes_bid_size_fp": format_size(yes_bid[1]),
        "yes_ask_dollars": format_price(DOLLAR_E4 - no_bid[0]),
        "yes_ask_size_fp": format_size(no_bid[1]),
        "no_bid_dollars": format_price(no_bid[0]),
        "no_ask_dollars": format_price(DOLLAR_E4 - yes_bid[0]),
        "last_price_dollars": format_price(yes_bid[0]),
        "volume_fp": format_size(market.volume_e2),
        "volume_24h_fp": format_size(market.volume_e2),
        "open_interest_fp": format_size(market.volume_e2 // 2),
        "notional_value_dollars": "1.0000",
        "price_level_structure": STRUCTURES[market.tick_e4],
        "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": format_price(market.tick_e4)}],
        "settlement_timer_seconds": 1,
        "can_close_early": True,
        "exchange_index": 0,
        "rules_primary": "",
        "rules_secondary": "",
    }


def book_record(market: Market, levels_max: int) -> dict[str, object]:
    """Write a book as REST shows it: both keys are there, ascending, the best level last."""
    depth = market.book.depth()
    return {
        "yes_dollars": levels_text(depth.yes[-levels_max:] if levels_max else depth.yes),
        "no_dollars": levels_text(depth.no[-levels_max:] if levels_max else depth.no),
    }


def trade_record(msg: bytes) -> dict[str, object]:
    """Write a trade message as REST shows it."""
    trade = typing.cast("dict[str, typing.Any]", msgspec.json.decode(msg))
    kept = (
        "trade_id",
        "count_fp",
        "yes_price_dollars",
        "no_price_dollars",
        "taker_side",
        "taker_outcome_side",
        "taker_book_side",
    )
    at_ms = int(trade.get("ts_ms") or int(trade.get("ts", 0)) * 1000)
    return {
        "ticker": trade.get("market_ticker", ""),
        **{name: trade[name] for name in kept if name in trade},
        "created_time": rfc3339(at_ms * 1000),
        "is_block_trade": bool(trade.get("is_block_trade", False)),
    }


def page(rows: list[typing.Any], cursor: str, limit: int) -> tuple[list[typing.Any], str]:
    """Return one page of rows and the cursor of the next; an empty cursor is the end."""
    if cursor and not cursor.isdecimal():
        raise BadRequest("invalid cursor")
    start = int(cursor or 0)
    end = start + limit
    return rows[start:end], str(end) if end < len(rows) else ""


def choose_markets(markets: typing.Iterable[Market], query: typing.Mapping[str, str]) -> list[Market]:
    """Filter markets as `GET /markets` does."""
    status = query.get("status", "")
    if status and status not in STATUS_FILTERS:
        raise BadRequest("invalid status filter")
    tickers = set(filter(None, query.get("tickers", "").split(",")))
    event, series = query.get("event_ticker", ""), query.get("series_ticker", "")
    return [
        market
        for market in markets
        if (not tickers or market.ticker in tickers)
        and (not event or event_ticker(market.ticker) == event)
        and (not series or series_ticker(market.ticker) == series)
        and (not status or STATUS_FILTERS[status] == market.status)
        and query.get("mve_filter") != "only"
    ]


def _limit(query: typing.Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or int(text) > most:
        raise BadRequest(f"{name} must lie between 0 and {most}")
    return int(text)


def _json(content: object, status: int = 200) -> quart.Response:
    return quart.Response(msgspec.json.encode(content), status=status, content_type="application/json")


def _not_found() -> quart.Response:
    return _json({"error": {"code": "not_found", "message": "not found"}}, 404)


def build_rest_app(floor: Floor, hours: Hours, clock: WallClock) -> quart_trio.QuartTrio:
    """Build the application over a floor."""
    app = quart_trio.QuartTrio("simulated-exchange")
    _add_market_routes(app, floor, hours)
    _add_event_routes(app, floor, hours)
    _add_exchange_routes(app, clock)

    @app.errorhandler(BadRequest)
    async def refuse(error: BadRequest) -> quart.Response:
        await trio.lowlevel.checkpoint()
        return _json({"error": {"code": "bad_request", "message": str(error)}}, 400)

    @app.errorhandler(404)
    async def miss(_error: Exception) -> quart.Response:
        await trio.lowlevel.checkpoint()
        return _not_found()

    # The decorators keep the handlers; naming them says that they are used.
    assert refuse is not None
    assert miss is not None
    return app


def _add_route(app: quart_trio.QuartTrio, rule: str, answer: typing.Callable[..., quart.Response]) -> None:
    """Let a plain function answer a path, in the event loop: the floor belongs to its tasks."""

    async def view(**values: str) -> quart.Response:
        await trio.lowlevel.checkpoint()
        return answer(**values)

    app.add_url_rule(rule, endpoint=rule, view_func=view)


def _add_market_routes(app: quart_trio.QuartTrio, floor: Floor, hours: Hours) -> None:
    def list_markets() -> quart.Response:
        query = quart.request.args
        chosen = choose_markets(floor.markets.values(), query)
        limit = _limit(query, "limit", *MARKETS_PAGE) or MARKETS_PAGE[0]
        rows, cursor = page(chosen, query.get("cursor", ""), limit)
        return _json({"markets": [market_record(market, hours) for market in rows], "cursor": cursor})

    def show_market(ticker: str) -> quart.Response:
        market = floor.markets.get(ticker)
        return _not_found() if market is None else _json({"market": market_record(market, hours)})

    def show_orderbook(ticker: str) -> quart.Response:
        market = floor.markets.get(ticker)
        depth = _limit(quart.request.args, "depth", 0, 100)
        return _not_found() if market is None else _json({"orderbook_fp": book_record(market, depth)})

    def list_orderbooks() -> quart.Response:
        tickers = quart.request.args.getlist("tickers")
        if not tickers or len(tickers) > ORDERBOOKS_MAX:
            raise BadRequest(f"tickers: between 1 and {ORDERBOOKS_MAX} are needed")
        found = [floor.markets[ticker] for ticker in tickers if ticker in floor.markets]
        books = [{"ticker": market.ticker, "orderbook_fp": book_record(market, 0)} for market in found]
        return _json({"orderbooks": books})

    def list_trades() -> quart.Response:
        query = quart.request.args
        ticker = query.get("ticker", "")
        markets = [floor.markets[ticker]] if ticker in floor.markets else list(floor.markets.values())
        if ticker and ticker not in floor.markets:
            markets = []
        trades = [trade_record(msg) for market in markets for msg in reversed(market.trades)]
        limit = _limit(query, "limit", *TRADES_PAGE) or TRADES_PAGE[0]
        rows, cursor = page(trades, query.get("cursor", ""), limit)
        return _json({"trades": rows, "cursor": cursor})

    _add_route(app, f"{API_PATH}/markets", list_markets)
    _add_route(app, f"{API_PATH}/markets/trades", list_trades)
    _add_route(app, f"{API_PATH}/markets/orderbooks", list_orderbooks)
    _add_route(app, f"{API_PATH}/markets/<ticker>", show_market)
    _add_route(app, f"{API_PATH}/markets/<ticker>/orderbook", show_orderbook)


def _add_event_routes(app: quart_trio.QuartTrio, floor: Floor, hours: Hours) -> None:
    def show_event(ticker: str) -> quart.Response:
        markets = [market for market in floor.markets.values() if event_ticker(market.ticker) == ticker]
        if not markets:
            return _not_found()
        event = {
            "event_ticker": ticker,
            "series_ticker": series_ticker(ticker),
            "title": f"Simulated event {ticker}",
            "sub_title": "",
            "mutually_exclusive": False,
            "category": "Simulation",
            "exchange_index": 0,
        }
        return _json({"event": event, "markets": [market_record(market, hours) for market in markets]})

    _add_route(app, f"{API_PATH}/events/<ticker>", show_event)


def _add_exchange_routes(app: quart_trio.QuartTrio, clock: WallClock) -> None:
    def show_status() -> quart.Response:
        indexes = [{"exchange_index": 0, "exchange_active": True, "trading_active": True}]
        return _json(
            {
                "exchange_active": True,
                "trading_active": True,
                "exchange_estimated_resume_time": None,
                "exchange_index_statuses": indexes,
                "server_time": rfc3339(clock()),
            }
        )

    def show_schedule() -> quart.Response:
        return _json({"schedule": {"standard_hours": [], "maintenance_windows": []}})

    _add_route(app, f"{API_PATH}/exchange/status", show_status)
    _add_route(app, f"{API_PATH}/exchange/schedule", show_schedule)
