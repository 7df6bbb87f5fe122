"""A session's batches into PostgreSQL."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from attrs import define, field
from typing_extensions import override

from collector.database._batches import fetch_last_lexicon, write_batch
from collector.database._ledger import StoredSession
from collector.database._markets import fetch_market_ids
from collector.database._partitions import ensure_partitions
from collector.database._sessions import close_session, open_session
from collector.errors import StoreChanged, StoreRejected
from collector.postgres import ConnectStore, TrioConnection
from collector.rawblocks import LexiconBuilder
from collector.storage import (
    Batch,
    Held,
    SessionEnding,
    SessionLink,
    SessionOpening,
    SessionStore,
    numbered_markets,
)


@define(eq=False)
class PostgresSession(SessionStore):
    """
    A session in PostgreSQL. It keeps the numbers and dictionaries that were given, from one connection to the
    next.
    """

    opening: SessionOpening
    open_connection: ConnectStore
    stored: StoredSession | None = None
    market_ids: dict[str, int] = field(factory=dict[str, int])
    known_days: set[int] = field(factory=set[int])
    lexicons: LexiconBuilder = field(factory=LexiconBuilder)
    stored_lexicon: int = 0

    def forget_numbers(self) -> None:
        """The database is in another state: the next connection requests everything that it gave."""
        self.stored = None
        self.market_ids.clear()
        self.known_days.clear()
        self.stored_lexicon = 0

    @override
    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[SessionLink]:
        async with self.open_connection() as connection:
            yield _PostgresLink(self, connection)


@define(eq=False)
class _PostgresLink(SessionLink):
    session: PostgresSession
    connection: TrioConnection

    @override
    async def begin(self) -> Held:
        session, known = self.session, self.session.stored
        stored = await open_session(self.connection, session.opening)
        if known is None or not stored.continues(known):
            session.forget_numbers()
            # Blocks that an earlier process has written keep the dictionaries that they were written with.
            last_number = await fetch_last_lexicon(self.connection, stored.session_id)
            session.lexicons = LexiconBuilder(last_number)
        session.stored = stored
        return Held(stored.session_id, stored.last_batch, str(stored.database))

    @override
    async def write(self, batch: Batch) -> None:
        await self._write(batch)

    @override
    async def try_out(self, batch: Batch) -> None:
        await self._write(batch, is_trial=True)

    async def _write(self, batch: Batch, *, is_trial: bool = False) -> None:
        session = self.session
        assert session.stored is not None
        with self._current_numbers():
            await self._prepare(batch)
            lexicon = session.lexicons.learn(batch.frames)
            is_written = await write_batch(
                self.connection,
                session.stored,
                batch,
                session.market_ids,
                lexicon,
                is_lexicon_stored=lexicon.number == session.stored_lexicon,
                is_trial=is_trial,
            )
        if is_written and not is_trial:
            # If the batch was already stored, its dictionary was stored with it and may differ from this one.
            session.stored_lexicon = lexicon.number

    @override
    async def end(self, ending: SessionEnding) -> str:
        session = self.session
        assert session.stored is not None
        with self._current_numbers():
            return await close_session(self.connection, session.stored, ending)

    @contextmanager
    def _current_numbers(self) -> Generator[None]:
        """Forget all numbers when a write fails that relied on them."""
        try:
            yield
        except (StoreChanged, StoreRejected):
            # A refusal may mean that partitions or tables are not there any more.
            self.session.forget_numbers()
            raise
        except UnicodeError as error:
            raise StoreRejected(f"text can't be encoded for the database: {error}") from error

    async def _prepare(self, batch: Batch) -> None:
        """
        Numbers for new markets, and partitions for days that maintenance has not made (a clock that jumped).
        """
        session = self.session
        unknown = numbered_markets(batch.rows) - session.market_ids.keys()
        if unknown:
            session.market_ids.update(await fetch_market_ids(self.connection, sorted(unknown)))
        for day in batch.days - session.known_days:
            await ensure_partitions(self.connection, day, day)
            session.known_days.add(day)
