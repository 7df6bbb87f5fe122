"""
A market's book at an instant, rebuilt from the recording.

From rows: the newest snapshot before the instant, and the deltas after it. Where retention has dropped those
rows: from the raw blocks of the session. Times are microseconds since 1970 UTC.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Literal

from attrs import frozen

from collector.database import (
    fetch_changes,
    fetch_dropped_days,
    fetch_first_start,
    fetch_newest_message,
    fetch_newest_snapshot,
    fetch_recording_sessions,
    fetch_tracker_state,
    fetch_unknown_cause,
    is_proven_empty,
    read_only,
)
from collector.errors import CollectorError
from collector.facts import Cause, FeedTracker, MarketState
from collector.postgres import TrioConnection
from collector.protocol import Levels
from collector.recording._session_reader import (
    NotProven,
    RecordedSession,
    batch_pages,
    fetch_sessions,
    read_opening,
    read_state,
)
from collector.storage import DAY_US, SNAPSHOT, fold_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS_MIN: Final = 10**11
"""1973. A smaller whole number is one of seconds."""
_MS_MAX: Final = 10**14
"""Whole numbers below it are milliseconds (until the year 5138), others microseconds (from 1973 on)."""


OVERLAPPING_MAX: Final = 20
"""Maximum number of overlapping sessions to consider: a deployment brings two recorders."""
SILENT_US_MAX: Final = 300 * 1_000_000
"""
Above the longest silence of a living recorder: by default a subscription is probed after 60 s.
"""


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
    session_key: str
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
    Parse the TIME argument of a command into microseconds since 1970.

    `text` is an RFC 3339 time with its offset, a whole number of milliseconds or microseconds since 1970, or
    `now`. Raises ValueError for another form, and for a time in the future.
    """
    at_us = now_us if text == "now" else _parse_time(text)
    if at_us > now_us:
        raise ValueError("TIME is in the future; use `now`")
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
    Return the book of a market at an instant, read in one state of the database.

    After the last message of a session that has not ended, nothing is known: for a later instant the book is
    unknown, with cause `not_recorded_yet`. With `is_newest` the book is as of that message instead.

    Raises NoBook, NotProven, StoreUnavailable.
    """
    async with read_only(connection):
        return await _rebuild(connection, market_ticker, at_us, is_newest=is_newest)


@frozen
class _Candidate:
    """A session that can give the book as of `until_us`. `unknown_cause` is None when that book is exact."""

    session: RecordedSession
    until_us: int
    unknown_cause: str | None


async def _rebuild(connection: TrioConnection, ticker: str, at_us: int, *, is_newest: bool) -> RebuiltBook:
    if is_newest:
        at_us = await _newest_instant(connection, ticker, at_us)
    candidates, earlier = await _fetch_candidates(connection, ticker, at_us)
    best = candidates[0]
    snapshot = await fetch_newest_snapshot(connection, ticker, at_us, best.session.session_id)
    if best.unknown_cause is not None or snapshot is None:
        raw = await _best_from_raw(connection, candidates, ticker, at_us)
        if raw is not None and (raw.is_exact or snapshot is None):
            return raw
    if snapshot is None:
        snapshot = await fetch_newest_snapshot(connection, ticker, at_us, None)
    if snapshot is None:
        return await _first_from_raw(connection, earlier, ticker, at_us)
    changes = await fetch_changes(connection, snapshot, at_us)
    levels = {True: _levels(snapshot.yes_bids), False: _levels(snapshot.no_bids)}
    for change in changes:
        side = levels[change.is_yes]
        side[change.price_e4] = side.get(change.price_e4, 0) + change.delta_e2
    return RebuiltBook(
        market_ticker=ticker,
        at_us=at_us,
        session_id=snapshot.session_id,
        session_key=snapshot.session_key,
        sequence_number=max((snapshot.sequence_number, *(change.sequence_number for change in changes))),
        as_of_us=max((snapshot.received_us, *(change.received_us for change in changes))),
        unknown_cause=best.unknown_cause,
        source="rows",
        sample_rate=best.session.sample_rate,
        yes_bids=_resting(levels[True]),
        no_bids=_resting(levels[False]),
    )


async def _newest_instant(connection: TrioConnection, ticker: str, now_us: int) -> int:
    """The last message of a session without an end; where the newest session has ended, now."""
    last_us, ended_us = await fetch_newest_message(connection, ticker)
    if last_us is None or (ended_us is not None and last_us + SILENT_US_MAX < ended_us):
        return now_us
    return min(last_us, now_us)


async def _fetch_candidates(
    connection: TrioConnection, ticker: str, at_us: int
) -> tuple[list[_Candidate], list[_Candidate]]:
    """
    Return the sessions that can give the book at the instant, best first; and earlier sessions, newest first,
    whose last book counts when none of them has one.

    Recorders may overlap. Of the sessions that were recording at the instant, those with an exact book come
    first, then those that had a snapshot; among equals, the one that began last. A session that has not ended
    and has been silent for SILENT_US_MAX may be dead, so sessions that recorded later come before it. If no
    session was recording, the last one is returned. Raises NoBook when there is none.
    """
    rows = await fetch_recording_sessions(
        connection, ticker, at_us, silent_us=SILENT_US_MAX, limit=OVERLAPPING_MAX
    )
    if not rows:
        raise NoBook(await _why_none(connection, ticker))
    candidates: list[_Candidate] = []
    for row in rows:
        if (row.is_over, row.reach_us) != (rows[0].is_over, rows[0].reach_us):
            break
        until_us = min(at_us, row.last_us) if row.is_open else at_us
        if not row.is_over:
            cause = await fetch_unknown_cause(connection, row.session_id, ticker, until_us)
        elif await is_proven_empty(connection, ticker, at_us):
            cause = None
        else:
            cause = row.ending
        if cause is None and until_us < at_us:
            cause = Cause.NOT_RECORDED_YET
        (session,) = await fetch_sessions(connection, row.session_id)
        candidates.append(_Candidate(session, until_us, cause))
    candidates.sort(
        key=lambda one: (one.unknown_cause is not None, one.unknown_cause == Cause.NO_SNAPSHOT_YET)
    )
    earlier: list[_Candidate] = []
    for row in rows[len(candidates) :]:
        (session,) = await fetch_sessions(connection, row.session_id)
        earlier.append(_Candidate(session, at_us, candidates[0].unknown_cause))
    return candidates, earlier


async def _why_none(connection: TrioConnection, ticker: str) -> str:
    first_us = await fetch_first_start(connection, ticker)
    if first_us is None:
        return f"there is no market {ticker} in this recording"
    return f"nothing is recorded of {ticker} before then: its first session began at {iso_us(first_us)}"


async def _best_from_raw(
    connection: TrioConnection, candidates: list[_Candidate], ticker: str, at_us: int
) -> RebuiltBook | None:
    """
    Of sessions whose rows retention has dropped: the exact book, or else the first; None without any.

    Raises NotProven when there is no exact one and raw frames of a session can't be read.
    """
    books: list[RebuiltBook] = []
    damage: NotProven | None = None
    for candidate in await _without_rows(connection, candidates):
        session = candidate.session
        if await fetch_newest_snapshot(connection, ticker, at_us, session.session_id) is not None:
            continue
        try:
            books.append(await _from_raw(connection, candidate, ticker, at_us))
        except NoBook:
            continue
        except NotProven as error:
            damage = damage or error
    exact = next((book for book in books if book.is_exact), None)
    if exact is None and damage is not None:
        raise damage
    return exact or next(iter(books), None)


async def _first_from_raw(
    connection: TrioConnection, candidates: list[_Candidate], ticker: str, at_us: int
) -> RebuiltBook:
    """The book of the first session that has one, by its raw frames. Raises NoBook and NotProven."""
    for candidate in await _without_rows(connection, candidates):
        with suppress(NoBook):
            return await _from_raw(connection, candidate, ticker, at_us)
    raise NoBook(f"no snapshot of {ticker} was received before that time")


async def _without_rows(connection: TrioConnection, candidates: Iterable[_Candidate]) -> list[_Candidate]:
    """Those whose first rows retention has dropped."""
    dropped_days = await fetch_dropped_days(connection, SNAPSHOT.table)
    return [candidate for candidate in candidates if candidate.session.started_us // DAY_US in dropped_days]


async def _from_raw(
    connection: TrioConnection, candidate: _Candidate, ticker: str, at_us: int
) -> RebuiltBook:
    """The book by the session's raw frames. Takes as long as reading them takes. Raises NoBook."""
    session = candidate.session
    tracker = await _fold_until(connection, session, at_us)
    market = tracker.markets.get(ticker, MarketState(ticker))
    if not market.snapshots:
        raise NoBook(
            f"no snapshot of {ticker} was received before that time in session {session.session_id}"
            f" {session.key}"
        )
    return RebuiltBook(
        market_ticker=ticker,
        at_us=at_us,
        session_id=session.session_id,
        session_key=session.key,
        sequence_number=market.sequence_number,
        as_of_us=market.received_us,
        unknown_cause=candidate.unknown_cause,
        source="raw",
        sample_rate=1,
        yes_bids=market.book.yes_bids,
        no_bids=market.book.no_bids,
    )


