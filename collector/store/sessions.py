"""
Where the batches of one session go: the interface, and PostgreSQL behind it.

A `SessionStore` outlives its connections: it knows the numbers and the lexicons that were given, so that the
next connection goes on where the last one broke. One task uses it at a time.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from attrs import define, field
from typing_extensions import override

from collector.store.batch import (
    Batch,
    SessionEnding,
    SessionOpening,
    close_session,
    ensure_partitions,
    fetch_last_lexicon,
    fetch_market_ids,
    open_session,
    write_batch,
)
from collector.store.connection import ConnectStore, TrioConnection
from collector.store.lexicon import LexiconBuilder


class SessionLink(Protocol):
    """One connection's worth of a session store. Everything may be repeated, also after it half happened."""

    async def begin(self) -> int:
        """Make the session's row, or find it, and give the session's number."""
        ...

    async def write(self, batch: Batch) -> None:
        """Put a batch in, whole or not at all. Batches come in order."""
        ...

    async def end(self, ending: SessionEnding) -> None:
        """Note how the session ended."""
        ...


class SessionStore(Protocol):
    """What keeps one session. Raises StoreUnavailable where the same call is due again later."""

    def connect(self) -> AbstractAsyncContextManager[SessionLink]:
        """A connection, for the time of a block."""
        ...


OpenStore = Callable[[SessionOpening], SessionStore]
"""Gives the store of a session that begins so."""


@define(eq=False)
class PostgresSession(SessionStore):
    """A session in PostgreSQL."""

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
            # Blocks that an earlier process has written keep the lexicons that they were written with.
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
            # A batch that was in already has its own lexicon with it, which need not be this one.
            session.stored_lexicon = lexicon.number

    @override
    async def end(self, ending: SessionEnding) -> None:
        assert self.session.session_id is not None
        await close_session(self.connection, self.session.session_id, ending)

    async def _prepare(self, batch: Batch) -> None:
        """Numbers for new markets, and partitions for days that nobody foresaw (a clock that jumped)."""
        session = self.session
        unknown = batch.market_tickers - session.market_ids.keys()
        if unknown:
            session.market_ids.update(await fetch_market_ids(self.connection, sorted(unknown)))
        for day in batch.days - session.known_days:
            await ensure_partitions(self.connection, day, day)
            session.known_days.add(day)
