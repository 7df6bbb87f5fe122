"""`/rl/coverage`: when each market's book was exact in the last minutes, and why it was not."""

from functools import partial
from typing import Any

import pytest
import trio.testing

from collector.database import CoverageRows, CoverageSpan
from collector.database._batches import write_batch
from collector.database._coverage import CoverageSession
from collector.database._ledger import StoredSession
from collector.database._sessions import close_session
from collector.facts import FeedTracker
from collector.postgres import open_connection
from collector.recording import Recording
from collector.recording._coverage import coverage_of_markets
from collector.storage import SessionEnding
from collector.web._coverage import CoverageQuery, coverage_data
from collector.web._query_cache import Unanswered
from tests.database.test_batches import TEXTS, batch_of, ready
from tests.frames import RECEIVED_US, received
from tests.web.recorder import Recorder, new_recorder, open_web
from tests.web.test_data_health import SlowAway

MINUTE_US = 60_000_000
Line = list[tuple[int, int, bool, str | None]]


async def record(url: str, *, ended_us: int | None) -> StoredSession:
    """A session of A and B that records for seven milliseconds: A loses its book, B has none."""
    frames = FeedTracker.of_markets(["A", "B"]).process(received(*TEXTS))
    async with ready(url) as (connection, session, market_ids):
        await write_batch(connection, session, batch_of(frames), market_ids)
        if ended_us is not None:
            ending = SessionEnding(ended_us, "closed", "recorder stopped", 1000)
            await close_session(connection, session, ending)
    return session


async def ask(url: str, now_us: int, query: str = "") -> tuple[int, dict[str, Any]]:
    """What the page is told, over a real socket and from a real database, at a moment."""
    recorder: Recorder = new_recorder("A", "B")
    recorder.now_us = now_us
    async with open_web(recorder, recording=Recording(partial(open_connection, url))) as web:
        answer = await web.http.get(f"/rl/coverage{query}")
    return answer.status_code, answer.json()


def lines(body: dict[str, Any]) -> dict[str, Line]:
    """Each market's intervals, in milliseconds after the start of the recording."""
    start_ms = RECEIVED_US // 1000
    return {
        market["market_ticker"]: [
            (part["from_ms"] - start_ms, part["to_ms"] - start_ms, part["is_exact"], part["cause"])
            for part in market["intervals"]
        ]
        for market in body["markets"]
    }


async def test_an_open_interval_ends_now(database_url: str) -> None:
    """A session that records tells up to now, its quiet markets too, and the window is as asked for."""
    await record(database_url, ended_us=None)
    status, body = await ask(database_url, RECEIVED_US + MINUTE_US)
    assert status == 200
    assert (body["from_ms"], body["to_ms"]) == (
        (RECEIVED_US - 59 * MINUTE_US) // 1000,
        (RECEIVED_US + MINUTE_US) // 1000,
    )
    assert lines(body) == {
        "A": [(0, 2, False, "no_snapshot_yet"), (2, 6, True, None), (6, 60_000, False, "sequence")],
        "B": [(0, 60_000, False, "no_snapshot_yet")],
    }


async def test_after_the_end_of_a_session_books_are_unknown(database_url: str) -> None:
    """Between a session's end and now, or the next session, the reason of the end is the cause."""
    await record(database_url, ended_us=RECEIVED_US + 10_000)
    _, body = await ask(database_url, RECEIVED_US + MINUTE_US, "?minutes=1")
    assert lines(body)["A"][2:] == [
        (6, 10, False, "sequence"), (10, 60_000, False, "recorder stopped"),
    ]  # fmt: skip


async def test_what_was_before_the_window_is_clipped(database_url: str) -> None:
    """Intervals begin no earlier than the window, whether their session goes on or has long ended."""
    session = await record(database_url, ended_us=None)
    now_us = RECEIVED_US + 90 * MINUTE_US
    _, body = await ask(database_url, now_us, "?minutes=2")
    assert lines(body)["A"] == [(88 * 60_000, 90 * 60_000, False, "sequence")]
    async with open_connection(database_url) as connection:
        await close_session(
            connection, session, SessionEnding(RECEIVED_US + 10_000, "closed", "stopped", 1000)
        )
    _, body = await ask(database_url, now_us, "?minutes=2")
    assert lines(body)["A"] == [(88 * 60_000, 90 * 60_000, False, "stopped")]


