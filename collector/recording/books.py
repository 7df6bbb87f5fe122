"""
A market's book at an instant, rebuilt from the recording.

From rows: the newest snapshot before the instant, and the deltas after it. Where retention has dropped those
rows: from the raw blocks of the session, folded anew. Times are microseconds since 1970 UTC.
"""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast

from attrs import frozen

from collector.errors import CollectorError
from collector.protocol.messages import Levels
from collector.protocol.tracker import FeedTracker, MarketState
from collector.recording.blocks import RecordedSession, fetch_batches, fetch_first_day, fetch_sessions
from collector.store.batch import DAY_US
from collector.store.connection import TrioConnection, translate_errors

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS_MIN: Final = 10**11
"""1973. A smaller whole number is one of seconds."""
_MS_MAX: Final = 10**14
"""Whole numbers below it are milliseconds (until the year 5138), others microseconds (from 1973 on)."""


NOT_RECORDED_YET: Final = "not_recorded_yet"
"""The cause behind the last message of a session without an end: nobody knows whether more will come."""
NO_SNAPSHOT_YET: Final = "no_snapshot_yet"
"""The cause in `rl_book_states` until a session's first snapshot of a market."""
OVERLAPPING_MAX: Final = 20
"""Of so many recorders at once the exact one is looked for; two is what a deployment brings."""
SILENT_US_MAX: Final = 300 * 1_000_000
"""By default no subscription of a living recorder is silent for so long: it is probed after a minute."""


class NoBook(CollectorError):  # noqa: N818 - a state of the recording
    """The recording has no book of that market at that instant; the message says why."""


@frozen
class RebuiltBook:
    """
    A book as of `at_us`. `unknown_cause` is None when it is exact.

    `sequence_number` and `as_of_us` are those of the last snapshot or delta in it. With a `sample_rate` above
    1 rows give the true book at that number, and not of what came between it and the instant.
    """

    market_ticker: str
    at_us: int
    session_id: int
    sequence_number: int
    as_of_us: int
    unknown_cause: str | None
    source: Literal["rows", "raw"]
    sample_rate: int
    yes_bids: Levels
    no_bids: Levels

    @property
    def is_exact(self) -> bool:
        """Whether it is known to have been the exchange's."""
        return self.unknown_cause is None


def parse_instant(text: str, now_us: int) -> int:
    """
    Microseconds since 1970 of an RFC 3339 time with its offset, of a whole number of milliseconds or
    microseconds since 1970, or of `now`. Raises ValueError, also for what has not come yet.
    """
    at_us = now_us if text == "now" else _parse_time(text)
    if at_us > now_us:
        raise ValueError("that has not come yet; `now` is the latest")
    return at_us


def _parse_time(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 18:
        number = int(text)
        if number < _MS_MIN:
            raise ValueError("whole numbers are milliseconds or microseconds since 1970, not seconds")
        return number * 1000 if number < _MS_MAX else number
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            "write it like 2026-01-31T12:00:00Z, as whole milliseconds since 1970, or now"
        ) from None
    if moment.tzinfo is None:
        raise ValueError("a time needs its offset, as in 2026-01-31T12:00:00Z")
    difference = moment - _EPOCH
    return (difference.days * 86_400 + difference.seconds) * 1_000_000 + difference.microseconds


async def rebuild_book(
    connection: TrioConnection, market_ticker: str, at_us: int, *, is_newest: bool = False
) -> RebuiltBook:
    """
    The book at that instant, in one state of the database.

    Of a session without an end nothing is known behind its last message: whoever asks for a later instant is
    told so, and with `is_newest` gets the book as of that message.

    Raises NoBook, NotProven, StoreUnavailable.
    """
    with translate_errors():
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return await _rebuild(connection, market_ticker, at_us, is_newest=is_newest)


@frozen
class _Candidate:
    """A session that may tell of the book: up to when, and why it is not exact; None when it is."""

    session: RecordedSession
    until_us: int
    unknown_cause: str | None


async def _rebuild(connection: TrioConnection, ticker: str, at_us: int, *, is_newest: bool) -> RebuiltBook:
    if is_newest:
        at_us = await _newest_instant(connection, ticker, at_us)
    candidates = await _fetch_candidates(connection, ticker, at_us)
    best = candidates[0]
    snapshot = await _newest_snapshot(connection, ticker, at_us, best.session.session_id)
    if best.unknown_cause is not None or snapshot is None:
        raw = await _best_from_raw(connection, candidates, ticker, at_us)
        if raw is not None and (raw.is_exact or snapshot is None):
            return raw
    if snapshot is None:
        snapshot = await _newest_snapshot(connection, ticker, at_us, None)
    if snapshot is None:
        raise NoBook(f"no snapshot of {ticker} had come by then")
    return await _from_rows(connection, best.session, ticker, at_us, snapshot, best.unknown_cause)


