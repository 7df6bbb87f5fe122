"""What is read to rebuild a book, or to check the rows of books against each other."""

from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from attrs import frozen
from psycopg.rows import TupleRow, class_row

from collector.database._transactions import Pages, open_pages
from collector.facts import PROVEN_EMPTY, Cause
from collector.postgres import TrioConnection
from collector.protocol import BOOK_CHANNEL

# At equal times the sequence number decides. A gap comes before the number that showed it; a checkpoint has
# the number of the last delta before it.
_BOOK_ROWS: Final = (
    "SELECT received_us, sequence_number AS place, 1 AS rank, market_id, is_yes,"
    " price_e4::integer AS price_e4,"
    " delta_e2, old_size_e2, NULL AS origin, NULL::jsonb AS yes_bids, NULL::jsonb AS no_bids,"
    " NULL::bytea AS digest FROM rl_delta_rows WHERE session_id = %(id)s"
    " UNION ALL SELECT received_us, sequence_number, 2, market_id, NULL, NULL, NULL, NULL, origin, yes_bids,"
    " no_bids, digest FROM rl_snapshot_rows WHERE session_id = %(id)s"
    " UNION ALL SELECT g.detected_us, COALESCE(g.received, g.expected), 0, m.market_id, NULL,"
    " NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM rl_orderbook_gaps g"
    " LEFT JOIN rl_markets m USING (market_ticker)"
    " WHERE g.session_id = %(id)s AND (g.channel IS NULL OR g.channel = %(channel)s)"
    " ORDER BY received_us, place, rank"
)


@frozen
class StoredSnapshot:
    """A snapshot row: which session it belongs to, where it stands, and its levels."""

    session_id: int
    session_key: str
    market_id: int
    received_us: int
    sid: int
    sequence_number: int
    yes_bids: dict[str, int]
    no_bids: dict[str, int]


@frozen
class StoredChange:
    """What the deltas of one level add up to since a snapshot, and the last of them."""

    is_yes: bool
    price_e4: int
    delta_e2: int
    sequence_number: int
    received_us: int


@frozen
class RecordingSession:
    """
    A session of a market that began at or before an instant.

    `reach_us` is the latest time, at most the instant, at which the session counts as recording. `is_over`
    is true when it had ended by the instant, `is_open` when it has not ended at all. `last_us` is its last
    message, or its start when it has none.
    """

    session_id: int
    is_over: bool
    is_open: bool
    ending: str
    last_us: int
    reach_us: int


async def fetch_newest_message(connection: TrioConnection, ticker: str) -> tuple[int | None, int | None]:
    """
    Return two times of a market's sessions, each None when there is no such session.

    The first is the last message of the sessions that have not ended, the second is the latest end.
    """
    cursor = await connection.execute(
        "SELECT max(COALESCE(last_message_us, started_us)) FILTER (WHERE ended_us IS NULL), max(ended_us)"
        " FROM rl_orderbook_sessions WHERE market_tickers @> ARRAY[%s::text]",
        (ticker,),
    )
    row = await cursor.fetchone()
    return (None, None) if row is None else (row[0], row[1])


async def fetch_recording_sessions(
    connection: TrioConnection, ticker: str, at_us: int, *, silent_us: int, limit: int
) -> list[RecordingSession]:
    """
    The sessions of a market that began at or before `at_us`; first those that recorded up to the latest time.

    A session that has not ended counts as recording until `silent_us` after its last message. Returns at most
    `limit` sessions.
    """
    async with connection.cursor(row_factory=class_row(RecordingSession)) as cursor:
        await cursor.execute(
            "SELECT session_id, COALESCE(ended_us <= %(at_us)s, false) AS is_over,"
            " ended_us IS NULL AS is_open, COALESCE(end_reason, status) AS ending,"
            " COALESCE(last_message_us, started_us) AS last_us,"
            " LEAST(COALESCE(ended_us, COALESCE(last_message_us, started_us) + %(silent_us)s), %(at_us)s)"
            "  AS reach_us"
            " FROM rl_orderbook_sessions WHERE market_tickers @> ARRAY[%(ticker)s::text]"
            " AND started_us <= %(at_us)s"
            " ORDER BY reach_us DESC, is_over, started_us DESC, session_id DESC LIMIT %(limit)s",
            {"ticker": ticker, "at_us": at_us, "silent_us": silent_us, "limit": limit},
        )
        return await cursor.fetchall()


