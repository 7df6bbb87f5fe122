"""
What every reader must answer about a recording: for each market and instant, exact or why not, and the book.

The answers come from the live tracker alone. Each session of a simulated recording is folded again, frame by
frame, and the state of each book is noted after each frame: what the page showed at that time. Then the loss
of batches and the proofs of emptiness are applied to these notes, each in a few lines.
"""

import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from attrs import define, evolve, field, frozen

from collector.database import apply_schema, ensure_partitions
from collector.database._batches import write_batch
from collector.database._markets import fetch_market_ids
from collector.database._sessions import close_session, open_session
from collector.facts import BookStateFact, Cause, FeedTracker, ProvenEmptyFact
from collector.postgres import open_connection
from collector.protocol import Levels
from collector.storage import DAY_US, Batch, SessionEnding, fold_of
from tests.twins import TwinSession

Books = Mapping[str, tuple[Levels, Levels]]


@frozen
class Moment:
    """
    The state of every book from the end of a frame on: causes, None where exact, and levels.

    A market that has left the subscription has its last levels.
    """

    received_us: int
    causes: Mapping[str, str | None]
    books: Books


@define(eq=False)
class Expected:
    """What is to be read of one stored session. `lost` are the numbers of batches that are not stored."""

    session: TwinSession
    lost: frozenset[int]
    session_id: int = 0
    moments: list[Moment] = field(factory=list[Moment])
    proofs: list[ProvenEmptyFact] = field(factory=list[ProvenEmptyFact])

    def __attrs_post_init__(self) -> None:
        self.moments = list(self._moments())
        for batch in self.stored:
            self.proofs += [fact for fact in batch.facts if isinstance(fact, ProvenEmptyFact)]

    @property
    def stored(self) -> list[Batch]:
        """The batches that the database has."""
        batches = self.session.batches
        return [batches[number] for number in sorted(batches) if number not in self.lost]

    @property
    def started_us(self) -> int:
        return self.session.opening.started_us

    @property
    def ending(self) -> SessionEnding:
        """
        The ending in the database. That of a killed recorder is found by its last stored frame, so losses
        after that one don't show.
        """
        ending = self.session.ending
        assert ending is not None
        if ending.last_frame is not None:
            return ending
        frames = [frame for batch in self.stored for frame in batch.frames]
        return evolve(ending, ended_us=frames[-1].received_us if frames else self.started_us)

    @property
    def ended_us(self) -> int:
        return self.ending.ended_us

    @property
    def intact_frames(self) -> int:
        """The number of frames before the first loss."""
        last_frame = 0
        for number in sorted(self.session.batches):
            if number in self.lost:
                return last_frame
            last_frame = self.session.batches[number].last_frame
        return last_frame

    def at(self, at_us: int) -> Moment | None:
        """The newest state whose frame was received by then; None before the first frame."""
        after = bisect_right(self.moments, at_us, key=lambda moment: moment.received_us)
        return self.moments[after - 1] if after else None

    def cause(self, ticker: str, at_us: int) -> str | None:
        """Why a book was unknown; None when it was exact. Proofs are not applied."""
        moment = self.at(at_us)
        return Cause.NO_SNAPSHOT_YET if moment is None else moment.causes.get(ticker, Cause.NO_SNAPSHOT_YET)

    def has_joined(self, ticker: str, at_us: int) -> bool:
        """Whether the session has the market by then: from its start on, or since it was added."""
        moment = self.at(at_us)
        known = self.session.opening.market_tickers if moment is None else moment.causes
        return ticker in known

    def _moments(self) -> Iterator[Moment]:
        """After each stored frame, and where a loss begins."""
        fold = fold_of(self.session.opening)
        causes: dict[str, str | None] = dict.fromkeys(self.session.opening.market_tickers, "no_snapshot_yet")
        books: dict[str, tuple[Levels, Levels]] = {}
        unknown_since_loss: set[str] = set()
        received_us, is_after_loss = self.started_us, False
        for number in sorted(self.session.batches):
            batch = self.session.batches[number]
            if number in self.lost:
                fold.process(batch.frames, batch.notes)
                if not is_after_loss:
                    unknown_since_loss = set(causes)
                    yield Moment(received_us, dict.fromkeys(causes, Cause.LEDGER_HOLE), books)
                is_after_loss = True
                continue
            is_after_loss = False
            notes = list(batch.notes)
            for frame in batch.frames:
                before = [note for note in notes if note.after_frame < frame.number]
                notes = notes[len(before) :]
                folded, _ = fold.process((frame,), before)
                received_us = frame.received_us
                turned = {fact.market_ticker for fact in folded.facts if isinstance(fact, BookStateFact)}
                unknown_since_loss -= turned
                causes |= _live_causes(fold.tracker, {*causes, *turned})
                stored = causes | dict.fromkeys(unknown_since_loss, Cause.LEDGER_HOLE)
                books = books | _live_books(fold.tracker)
                yield Moment(received_us, stored, books)
            fold.process((), notes)