async def _newest_instant(connection: TrioConnection, ticker: str, now_us: int) -> int:
    """The last message of a session without an end; where the newest session has ended, now."""
    cursor = await connection.execute(
        "SELECT max(COALESCE(last_message_us, started_us)) FILTER (WHERE ended_us IS NULL), max(ended_us)"
        " FROM rl_orderbook_sessions WHERE market_tickers @> ARRAY[%s::text]",
        (ticker,),
    )
    row = await cursor.fetchone()
    last_us, ended_us = (None, None) if row is None else row
    if last_us is None or (ended_us is not None and last_us + SILENT_US_MAX < ended_us):
        return now_us
    return min(int(last_us), now_us)


async def _fetch_candidates(connection: TrioConnection, ticker: str, at_us: int) -> list[_Candidate]:
    """
    The sessions to believe at that instant, best first.

    Recorders may overlap: of those at work then, one whose book is exact comes first, then one whose book has
    begun, and among equals the one that began last. One without an end that has said nothing for
    SILENT_US_MAX may be dead, and gives way to what was recorded later. If none was at work, it is the one
    that was last. Raises NoBook.
    """
    cursor = await connection.execute(
        "SELECT session_id, COALESCE(ended_us <= %(at_us)s, false), ended_us IS NULL,"
        " COALESCE(end_reason, status), COALESCE(last_message_us, started_us),"
        " LEAST(COALESCE(ended_us, COALESCE(last_message_us, started_us) + %(silent_us)s), %(at_us)s)"
        " FROM rl_orderbook_sessions WHERE market_tickers @> ARRAY[%(ticker)s::text]"
        " AND started_us <= %(at_us)s ORDER BY 6 DESC, 2, started_us DESC, session_id DESC LIMIT %(limit)s",
        {"ticker": ticker, "at_us": at_us, "silent_us": SILENT_US_MAX, "limit": OVERLAPPING_MAX},
    )
    rows = await cursor.fetchall()
    if not rows:
        raise NoBook(await _why_none(connection, ticker))
    candidates: list[_Candidate] = []
    for session_id, is_over, is_open, ending, last_us, reach_us in rows:
        if (is_over, reach_us) != (rows[0][1], rows[0][5]):
            break
        until_us = min(at_us, last_us) if is_open else at_us
        cause = ending if is_over else await _unknown_cause(connection, session_id, ticker, until_us)
        if cause is None and until_us < at_us:
            cause = NOT_RECORDED_YET
        (session,) = await fetch_sessions(connection, session_id)
        candidates.append(_Candidate(session, until_us, cause))
    return sorted(
        candidates, key=lambda one: (one.unknown_cause is not None, one.unknown_cause == NO_SNAPSHOT_YET)
    )


async def _why_none(connection: TrioConnection, ticker: str) -> str:
    cursor = await connection.execute(
        "SELECT min(started_us) FROM rl_orderbook_sessions WHERE market_tickers @> ARRAY[%s::text]", (ticker,)
    )
    row = await cursor.fetchone()
    if row is None or row[0] is None:
        return f"there is no market {ticker} in this recording"
    return f"nothing is recorded of {ticker} before then: its first session began at {iso_us(row[0])}"


async def _newest_snapshot(
    connection: TrioConnection, ticker: str, at_us: int, session_id: int | None
) -> dict[str, Any] | None:
    """Of one session, or of any."""
    cursor = await connection.execute(
        "SELECT s.session_id, s.market_id, s.received_us, s.sequence_number, s.yes_bids, s.no_bids"
        " FROM rl_snapshot_rows s"
        " WHERE s.market_id = (SELECT market_id FROM rl_markets WHERE market_ticker = %s)"
        " AND s.received_us <= %s AND (%s::integer IS NULL OR s.session_id = %s)"
        " ORDER BY s.received_us DESC, s.sequence_number DESC LIMIT 1",
        (ticker, at_us, session_id, session_id),
    )
    row = await cursor.fetchone()
    names = ("session_id", "market_id", "received_us", "sequence_number", "yes_bids", "no_bids")
    return None if row is None else dict(zip(names, row, strict=True))