async def _fold_until(connection: TrioConnection, session: RecordedSession, at_us: int) -> FeedTracker:
    """
    The session's books as its frames received by then left them.

    Reading begins with the newest stored state before the instant, or with the session's opening, and ends
    with the batch that has a later frame.
    """
    state = await fetch_tracker_state(connection, session.session_id, at_us)
    fold = None if state is None else read_state(state, session.sample_rate)
    read_frame = 0 if state is None else state.frame_number
    async for page in batch_pages(connection, session.session_id, read_frame):
        for batch in page:
            content = batch.content()
            fold = fold or fold_of(read_opening(content))
            fold.tracker.process(
                frame for frame in content.frames if frame.number > read_frame and frame.received_us <= at_us
            )
            if any(frame.received_us > at_us for frame in content.frames):
                return fold.tracker
    return FeedTracker({}) if fold is None else fold.tracker


def _levels(bids: Mapping[str, int]) -> Levels:
    return {int(price_e4): size_e2 for price_e4, size_e2 in bids.items()}


def _resting(side: Levels) -> Levels:
    return {price_e4: side[price_e4] for price_e4 in sorted(side) if side[price_e4]}


def iso_us(time_us: int) -> str:
    """A time as RFC 3339, in UTC and to the microsecond."""
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC).replace(microsecond=time_us % 1_000_000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
