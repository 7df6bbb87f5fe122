"""
The JSON for operators: everything that the recorder knows about itself, per market too.

Secrets are not in the recorder's state, so they can't be here. Pure.
"""

import msgspec

from collector.observe import RecorderState, SessionStats, as_ms, quantile_us
from collector.protocol import PRICE_E4_MAX, format_cents
from collector.web._book_messages import best_bid_e4
from collector.web._current_books import CurrentBook, current_books
from collector.web._health import health_json
from collector.web._stats import gap_data, reject_data, session_data, stats
from collector.web._times import iso_utc

REJECT_CHARS_MAX = 500
"""Enough to see what a frame was; the database has it whole."""


def status_json(state: RecorderState, clients: int, clients_ever: int, dropped: int) -> dict[str, object]:
    """The whole status page."""
    now_us = state.clock()
    books = current_books(state)
    _, health = health_json(state, now_us)
    store = state.store
    return {
        "time": iso_utc(now_us),
        "started": iso_utc(state.started_us),
        "health": health,
        "stats": stats(state, clients),
        "store": {
            "phase": store.phase.value,
            "since": iso_utc(store.since_us),
            "reason": store.reason,
            "partitions_until": store.partitions_until,
            "partitions_missing": store.partitions_missing,
            "clock_ahead_s": store.clock_ahead_us / 1e6,
            "retention_hold": store.retention_hold,
            "write_failures": store.write_failures,
        },
        "feeds": [
            {
                "name": feed.name,
                "phase": feed.phase.value,
                "since": iso_utc(feed.since_us),
                "reason": feed.reason,
                "attempts": feed.attempts,
                "connections": feed.connections,
                "ever_connected": feed.ever_connected,
                "markets": list(feed.market_tickers),
            }
            for feed in state.feeds
        ],
        "sessions": [
            msgspec.structs.asdict(session_data(session)) | {"ages_ms": _ages_data(session)}
            for session in state.sessions
        ],
        "markets": [market_data(ticker, books.get(ticker), now_us) for ticker in state.tickers],
        "recent_gaps": [gap_data(gap) for gap in state.recent_gaps],
        "recent_rejects": [reject_data(reject, REJECT_CHARS_MAX) for reject in state.recent_rejects],
        "unknown_to_us": _unknowns(state),
        "live_stream": {"clients": clients, "clients_ever": clients_ever, "messages_dropped": dropped},
        "event_loop": {"lag_ms": round(state.loop_lag_ms, 1)},
        "stopping": state.stopping,
    }


def market_data(ticker: str, book: CurrentBook | None, now_us: int) -> dict[str, object]:
    """One market's line: its best prices in cents, as text so that no reader rounds them, and its counts."""
    if book is None:
        return {"ticker": ticker, "has_book": False, "is_exact": False, "unknown_cause": "no_snapshot_yet"}
    market = book.market
    yes_e4, no_e4 = best_bid_e4(market.book.yes_bids), best_bid_e4(market.book.no_bids)
    return {
        "ticker": ticker,
        "has_book": True,
        "is_exact": book.is_exact,
        "unknown_cause": book.unknown_cause,
        "feed": book.session.feed_name,
        "session_id": book.session.session_id,
        "sequence_number": market.sequence_number,
        "yes_bid": None if yes_e4 is None else format_cents(yes_e4),
        "yes_ask": None if no_e4 is None else format_cents(PRICE_E4_MAX - no_e4),
        "yes_levels": len(market.book.yes_bids),
        "no_levels": len(market.book.no_bids),
        "snapshots": market.snapshots,
        "deltas": market.deltas,
        "trades": market.trades,
        "last_change": iso_utc(market.received_us),
        "age_ms": max(0, now_us - market.received_us) // 1000,
    }


def _ages_data(session: SessionStats) -> dict[str, object]:
    """A session's message ages: quantiles in milliseconds, of its whole time and of the last minute."""
    found: dict[str, object] = {}
    for name, histogram in session.ages.by_name.items():
        every, recent = histogram.all(), histogram.recent()
        found[name] = {
            "messages": sum(every),
            "ahead": histogram.ahead,
            "p50": as_ms(quantile_us(every, 0.5)),
            "p99": as_ms(quantile_us(every, 0.99)),
            "p50_last_minute": as_ms(quantile_us(recent, 0.5)),
            "p99_last_minute": as_ms(quantile_us(recent, 0.99)),
        }
    return found


def _unknowns(state: RecorderState) -> dict[str, object]:
    """What the exchange says that this program does not know, over the sessions that are remembered."""
    types: dict[str, int] = {}
    fields: dict[str, int] = {}
    for session in state.sessions:
        for totals, counter in (
            (types, session.tracker.unknown_types),
            (fields, session.tracker.unknown_fields),
        ):
            for name, count in counter.items():
                totals[name] = totals.get(name, 0) + count
    return {"message_types": types, "fields": fields}
