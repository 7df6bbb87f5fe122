"""
The JSON of the live stream: `connection`, `orderbook_snapshot`, `orderbook_delta` and `stats`.

Prices are cents and sizes contracts, written from the recorder's integers digit by digit: no float is in the
path of a price. Asks are derived from the other side's bids. Beyond the fields that existing clients read,
`orderbook_snapshot` says whether the book is the exchange's (`is_exact`) or why that is not known
(`unknown_cause`), and `stats` carries what an operator asks next.

Pure: state in, text out. It must not know who the clients are nor how text reaches them.
"""

from typing import Final

import msgspec
from attrs import frozen

from collector.observe.state import FeedPhase, RecorderState, SessionStats, SpoolStatus, as_ms
from collector.protocol.book import asks_of
from collector.protocol.facts import DeltaFact, SnapshotFact
from collector.protocol.messages import Levels
from collector.protocol.tracker import MarketState
from collector.protocol.units import PRICE_E4_MAX, format_cents, format_contracts, format_fixed
from collector.web.times import iso_utc

SESSION_ENDED: Final = "session_ended"
"""Why a book is unknown whose connection is gone, whatever its last message said."""
STATS_SESSIONS_MAX: Final = 20
"""Sessions that `stats` repeats each second; the status page has all that are remembered."""

_NULL: Final = msgspec.Raw(b"null")
_encode = msgspec.json.Encoder().encode


@frozen
class CurrentBook:
    """A market's newest book and the session it comes from."""

    session: SessionStats
    market: MarketState

    @property
    def unknown_cause(self) -> str | None:
        """Why the book is not known to be the exchange's; None when it is."""
        if self.session.status != "active":
            return SESSION_ENDED
        return self.market.unknown_cause

    @property
    def is_exact(self) -> bool:
        """Whether the book is the exchange's right now."""
        return self.unknown_cause is None


def current_books(state: RecorderState) -> dict[str, CurrentBook]:
    """The newest book of every market that has one, as `RecorderState.market` finds it for one."""
    books: dict[str, CurrentBook] = {}
    for session in reversed(state.sessions):
        for ticker, market in session.tracker.markets.items():
            if ticker not in books and (market.snapshots or market.deltas):
                books[ticker] = CurrentBook(session, market)
    return books


def current_book(state: RecorderState, ticker: str) -> CurrentBook | None:
    """The newest book of one market."""
    for session in reversed(state.sessions):
        market = session.tracker.markets.get(ticker)
        if market is not None and (market.snapshots or market.deltas):
            return CurrentBook(session, market)
    return None


class BookData(msgspec.Struct):
    """The data of `orderbook_snapshot`."""

    market_ticker: str
    timestamp_ms: int
    sequence_number: int
    yes_bids: msgspec.Raw
    yes_asks: msgspec.Raw
    no_bids: msgspec.Raw
    no_asks: msgspec.Raw
    yes_mid_price: msgspec.Raw
    no_mid_price: msgspec.Raw
    is_exact: bool
    unknown_cause: str | None


class DeltaData(msgspec.Struct):
    """The data of `orderbook_delta`."""

    market_ticker: str
    timestamp_ms: int
    sequence_number: int
    side: str
    action: str
    price: msgspec.Raw
    old_size: msgspec.Raw
    new_size: msgspec.Raw


@frozen
class LiveMessages:
    """The hub's encoder: texts of the live stream, from facts and from the current state."""

    state: RecorderState

    def delta(self, fact: DeltaFact) -> str:
        """A change as text. Its time is the exchange's, or the receive time when that sent none."""
        timestamp_ms = fact.timestamp_ms if fact.timestamp_ms is not None else fact.received_us // 1000
        data = DeltaData(
            fact.market_ticker,
            timestamp_ms,
            fact.sequence_number,
            fact.side,
            fact.action,
            _number(format_cents(fact.price_e4)),
            _number(format_contracts(fact.old_size_e2)),
            _number(format_contracts(fact.new_size_e2)),
        )
        return _text("orderbook_delta", data)

    def snapshot(self, fact: SnapshotFact) -> str:
        """A snapshot of the exchange as text: exact, and timed by its arrival, as it carries no time."""
        data = _book_data(
            fact.market_ticker,
            fact.received_us // 1000,
            fact.sequence_number,
            (fact.yes_bids, fact.no_bids),
            None,
        )
        return _text("orderbook_snapshot", data)

    def current(self, ticker: str) -> str | None:
        """The book as it is now as text; None when the market has none."""
        book = current_book(self.state, ticker)
        return None if book is None else _text("orderbook_snapshot", book_data(book))


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
    data = {"markets": tickers, "status": "connected", "version": state.code_version}
    return _text("connection", data)


def error_text(message: str) -> str:
    """What a client is told before its connection is closed for its own mistake."""
    return _text("error", {"message": message})


def stats_text(state: RecorderState, clients: int) -> str:
    """The `stats` message."""
    return _text("stats", stats(state, clients))