async def _from_rows(
    connection: TrioConnection,
    session: RecordedSession,
    ticker: str,
    at_us: int,
    snapshot: dict[str, Any],
    unknown_cause: str | None,
) -> RebuiltBook:
    cursor = await connection.execute(
        "SELECT is_yes, price_e4::integer, sum(delta_e2)::bigint, max(sequence_number), max(received_us)"
        " FROM rl_delta_rows WHERE session_id = %(session_id)s AND market_id = %(market_id)s"
        " AND received_us BETWEEN %(received_us)s AND %(at_us)s AND sequence_number > %(sequence_number)s"
        " GROUP BY is_yes, price_e4",
        {**snapshot, "yes_bids": None, "no_bids": None, "at_us": at_us},
    )
    sides = {True: _levels(snapshot["yes_bids"]), False: _levels(snapshot["no_bids"])}
    number, as_of_us = snapshot["sequence_number"], snapshot["received_us"]
    for is_yes, price_e4, delta_e2, last_number, last_us in await cursor.fetchall():
        side = sides[is_yes]
        side[price_e4] = side.get(price_e4, 0) + delta_e2
        number, as_of_us = max(number, last_number), max(as_of_us, last_us)
    return RebuiltBook(
        ticker, at_us, snapshot["session_id"], number, as_of_us,
        unknown_cause, "rows", session.sample_rate,
        _standing(sides[True]), _standing(sides[False]),
    )  # fmt: skip


async def _unknown_cause(connection: TrioConnection, session_id: int, ticker: str, at_us: int) -> str | None:
    """Of a session at work then, by the view under `rl_market_coverage`; None when the book is exact."""
    cursor = await connection.execute(
        "SELECT cause FROM rl_book_states WHERE session_id = %s AND market_ticker = %s AND from_us <= %s"
        " ORDER BY from_us DESC LIMIT 1",
        (session_id, ticker, at_us),
    )
    row = await cursor.fetchone()
    return NO_SNAPSHOT_YET if row is None else row[0]


def _ended_cause(session: RecordedSession, at_us: int) -> str | None:
    ended_us = session.row["ended_us"]
    if ended_us is None or at_us < ended_us:
        return None
    return str(session.row["end_reason"] or session.status)


async def _best_from_raw(
    connection: TrioConnection, candidates: list[_Candidate], ticker: str, at_us: int
) -> RebuiltBook | None:
    """Of sessions whose rows retention has dropped: the exact book, or else the first; None without any."""
    first_day = await fetch_first_day(connection, "rl_snapshot_rows")
    books: list[RebuiltBook] = []
    for candidate in candidates:
        session = candidate.session
        if first_day is not None and session.row["started_us"] // DAY_US >= first_day:
            continue
        if await _newest_snapshot(connection, ticker, at_us, session.session_id) is not None:
            continue
        with suppress(NoBook):
            is_behind = candidate.until_us < at_us
            books.append(await _from_raw(connection, session, ticker, at_us, is_behind=is_behind))
    return next((book for book in books if book.is_exact), books[0] if books else None)


async def _from_raw(
    connection: TrioConnection, session: RecordedSession, ticker: str, at_us: int, *, is_behind: bool
) -> RebuiltBook:
    """Fold the session's frames up to the instant. Takes as long as reading them takes."""
    tracker = FeedTracker.of_markets(session.first_tickers)
    batches = 0
    is_over = False
    while not is_over and (page := await fetch_batches(connection, session.session_id, batches)):
        for batch in page:
            frames = batch.frames()
            tracker.process(frame for frame in frames if frame.received_us <= at_us)
            is_over = is_over or any(frame.received_us > at_us for frame in frames)
            batches = batch.number
            if is_over:
                break
    market = tracker.markets.get(ticker, MarketState(ticker))
    if not market.snapshots:
        raise NoBook(f"no snapshot of {ticker} had come by then in session {session.session_id}")
    behind = NOT_RECORDED_YET if is_behind else None
    return RebuiltBook(
        ticker, at_us, session.session_id, market.sequence_number, market.received_us,
        _ended_cause(session, at_us) or market.unknown_cause or behind, "raw", 1,
        market.book.yes_bids, market.book.no_bids,
    )  # fmt: skip


def _levels(bids: Any) -> Levels:  # noqa: ANN401 - a jsonb column
    return {int(price): size for price, size in cast("dict[str, int]", bids).items()}


def _standing(side: Levels) -> Levels:
    return {price_e4: side[price_e4] for price_e4 in sorted(side) if side[price_e4]}


def iso_us(time_us: int) -> str:
    """A time as RFC 3339, in UTC and to the microsecond."""
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(microsecond=time_us % 1_000_000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