async def test_markets_can_be_chosen(database_url: str) -> None:
    """`markets` leaves only those, and what is not recorded is not there."""
    await record(database_url, ended_us=None)
    _, body = await ask(database_url, RECEIVED_US + MINUTE_US, "?markets=B,X")
    assert list(lines(body)) == ["B"]


@pytest.mark.parametrize("minutes", ["0", "1441", "-1", "many", "1.5", "", "²"])
async def test_the_number_of_minutes_is_checked(minutes: str) -> None:
    """What is no number from 1 to 1440 is a 400."""
    async with open_web(new_recorder("A")) as web:
        answer = await web.http.get("/rl/coverage", params={"minutes": minutes})
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_minutes")


async def test_a_database_that_is_away_is_a_503_with_the_reason(refusing_port: int) -> None:
    """Without the database nobody can say, and the page is told why."""
    status, body = await ask(f"postgresql://somebody@127.0.0.1:{refusing_port}/nothing", RECEIVED_US)
    assert (status, body["error"]) == (503, "store_unavailable")
    assert "refused" in body["message"]


async def test_a_database_without_the_schema_is_a_503(database_url: str) -> None:
    """Before the first start of a recorder there is nothing to tell."""
    status, body = await ask(database_url, RECEIVED_US)
    assert status == 503
    assert "rl_orderbook_sessions" in body["message"]


async def test_a_database_that_does_not_answer_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """After ten seconds the asker hears that the database has not answered; all who wait share that."""
    database = SlowAway(seconds=5000)
    query = CoverageQuery.of(lambda: RECEIVED_US, Recording(database.connect))
    answers = [await query.ask(60), await query.ask(60, frozenset({"A"}))]
    assert answers == [Unanswered("the database has not answered within 10 s")] * 2
    assert database.asked == 1


def session(
    session_id: int, started_us: int, ended_us: int | None = None, cause: str = ""
) -> CoverageSession:
    return CoverageSession(session_id, started_us * 1000, ended_us and ended_us * 1000, cause, ("A",))


def span(
    session_id: int, from_ms: int, until_ms: int | None, is_exact: bool, cause: str | None = None
) -> CoverageSpan:
    until_us = None if until_ms is None else until_ms * 1000
    return CoverageSpan(session_id, "A", from_ms * 1000, until_us, is_exact, cause)


@pytest.mark.parametrize(
    ("sessions", "spans", "expected"),
    [
        # Neighbours that say the same are one, over the sessions' borders too.
        (
            [session(1, 0, 50, "stopped"), session(2, 50)],
            [span(1, 0, 20, True), span(1, 20, None, True), span(2, 50, None, True)],
            [(0, 100, True, None)],
        ),
        # Of two at once, one that is exact is enough.
        (
            [session(1, 0, 60, "stopped"), session(2, 40)],
            [span(1, 0, None, True), span(2, 40, 45, False, "no_snapshot_yet"), span(2, 45, None, True)],
            [(0, 100, True, None)],
        ),
        # What is over says less than what still records, whichever began first.
        (
            [session(1, 0), session(2, 10, 30, "stopped")],
            [span(1, 0, None, False, "sequence"), span(2, 10, None, True)],
            [(0, 10, False, "sequence"), (10, 30, True, None), (30, 100, False, "sequence")],
        ),
        # A session that was over before the window tells of its markets what nobody else does.
        (
            [session(1, -90, -50, "recorder_died"), session(2, 70)],
            [span(2, 70, None, True)],
            [(0, 70, False, "recorder_died"), (70, 100, True, None)],
        ),
        # Before the first session there is nothing.
        ([session(1, 30)], [span(1, 30, None, True)], [(30, 100, True, None)]),
    ],
)
async def test_a_market_has_one_line_of_time(
    sessions: list[CoverageSession], spans: list[CoverageSpan], expected: Line
) -> None:
    """Sessions that follow each other, overlap, or lie before the window become one row of intervals."""
    rows = CoverageRows(tuple(sessions), tuple(spans), ())
    data = coverage_data(await coverage_of_markets(rows, 0, 100_000), 0, 100_000)
    (market,) = data.markets
    found = [(part.from_ms, part.to_ms, part.is_exact, part.cause) for part in market.intervals]
    assert (market.market_ticker, found) == ("A", expected)