def _live_causes(tracker: FeedTracker, tickers: set[str]) -> dict[str, str | None]:
    """A market that has left the subscription is unknown for that reason."""
    return {
        ticker: tracker.markets[ticker].unknown_cause if ticker in tracker.markets else Cause.UNFOLLOWED
        for ticker in tickers
    }


def _live_books(tracker: FeedTracker) -> dict[str, tuple[Levels, Levels]]:
    return {
        ticker: (dict(market.book.yes_bids), dict(market.book.no_bids))
        for ticker, market in tracker.markets.items()
    }


@define(eq=False)
class ExpectedRecording:
    """All sessions of a recording, in the order in which they were stored."""

    sessions: list[Expected]

    def of(self, session_id: int) -> Expected:
        return next(session for session in self.sessions if session.session_id == session_id)

    def proofs_of(self, ticker: str) -> Iterator[tuple[int, int]]:
        """The times in which nothing happened: the earlier session is stored up to the frame of the proof."""
        by_key = {session.session.opening.key: session for session in self.sessions}
        for session in self.sessions:
            for proof in session.proofs:
                earlier = by_key.get(proof.earlier_key)
                if (
                    proof.market_ticker == ticker
                    and earlier is not None
                    and earlier.intact_frames >= proof.earlier_frame
                ):
                    yield proof.from_us, proof.received_us

    def is_proven(self, ticker: str, at_us: int) -> bool:
        return any(from_us <= at_us < until_us for from_us, until_us in self.proofs_of(ticker))

    def answer(self, session: Expected, ticker: str, at_us: int) -> tuple[bool, str | None]:
        """Exact or not, and the reason, of one session while it lasts."""
        cause = session.cause(ticker, at_us)
        if cause is not None and self.is_proven(ticker, at_us):
            return True, "proven_empty"
        return cause is None, cause

    def recording(self, ticker: str, at_us: int) -> list[Expected]:
        """The sessions of a market that were recording at an instant."""
        return [
            session
            for session in self.sessions
            if session.started_us <= at_us < session.ended_us and ticker in session_tickers(session)
        ]


def session_tickers(session: Expected) -> set[str]:
    """The markets that a stored session names: those that it began with, and those whose state is stored."""
    tickers = set(session.session.opening.market_tickers)
    for batch in session.stored:
        tickers |= {fact.market_ticker for fact in batch.facts if isinstance(fact, BookStateFact)}
    return tickers


def choose_losses(session: TwinSession, rng: random.Random) -> frozenset[int]:
    """Batches that the database loses: none, some in the middle, or the last ones."""
    numbers = sorted(session.batches)
    match rng.randrange(4):
        case 0:
            first = rng.randrange(len(numbers))
            return frozenset(numbers[first : first + rng.randint(1, 5)])
        case 1:
            return frozenset(rng.sample(numbers, len(numbers) // 8))
        case _:
            return frozenset()


async def store(url: str, sessions: Sequence[Expected]) -> ExpectedRecording:
    """Write the sessions into a database as the recorder does, without the batches that are lost."""
    async with open_connection(url) as connection:
        await apply_schema(connection)
        for expected in sessions:
            session = expected.session
            stored = await open_session(connection, session.opening)
            expected.session_id = stored.session_id
            for batch in expected.stored:
                for day in batch.days:
                    await ensure_partitions(connection, day, day)
                tickers = {fact.market_ticker for fact in batch.facts if hasattr(fact, "market_ticker")}
                market_ids = await fetch_market_ids(connection, sorted(filter(None, tickers)))
                await write_batch(connection, stored, batch, market_ids)
            await close_session(connection, stored, expected.ending)
    return ExpectedRecording(list(sessions))


def choose_instants(recording: ExpectedRecording, rng: random.Random, count: int) -> list[int]:
    """Random instants: of frames and of turns of a book, some beside them, and one before and after all."""
    times_us = [moment.received_us for session in recording.sessions for moment in session.moments]
    times_us += [us for session in recording.sessions for us in (session.started_us, session.ended_us)]
    proofs = [proof for ticker in tickers_of(recording) for proof in recording.proofs_of(ticker)]
    turns_us = [us for proof in proofs for us in proof]
    turns_us += [
        after.received_us
        for session in recording.sessions
        for before, after in pairwise(session.moments)
        if before.causes != after.causes
    ]
    chosen = [*rng.choices(times_us, k=count), *rng.sample(turns_us, min(len(turns_us), count))]
    chosen = [us + rng.choice((-1, 0, 0, 1, 700_000)) for us in chosen]
    return [*chosen, min(times_us) - DAY_US // 24, max(times_us) + DAY_US // 24]


def tickers_of(recording: ExpectedRecording) -> list[str]:
    return sorted({ticker for session in recording.sessions for ticker in session_tickers(session)})