def stats(state: RecorderState, clients: int) -> dict[str, object]:
    """The recorder's own numbers. `last_update_ms` is when the newest frame came, null before the first."""
    now_us = state.clock()
    session = state.current_session
    last_message_us = _newest_message_us(state)
    return {
        "session_id": "" if session is None or session.session_id is None else str(session.session_id),
        "session_status": session_status(state),
        "markets_active": count_exact_markets(state),
        "snapshots_processed": state.received.snapshots,
        "deltas_processed": state.received.deltas,
        "messages_per_second": round(state.messages_per_second, 2),
        "db_queue_size": sum(session.queued_frames for session in state.sessions),
        "uptime_seconds": max(0, now_us - state.started_us) // 1_000_000,
        "last_update_ms": None if last_message_us is None else last_message_us // 1000,
        "trades_processed": state.received.trades,
        "frames_received": state.received.total,
        "gaps": state.gaps,
        "rejects": state.received.rejects,
        "stales": state.received.stales,
        "rows_written": state.rows_written,
        "reconnections": count_reconnections(state),
        "sessions": [session_data(session) for session in list(state.sessions)[-STATS_SESSIONS_MAX:]],
        "write_ms_last": None if session is None else _rounded(session.write_ms_last),
        "write_ms_max": _write_ms_max(state),
        "ages_ms": {
            name: {"p50": ages.recent_ms(0.5), "p99": ages.recent_ms(0.99)}
            for name, ages in state.age_sums().items()
        },
        "growing_ages": growing_ages(state),
        "clock": clock_data(state),
        "audits": state.audits,
        "audit_mismatches": state.audit_mismatches,
        "spool": spool_data(state.spool),
        "message_age_ms": None if last_message_us is None else max(0, now_us - last_message_us) // 1000,
        "database": {
            "phase": state.store.phase.value,
            "reason": state.store.reason,
            "since": iso_utc(state.store.since_us),
        },
        "feeds": [
            {
                "name": feed.name,
                "phase": feed.phase.value,
                "reason": feed.reason,
                "since": iso_utc(feed.since_us),
                "markets": len(feed.market_tickers),
                "attempts": feed.attempts,
            }
            for feed in state.feeds
        ],
        "clients": clients,
        "is_simulated": state.is_simulated,
        "version": state.code_version,
        "environment": state.environment,
        "sample_rate": state.sample_rate,
        "markets_tracked": len(state.tickers),
        "stopping": state.stopping,
        "server_time_ms": now_us // 1000,
    }


def session_data(session: SessionStats) -> dict[str, object]:
    """One session's numbers; `id` is null until its row is written."""
    return {
        "id": session.session_id,
        "key": str(session.key),
        "feed": session.feed_name,
        "status": session.status,
        "end_reason": session.end_reason,
        "close_code": session.close_code,
        "started": iso_utc(session.started_us),
        "ended": None if session.ended_us is None else iso_utc(session.ended_us),
        "received": _counts(session),
        "frames_received": session.received.total,
        "frames_written": session.written.total,
        "queued": session.queued_frames,
        "rows_written": session.rows_written,
        "batches": session.batches,
        "gaps": session.gaps,
        "audits": session.audits,
        "audit_mismatches": session.audit_mismatches,
        "write_ms_last": _rounded(session.write_ms_last),
        "write_ms_max": _rounded(session.write_ms_max),
        "is_safe": session.is_safe,
    }


def growing_ages(state: RecorderState) -> list[dict[str, object]]:
    """The feeds whose messages get older and older."""
    return [
        {
            "feed": session.feed_name,
            "age_ms": as_ms(session.age_trend.age_us),
            "best_ms": as_ms(session.age_trend.best_us),
        }
        for session in state.sessions
        if session.status == "active" and session.age_trend.is_alarming
    ]


def clock_data(state: RecorderState) -> dict[str, object]:
    """How often the wall clock was set; the newest time and size are null before the first."""
    clock = state.wall_clock
    return {
        "steps": clock.steps,
        "last_step": iso_utc(clock.last_step_us) if clock.steps else None,
        "last_size_ms": as_ms(clock.last_size_us) if clock.steps else None,
    }


def spool_data(spool: SpoolStatus) -> dict[str, object]:
    """What waits on disk for the database."""
    return {
        "bytes": spool.bytes,
        "bytes_max": spool.bytes_max,
        "records": spool.records,
        "sessions": spool.sessions,
        "torn_records": spool.torn_records,
        "damaged_files": spool.damaged_files,
        "drained_records": spool.drained_records,
        "is_full": spool.is_full,
        "failure": spool.failure,
        "since": iso_utc(spool.since_us),
    }


def session_status(state: RecorderState) -> str:
    """`active` while a session is; otherwise what keeps the next one, or how the last one ended."""
    session = state.current_session
    if session is not None and session.status == "active":
        return "active"
    phases = {feed.phase for feed in state.feeds}
    if FeedPhase.REFUSED in phases:
        return "refused"
    if session is None or FeedPhase.CONNECTING in phases:
        return "connecting"
    return session.status


def count_exact_markets(state: RecorderState) -> int:
    """How many markets have an exact book in an active session."""
    return sum(session.tracker.exact_count() for session in state.sessions if session.status == "active")


def count_reconnections(state: RecorderState) -> int:
    """How often a connection was made again after its first time."""
    return sum(max(0, feed.connections - 1) for feed in state.feeds)


def _newest_message_us(state: RecorderState) -> int | None:
    times = [session.last_message_us for session in state.sessions if session.last_message_us is not None]
    return max(times, default=None)


def _write_ms_max(state: RecorderState) -> float | None:
    times = [session.write_ms_max for session in state.sessions if session.write_ms_max is not None]
    return _rounded(max(times, default=None))


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)


def _counts(session: SessionStats) -> dict[str, int]:
    counts = session.received
    return {
        "deltas": counts.deltas,
        "snapshots": counts.snapshots,
        "trades": counts.trades,
        "controls": counts.controls,
        "stales": counts.stales,
        "rejects": counts.rejects,
    }


def _book_data(
    ticker: str,
    timestamp_ms: int,
    sequence_number: int,
    bids: tuple[Levels, Levels],
    unknown_cause: str | None,
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


def _text(kind: str, data: object) -> str:
    return _encode({"type": kind, "data": data}).decode()
