"""
The live stream's books: `connection`, `orderbook_snapshot`, `orderbook_delta` and `error`, as text.

Prices are cents and sizes contracts, written from the recorder's integers digit by digit: no float is in the
path of a price. Asks are derived from the other side's bids. `schema` says what the messages are, and `stats`
makes the one that has the numbers.

Pure: state in, text out. It must not know who the clients are nor how text reaches them.
"""

from typing import Final

import msgspec
from attrs import frozen

from collector.facts import Cause, DeltaFact, SnapshotFact, asks_of
from collector.observe import RecorderState
from collector.protocol import PRICE_E4_MAX, Levels, format_cents, format_contracts, format_fixed
from collector.web._current_books import CurrentBook, current_book
from collector.web._schema import (
    BookData,
    ConnectionData,
    ConnectionMessage,
    DeltaData,
    DeltaMessage,
    ErrorData,
    ErrorMessage,
    LiveMessage,
    SnapshotMessage,
)
from collector.web._stats import stats_text

_NULL: Final = msgspec.Raw(b"null")
_encode = msgspec.json.Encoder().encode


@frozen
class LiveMessages:
    """The hub's encoder: texts of the live stream, from facts and from the current state."""

    state: RecorderState

    def delta(self, fact: DeltaFact) -> str:
        """A change as text. Its time is the exchange's, or the receive time when that sent none."""
        timestamp_ms = fact.timestamp_ms if fact.timestamp_ms is not None else fact.received_us // 1000
        data = DeltaData(
            market_ticker=fact.market_ticker,
            timestamp_ms=timestamp_ms,
            sequence_number=fact.sequence_number,
            side=fact.side,
            action=fact.action,
            price=_number(format_cents(fact.price_e4)),
            old_size=_number(format_contracts(fact.old_size_e2)),
            new_size=_number(format_contracts(fact.new_size_e2)),
        )
        return _text(DeltaMessage(data))

    def snapshot(self, fact: SnapshotFact) -> str:
        """A snapshot of the exchange as text: exact, and timed by its arrival, as it carries no time."""
        data = _book_data(
            fact.market_ticker,
            fact.received_us // 1000,
            fact.sequence_number,
            (fact.yes_bids, fact.no_bids),
            None,
        )
        return _text(SnapshotMessage(data))

    def stats(self, clients: int) -> str:
        """The recorder's numbers as text."""
        return stats_text(self.state, clients)

    def current(self, ticker: str) -> str | None:
        """
        The book as it is now as text; None when the market has none yet. Of a market that is recorded no
        more, an empty book that says so.
        """
        book = current_book(self.state, ticker)
        if book is not None:
            return _text(SnapshotMessage(book_data(book)))
        if ticker in self.state.tickers:
            return None
        gone = _book_data(ticker, self.state.clock() // 1000, 0, ({}, {}), Cause.UNFOLLOWED)
        return _text(SnapshotMessage(gone))


def book_data(book: CurrentBook) -> BookData:
    """A current book, timed by its last change."""
    market = book.market
    timestamp_ms = market.timestamp_ms if market.timestamp_ms is not None else market.received_us // 1000
    return _book_data(
        market.ticker,
        timestamp_ms,
        market.sequence_number,
        (market.book.yes_bids, market.book.no_bids),
        book.unknown_cause,
    )


def connection_text(state: RecorderState, markets: frozenset[str] | None = None) -> str:
    """The first message to a client: the markets that it will hear of."""
    tickers = [ticker for ticker in state.tickers if markets is None or ticker in markets]
    return _text(ConnectionMessage(ConnectionData(tickers, "connected", state.code_version)))


def error_text(message: str) -> str:
    """What a client is told before its connection is closed for its own mistake."""
    return _text(ErrorMessage(ErrorData(message)))


def _book_data(
    ticker: str,
    timestamp_ms: int,
    sequence_number: int,
    bids: tuple[Levels, Levels],
    unknown_cause: Cause | None,
) -> BookData:
    yes_bids, no_bids = bids
    return BookData(
        ticker,
        timestamp_ms,
        sequence_number,
        yes_bids=_levels(yes_bids, best_is_highest=True),
        yes_asks=_levels(asks_of(no_bids), best_is_highest=False),
        no_bids=_levels(no_bids, best_is_highest=True),
        no_asks=_levels(asks_of(yes_bids), best_is_highest=False),
        yes_mid_price=_mid_price(yes_bids, no_bids),
        no_mid_price=_mid_price(no_bids, yes_bids),
        is_exact=unknown_cause is None,
        unknown_cause=unknown_cause,
    )


def _levels(levels: Levels, *, best_is_highest: bool) -> msgspec.Raw:
    pairs = ",".join(
        f'"{format_cents(price_e4)}":{format_contracts(levels[price_e4])}'
        for price_e4 in sorted(levels, reverse=best_is_highest)
    )
    return msgspec.Raw(f"{{{pairs}}}")


def _mid_price(bids: Levels, bids_of_other_side: Levels) -> msgspec.Raw:
    bid_e4, other_e4 = best_bid_e4(bids), best_bid_e4(bids_of_other_side)
    if bid_e4 is None or other_e4 is None:
        return _NULL
    # The middle of two prices can lie on half a 1/10,000: five times their sum counts 1/100,000 dollar.
    return _number(format_fixed((bid_e4 + PRICE_E4_MAX - other_e4) * 5, 3))


def best_bid_e4(bids: Levels) -> int | None:
    """The highest price at which anything rests."""
    return max((price_e4 for price_e4, size_e2 in bids.items() if size_e2 > 0), default=None)


def _number(text: str) -> msgspec.Raw:
    return msgspec.Raw(text)


def _text(message: LiveMessage) -> str:
    return _encode(message).decode()
