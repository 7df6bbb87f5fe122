"""A session's batches into PostgreSQL."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from attrs import define, field
from typing_extensions import override

from collector.database._batches import fetch_last_lexicon, write_batch
from collector.database._markets import fetch_market_ids
from collector.database._partitions import ensure_partitions
from collector.database._sessions import close_session, open_session
from collector.postgres import ConnectStore, TrioConnection
from collector.rawblocks import LexiconBuilder
from collector.storage import (
    Batch,
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
    session_id: int | None = None
    market_ids: dict[str, int] = field(factory=dict[str, int])
    known_days: set[int] = field(factory=set[int])
    lexicons: LexiconBuilder = field(factory=LexiconBuilder)
    stored_lexicon: int = 0

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
    async def begin(self) -> int:
        session = self.session
        if session.session_id is None:
            session_id = await open_session(self.connection, session.opening)
            # Blocks that an earlier process has written keep the dictionaries that they were written with.
            session.lexicons.last_number = await fetch_last_lexicon(self.connection, session_id)
            session.session_id = session_id
        return session.session_id

    @override
    async def write(self, batch: Batch) -> None:
        session = self.session
        assert session.session_id is not None
        await self._prepare(batch)
        lexicon = session.lexicons.learn(batch.frames)
        is_written = await write_batch(
            self.connection,
            session.session_id,
            batch,
            session.market_ids,
            lexicon,
            is_lexicon_stored=lexicon.number == session.stored_lexicon,
        )
        if is_written:
            # If the batch was already stored, its dictionary was stored with it and may differ from this one.
            session.stored_lexicon = lexicon.number

    @override
    async def end(self, ending: SessionEnding) -> None:
        assert self.session.session_id is not None
        await close_session(self.connection, self.session.session_id, ending)

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
