"""What `/health/data` says of recordings that are whole, that have holes, and of a database that is away."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
import trio
import trio.testing
from attrs import define

from collector.database._batches import write_batch
from collector.database._sessions import close_session
from collector.errors import StoreUnavailable
from collector.facts import AuditFact, FeedTracker
from collector.postgres import TrioConnection, open_connection
from collector.recording import Recording
from collector.storage import SessionEnding
from collector.web._data_health import DataHealthQuery
from collector.web._query_cache import ASK_S_MAX, KEPT_S, QueryCache, Unanswered
from tests.database.test_batches import TEXTS, batch_of, ready
from tests.frames import RECEIVED_US, delta_text, received, snapshot_text
from tests.web.recorder import new_recorder, open_web


async def record(url: str, *, batches: int = 2, end: bool = True) -> int:
    """A session with a gap, a reject and two audits in its first batch, and quiet batches behind it."""
    tracker = FeedTracker.of_markets(["A", "B"])
    first = tracker.process(received(*TEXTS))
    audits = (
        AuditFact("A", 8, RECEIVED_US + 5, True, None, sid=1),
        AuditFact("B", 9, RECEIVED_US + 7, False, "yes 4500: book 1, exchange 2", sid=1),
    )
    async with ready(url) as (connection, session, market_ids):
        await write_batch(connection, session, batch_of(first, 1, (*first.facts, *audits)), market_ids)
        number = len(TEXTS) + 1
        for batch in range(2, batches + 1):
            texts = (snapshot_text("A", 8, yes={"0.4500": "1.00"}), delta_text("A", 9, "0.4500", "1.00"))
            frames = tracker.process(received(*texts, first=number))
            number += len(texts)
            await write_batch(connection, session, batch_of(frames, batch), market_ids)
        if end:
            ending = SessionEnding(RECEIVED_US + 9_000_000, "closed", "recorder stopped", 1000)
            await close_session(connection, session, ending)
    return session.session_id


def change(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


async def ask(url: str, query: str = "") -> tuple[int, dict[str, Any]]:
    """What a probe is told, over a real socket and from a real database."""
    async with open_web(new_recorder("A"), recording=Recording(partial(open_connection, url))) as web:
        answer = await web.http.get(f"/health/data{query}")
    return answer.status_code, answer.json()


async def test_a_whole_recording_is_good(database_url: str) -> None:
    """A session whose ledger closes is good, with its gaps, rejects and audits counted."""
    session_id = await record(database_url)
    status, body = await ask(database_url)
    assert (status, body["status"], body["why"]) == (200, "good", "the ledger of 1 session closes")
    (session,) = body["sessions"]
    assert session["id"] == session_id
    assert (session["status"], session["end_reason"], session["is_good"]) == (
        "closed", "recorder stopped", True,
    )  # fmt: skip
    assert session["frames"] == session["ledger"]["frames"] == session["ledger"]["last_frame"] == 9
    assert session["gaps"] == {"sequence": 1, "reject": 1}
    assert session["rejects"] == 1
    assert (session["audits"]["matches"], session["audits"]["mismatches"]) == (1, 1)
    assert session["audits"]["last"] is not None


async def test_coverage_is_the_share_of_time_that_books_were_exact(database_url: str) -> None:
    """A market with a short gap and one that never had a snapshot make half of the time, one of two books."""
    await record(database_url)
    status, body = await ask(database_url)
    assert status == 200
    # Of 9 s A was exact from 2 ms to 6 ms and from 8 ms on, B never.
    assert body["sessions"][0]["coverage"] == {
        "markets": 2,
        "exact_markets": 1,
        "exact_time_share": round(8_996_000 / 18_000_000, 6),
    }


async def test_coverage_of_a_session_that_records_counts_up_to_its_last_message(database_url: str) -> None:
    """A session that has not ended counts until what it last heard, so an idle one loses nothing."""
    await record(database_url, end=False)
    _, body = await ask(database_url)
    coverage = body["sessions"][0]["coverage"]
    assert (coverage["markets"], coverage["exact_markets"]) == (2, 1)
    assert coverage["exact_time_share"] == round(5_000 / 18_000, 6)


async def test_a_database_without_the_view_tells_no_coverage(database_url: str) -> None:
    """What an older version has made is judged all the same, without coverage."""
    await record(database_url)
    change(database_url, "DROP VIEW rl_book_spans CASCADE")
    status, body = await ask(database_url)
    assert (status, body["sessions"][0]["coverage"]) == (200, None)


async def test_the_newest_sessions_come_first_and_are_bounded(database_url: str) -> None:
    """`sessions` says how many; the newest come first; one that has no batch yet is good."""
    await record(database_url)
    newest = [await record(database_url, end=False), await record(database_url, batches=1)]
    async with ready(database_url) as (_, empty, _ids):
        pass
    status, body = await ask(database_url, "?sessions=3")
    assert status == 200
    assert [session["id"] for session in body["sessions"]] == [
        empty.session_id,
        *reversed(newest),
    ]
    assert body["sessions"][2]["ended"] is None


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        (
            "DELETE FROM rl_write_ledger WHERE batch_number = 2",
            "2 batches, numbered 1 to 3: some are missing",
        ),
        (
            "DELETE FROM rl_write_ledger WHERE batch_number = 1",
            "2 batches, numbered 2 to 3: some are missing",
        ),
        ("DELETE FROM rl_write_ledger WHERE batch_number = 3", "frames: 9 by the ledger, 11 by the session"),
        (
            "UPDATE rl_write_ledger SET first_frame = first_frame + 5, last_frame = last_frame + 5"
            " WHERE batch_number = 3",
            "11 frames, numbered 1 to 16: some are missing",
        ),
        ("UPDATE rl_orderbook_sessions SET frames = 12", "frames: 11 by the ledger, 12 by the session"),
        ("UPDATE rl_orderbook_sessions SET trades = 0", "trades: 1 by the ledger, 0 by the session"),
        ("DELETE FROM rl_orderbook_gaps", "gap rows: 2 by the ledger, 0 are there"),
        ("DELETE FROM rl_orderbook_audits", "audit rows: 2 by the ledger, 0 are there"),
        ("DELETE FROM rl_orderbook_rejects", "reject rows: 1 by the ledger, 0 are there"),
        (
            "INSERT INTO rl_market_events SELECT 1, 1, 1, session_id, 3, 'A', 'determined', '{}'"
            " FROM rl_orderbook_sessions",
            "event rows: 0 by the ledger, 1 are there",
        ),
    ],
)
async def test_a_ledger_that_does_not_close_is_off(database_url: str, statement: str, why: str) -> None:
    """What is missing or wrong is named, with its session, in a 503; other sessions stay good."""
    good = await record(database_url, batches=3)
    session_id = await record(database_url, batches=3)
    change(
        database_url,
        statement + (" AND" if "WHERE" in statement else " WHERE") + f" session_id = {session_id}",
    )
    status, body = await ask(database_url)
    assert (status, body["status"]) == (503, "off")
    assert f"session {session_id}: " in body["why"]
    assert why in body["why"]
    assert {session["id"]: session["is_good"] for session in body["sessions"]} == {
        session_id: False,
        good: True,
    }


async def test_without_a_database_it_is_unknown() -> None:
    """An app that was given no database says so."""
    async with open_web(new_recorder("A")) as web:
        answer = await web.http.get("/health/data")
    assert (answer.status_code, answer.json()) == (
        503,
        {"status": "unknown", "why": "no database", "sessions": []},
    )


async def test_a_database_that_is_away_is_unknown(refusing_port: int) -> None:
    """A server that refuses is not a bad recording, and its reason is told."""
    status, body = await ask(f"postgresql://somebody@127.0.0.1:{refusing_port}/nothing")
    assert (status, body["status"]) == (503, "unknown")
    assert "refused" in body["why"]


async def test_a_database_without_the_schema_is_unknown(database_url: str) -> None:
    """Before the first start of a recorder there is nothing to judge."""
    status, body = await ask(database_url)
    assert (status, body["status"]) == (503, "unknown")
    assert "rl_orderbook_sessions" in body["why"]


@pytest.mark.parametrize("sessions", ["0", "201", "-1", "many", "1.5", "", "²"])
async def test_the_number_of_sessions_is_checked(sessions: str) -> None:
    """What is no number from 1 to 200 is a 400."""
    async with open_web(new_recorder("A")) as web:
        answer = await web.http.get("/health/data", params={"sessions": sessions})
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_sessions")


@define
class SlowAway:
    """A database that takes its time to say that it is away."""

    seconds: float = 1.0
    asked: int = 0

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[TrioConnection]:
        self.asked += 1
        await trio.sleep(self.seconds)
        if self.seconds < 1000:
            raise StoreUnavailable("connection refused")
        yield None  # type: ignore[misc]  # pyright: ignore[reportReturnType]


async def test_askers_share_one_question(autojump_clock: trio.testing.MockClock) -> None:
    """Many who ask at once, or within five seconds, cost the database one question."""
    database = SlowAway()
    query = DataHealthQuery.of(Recording(database.connect))
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(query.ask, 20)
    await trio.sleep(KEPT_S - 0.1)
    await query.ask(20)
    assert database.asked == 1
    await trio.sleep(0.2)
    assert (await query.ask(20)).why == "connection refused"
    assert database.asked == 2


async def test_the_reason_is_that_of_the_error_in_a_group(autojump_clock: trio.testing.MockClock) -> None:
    """An error that two nurseries have wrapped is reported by its own message, not by that of the groups."""

    async def fetch(number: int) -> str:
        async with trio.open_nursery(), trio.open_nursery():
            raise StoreUnavailable("connection refused")

    answer = await QueryCache(fetch).ask(1)
    assert answer == Unanswered("connection refused")


async def test_a_dear_answer_is_kept_longer(autojump_clock: trio.testing.MockClock) -> None:
    """What took the database two seconds is not asked again for twenty."""
    asked: list[int] = []

    async def fetch(number: int) -> str:
        asked.append(number)
        await trio.sleep(2.0)
        return "dear"

    query = QueryCache(fetch)
    assert await query.ask(1) == "dear"
    await trio.sleep(19.9)
    assert await query.ask(1) == "dear"
    assert asked == [1]
    await trio.sleep(0.2)
    assert await query.ask(1) == "dear"
    assert asked == [1, 1]


async def test_an_asker_who_leaves_does_not_take_the_answer_along(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """When the first of two askers goes away in the middle, the second is answered all the same."""
    database = SlowAway()
    query = DataHealthQuery.of(Recording(database.connect))
    answers: list[str] = []

    async def ask_patiently() -> None:
        answers.append((await query.ask(20)).why)

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.5):
            async with trio.open_nursery() as impatient:
                impatient.start_soon(query.ask, 20)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(ask_patiently)
    assert answers == ["connection refused"]


async def test_a_database_that_does_not_answer_is_unknown(autojump_clock: trio.testing.MockClock) -> None:
    """After ten seconds the asker hears that the database has not answered."""
    began_s = trio.current_time()
    health = await DataHealthQuery.of(Recording(SlowAway(seconds=5000).connect)).ask(20)
    assert trio.current_time() - began_s == pytest.approx(ASK_S_MAX, abs=0.01)
    assert (health.status, health.why) == ("unknown", "the database has not answered within 10 s")
