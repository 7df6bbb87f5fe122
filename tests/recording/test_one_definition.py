"""
One definition of exact: every reader gives the same answer about the same recording.

Recordings are those of the simulation, with all its faults: lost, repeated, reordered and garbled frames, cut
and silent connections, ended subscriptions, markets that come and go, a wall clock that is set back and forth
by an hour, killed processes. Of some sessions the database has lost batches.

The answers of `tests.recording.definition` are those of the live tracker. Readers may differ from it in two
ways only, and must: while an interruption lasts, nobody can know that it will be proven empty; and a recorder
does not know what the database has lost.
"""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest
import trio

from collector.database import fetch_coverage
from collector.postgres import open_connection
from collector.recording import rebuild_book
from collector.recording._coverage import coverage_of_markets
from collector.recording._rebuild import NoBook, RebuiltBook
from collector.recording._session_reader import NotProven
from collector.storage import DAY_US
from tests.recording.definition import (
    Expected,
    ExpectedRecording,
    choose_instants,
    choose_losses,
    store,
    tickers_of,
)
from tests.recording.recordings import drop_before
from tests.service.harness import query
from tests.simulation.check import is_whole
from tests.simulation.world import run_world

SEEDS = (0, 1, 2, 8, 11, 12, 34)
INSTANTS = 20
Spans = list[tuple[int, int | None, bool, str | None]]

seen: Counter[str] = Counter()
"""The reasons that were compared, over all seeds."""


@pytest.fixture(scope="module")
def recordings() -> dict[int, list[Expected]]:
    """The sessions of each seed, with the batches that the database loses."""
    made: dict[int, list[Expected]] = {}
    for seed in SEEDS:
        rng = random.Random(seed)
        # Of what the simulated database has lost nothing is known here; other batches are lost instead.
        sessions = [each for each in run_world(seed).database.sessions.values() if is_whole(each)]
        made[seed] = [Expected(session, choose_losses(session, rng)) for session in sessions]
    return made


def state_at(spans: Spans, at_us: int) -> tuple[bool, str | None]:
    (state,) = [
        (is_exact, cause)
        for from_us, until_us, is_exact, cause in spans
        if from_us <= at_us and (until_us is None or at_us < until_us)
    ]
    return state


def check_views(url: str, recording: ExpectedRecording, instants: list[int]) -> None:
    """`rl_book_spans`, and `rl_market_coverage` from the start to the end of each session."""
    for view in ("rl_book_spans", "rl_market_coverage"):
        spans: dict[tuple[int, str], Spans] = {}
        for session_id, ticker, *span in query(
            url, f"SELECT session_id, market_ticker, from_us, until_us, is_exact, cause FROM {view}"
        ):
            spans.setdefault((session_id, ticker), []).append(tuple(span))
        for (session_id, ticker), of_market in spans.items():
            session = recording.of(session_id)
            first_us = min(span[0] for span in of_market)
            for at_us in instants:
                if first_us <= at_us < session.ended_us:
                    expected = recording.answer(session, ticker, at_us)
                    assert state_at(of_market, at_us) == expected, (view, session_id, ticker, at_us)
                    seen[expected[1] or "exact"] += 1


async def read_book(url: str, recording: ExpectedRecording, ticker: str, at_us: int) -> RebuiltBook | None:
    async with open_connection(url) as connection:
        try:
            return await rebuild_book(connection, ticker, at_us)
        except NoBook:
            return None
        except NotProven:
            # The first batch holds the opening, which the raw stream can't be read without.
            assert any(1 in session.lost for session in recording.sessions if session.started_us <= at_us)
            raise


def check_book(recording: ExpectedRecording, book: RebuiltBook | None, ticker: str, at_us: int) -> None:
    """`collector book` takes an exact session if there is one, and gives its book."""
    sessions = recording.recording(ticker, at_us)
    answers = [recording.answer(session, ticker, at_us) for session in sessions]
    place = (ticker, at_us, book)
    if any(is_exact for is_exact, _ in answers) or (not sessions and recording.is_proven(ticker, at_us)):
        assert book is not None, place
        assert book.is_exact, place
    elif sessions and book is not None:
        causes = {cause for is_exact, cause in answers}
        assert book.unknown_cause in causes, (*place, causes)
    elif book is not None:
        assert not book.is_exact, place
    if book is not None and book.is_exact and book.sample_rate == 1:
        session = recording.of(book.session_id)
        moment = session.at(at_us)
        assert moment is not None, place
        assert (book.yes_bids, book.no_bids) == moment.books[ticker], place


async def check_timeline(url: str, recording: ExpectedRecording, instants: list[int]) -> None:
    """The coverage that page and health check show, in whole milliseconds: as of the end of each."""
    from_us, to_us = min(instants) - 1_000_000, max(instants) + 1_000_000
    async with open_connection(url) as connection:
        rows = await fetch_coverage(connection, from_us, to_us)
    for market in await coverage_of_markets(rows, from_us, to_us):
        ticker = market.market_ticker
        for at_ms in {at_us // 1000 for at_us in instants}:
            at_us = at_ms * 1000 + 999
            sessions = recording.recording(ticker, at_us)
            answers = [recording.answer(session, ticker, at_us) for session in sessions]
            is_exact = any(exact for exact, _ in answers) or recording.is_proven(ticker, at_us)
            states = [
                (each.is_exact, each.cause) for each in market.intervals if each.from_ms <= at_ms < each.to_ms
            ]
            if sessions or is_exact:
                assert [state[0] for state in states] == [is_exact], (ticker, at_us)
            else:
                assert not any(state[0] for state in states), (ticker, at_us)
            causes = {
                cause
                for session, (_, cause) in zip(sessions, answers, strict=True)
                if session.has_joined(ticker, at_us)
            }
            if states and causes and not is_exact:
                assert states[0][1] in causes, (ticker, at_us)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_readers_agree(
    make_database: Callable[[], str], recordings: dict[int, list[Expected]], seed: int
) -> None:
    """Live state, views, `book` from rows and from raw frames, and the timeline of the page."""
    url = make_database()
    recording = trio.run(store, url, recordings[seed])
    rng = random.Random(seed)
    instants = choose_instants(recording, rng, INSTANTS)
    places = [(ticker, at_us) for at_us in instants for ticker in tickers_of(recording)]

    check_views(url, recording, instants)
    trio.run(check_timeline, url, recording, instants)
    for ticker, at_us in places:
        check_book(recording, trio.run(read_book, url, recording, ticker, at_us), ticker, at_us)
    drop_before(url, "rl_delta_rows", "rl_snapshot_rows", day=max(instants) // DAY_US + 2)
    for ticker, at_us in rng.sample(places, len(places) // 3):
        with suppress(NotProven):
            book = trio.run(read_book, url, recording, ticker, at_us)
            assert book is None or book.source == "raw"
            check_book(recording, book, ticker, at_us)


def test_every_kind_of_answer_was_compared() -> None:
    """The recordings of the test above have what they are for."""
    wanted = {"exact", "proven_empty", "ledger_hole", "reject", "no_snapshot_yet", "unfollowed"}
    assert wanted <= seen.keys(), seen