async def fetch_first_start(connection: TrioConnection, ticker: str) -> int | None:
    """When the first session of a market began; None when there is none."""
    cursor = await connection.execute(
        "SELECT min(started_us) FROM rl_orderbook_sessions WHERE market_tickers @> ARRAY[%s::text]", (ticker,)
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def fetch_newest_snapshot(
    connection: TrioConnection, ticker: str, at_us: int, session_id: int | None
) -> StoredSnapshot | None:
    """The newest snapshot of a market by then, of one session or of any."""
    async with connection.cursor(row_factory=class_row(StoredSnapshot)) as cursor:
        await cursor.execute(
            "SELECT s.session_id, o.session_key::text AS session_key, s.market_id, s.received_us, s.sid,"
            " s.sequence_number, s.yes_bids, s.no_bids"
            " FROM rl_snapshot_rows s JOIN rl_orderbook_sessions o USING (session_id)"
            " WHERE s.market_id = (SELECT market_id FROM rl_markets WHERE market_ticker = %s)"
            " AND s.received_us <= %s AND (%s::integer IS NULL OR s.session_id = %s)"
            " ORDER BY s.received_us DESC, s.frame_number DESC LIMIT 1",
            (ticker, at_us, session_id, session_id),
        )
        return await cursor.fetchone()


async def fetch_changes(
    connection: TrioConnection, snapshot: StoredSnapshot, until_us: int
) -> list[StoredChange]:
    """What happened to each level after a snapshot and until then, by its session's deltas."""
    async with connection.cursor(row_factory=class_row(StoredChange)) as cursor:
        await cursor.execute(
            "SELECT is_yes, price_e4::integer AS price_e4, sum(delta_e2)::bigint AS delta_e2,"
            " max(sequence_number) AS sequence_number, max(received_us) AS received_us"
            " FROM rl_delta_rows WHERE session_id = %s AND market_id = %s"
            " AND sid = %s AND received_us BETWEEN %s AND %s AND sequence_number > %s"
            " GROUP BY is_yes, price_e4",
            (
                snapshot.session_id,
                snapshot.market_id,
                snapshot.sid,
                snapshot.received_us,
                until_us,
                snapshot.sequence_number,
            ),
        )
        return await cursor.fetchall()


async def fetch_unknown_cause(
    connection: TrioConnection, session_id: int, ticker: str, at_us: int
) -> str | None:
    """
    Why a book of a session was unknown at an instant, by `rl_spans`; None when it was exact.

    Of a market that had not joined the session by then, the time may still be proven empty.
    """
    cursor = await connection.execute(
        "SELECT NULLIF(cause, %s) FROM rl_spans(ARRAY[%s::integer], ARRAY[%s::text]) WHERE from_us <= %s"
        " ORDER BY from_us DESC LIMIT 1",
        (PROVEN_EMPTY, session_id, ticker, at_us),
    )
    row = await cursor.fetchone()
    if row is not None:
        return None if row[0] is None else str(row[0])
    return None if await is_proven_empty(connection, ticker, at_us) else Cause.NO_SNAPSHOT_YET


async def is_proven_empty(connection: TrioConnection, ticker: str, at_us: int) -> bool:
    """Whether an instant is within a time in which nothing happened to the market, by a proof that holds."""
    cursor = await connection.execute(
        "SELECT EXISTS (SELECT FROM rl_proofs_between(%s, %s) WHERE market_ticker = %s)",
        (at_us + 1, at_us + 1, ticker),
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def fetch_excuses(connection: TrioConnection, session_id: int) -> set[tuple[int, int, str]]:
    """Market, sequence number and cause of gaps that say that a delta or a snapshot did not fit its book."""
    cursor = await connection.execute(
        "SELECT m.market_id, g.expected - 1, g.cause FROM rl_orderbook_gaps g"
        " JOIN rl_markets m USING (market_ticker) WHERE g.session_id = %s AND g.cause = ANY(%s)",
        (session_id, [Cause.NEGATIVE_LEVEL.value, Cause.AUDIT_MISMATCH.value]),
    )
    return {(row[0], row[1], row[2]) for row in await cursor.fetchall()}


async def fetch_market_names(connection: TrioConnection) -> dict[int, str]:
    """All markets, ticker by number."""
    cursor = await connection.execute("SELECT market_id, market_ticker FROM rl_markets")
    return {int(number): str(ticker) for number, ticker in await cursor.fetchall()}


def open_book_rows(
    connection: TrioConnection, session_id: int
) -> AbstractAsyncContextManager[Pages[TupleRow]]:
    """
    Deltas, snapshots and gaps of a session in the order of their receipt.

    Columns: received_us, place, rank (0 gap, 1 delta, 2 snapshot), market_id, is_yes, price_e4, delta_e2,
    old_size_e2, origin, yes_bids, no_bids, digest; what a row has not is null.
    """
    arguments: dict[str, Any] = {"id": session_id, "channel": BOOK_CHANNEL}
    return open_pages(connection, _BOOK_ROWS, arguments)
