"""
psycopg 3 on Trio: a connection that may be cancelled at any await, and the room's edge towards psycopg.

psycopg 3.3 leaves few seams where asyncio comes in: `connect`, `wait`, `lock`, `cancel_safe`. They are
replaced here; SQL, adaptation, COPY and transactions stay psycopg's. This module knows nothing of the tables.

Cancellation. asyncio cancels once, Trio at every checkpoint until the scope is left; psycopg's clean-up code
awaits as if it were cancelled once. Left alone, a cancelled `transaction()` would stop at the connection's
lock, never send its ROLLBACK, and leave the transaction open. So:

- `wait` meets an interruption as psycopg meets its own: it asks the server to cancel and ends the
  conversation, shielded, with a deadline, and then lets the interruption go on. A connection that can't be
  settled in time is closed. The caller never gets back a connection in the middle of something.
- `transaction()` rolls back shielded, with a deadline. After the outermost block the connection is idle, or
  closed.
- A COMMIT that is cancelled may have happened or not; only the database can tell: the ledger is there for it.
- Closing never waits: libpq's farewell is one attempt to send on a non-blocking socket.

Whoever opens a connection owns it. Several tasks may use one: its lock makes statements and whole COPYs take
turns.
"""

import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import psycopg
import trio
from psycopg import pq
from psycopg.abc import RV, AdaptContext, ConnParam, Params, PQGen, Query
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_attempts, conninfo_to_dict, make_conninfo, timeout_from_conninfo
from psycopg.copy import AsyncLibpqWriter, AsyncWriter
from psycopg.pq.abc import PGconn
from psycopg.rows import AsyncRowFactory, TupleRow, tuple_row
from typing_extensions import override

from collector.errors import StoreRejected, StoreUnavailable
from collector.postgres._errors import translate_errors
from collector.postgres._session_settings import DEFAULT_SCHEMA, session_commands, transaction_commands
from collector.postgres._urls import describe_host, redact
from collector.postgres._waiting import drain_conversation, wait_connecting, wait_conversation

Row = TypeVar("Row")

# How long an interrupted conversation may take to end before the connection is given up. A cancel request is
# a new connection to the server, TLS included: some four round trips, then the end of the query. Three
# seconds leave room for a distant server, and stay well inside the time that a deployment gives us to stop.
SETTLE_TIMEOUT_S = 3.0

# A server that vanished without a word is found after 5 + 3 * 3 = 14 s when we wait for it, and after 15 s
# when we send to it. What the URL says about these comes first.
KEEPALIVE_OPTIONS: Mapping[str, ConnParam] = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}

_IDLE = pq.TransactionStatus.IDLE
_ACTIVE = pq.TransactionStatus.ACTIVE
_INERROR = pq.TransactionStatus.INERROR
_SETTLED = (_IDLE, pq.TransactionStatus.INTRANS, _INERROR)


class TrioConnection(psycopg.AsyncConnection[TupleRow]):
    """A psycopg connection whose every await is Trio's. After an interruption it is usable, or closed."""

    settle_timeout_s: float = SETTLE_TIMEOUT_S
    schema: str = DEFAULT_SCHEMA
    """The PostgreSQL schema in which tables are found and made."""
    transaction_commands: bytes = b""
    """Set for a transaction pooler: what each transaction begins with. No statement runs outside of one."""

    def __init__(self, pgconn: PGconn, row_factory: AsyncRowFactory[TupleRow] = tuple_row) -> None:
        super().__init__(pgconn, row_factory)
        self.lock = trio.StrictFIFOLock()  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
        self.cursor_factory = TrioCursor

    @override
    @classmethod
    async def connect(
        cls,
        conninfo: str = "",
        *,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[Any] | None = None,
        cursor_factory: type[psycopg.AsyncCursor[Any]] | None = None,
        **kwargs: ConnParam,
    ) -> Self:
        """
        Connect to the first host that answers, as libpq would choose it.

        Raises:
            psycopg.OperationalError: no host let us in; the message tells each one's answer.
        """
        params = conninfo_to_dict(conninfo, **kwargs)
        timeout_s = timeout_from_conninfo(params)
        # Names are resolved in a thread, by the code that psycopg's own blocking connection uses; a resolver
        # that hangs is left behind when we are cancelled.
        attempts = await trio.to_thread.run_sync(conninfo_attempts, params, abandon_on_cancel=True)
        failures: list[str] = []
        for number, attempt in enumerate(attempts):
            # A host that swallows packets gets its share of the time, so that the next one has its turn.
            # In a cancelled scope the deadline lies in the past, and the attempt ends at its first await.
            left_s = max(0.0, trio.current_effective_deadline() - trio.current_time())
            share_s = left_s / (len(attempts) - number)
            connection = None
            with trio.move_on_after(min(timeout_s, share_s)) as scope:
                try:
                    connection = await wait_connecting(cls._connect_gen(make_conninfo("", **attempt)))
                except psycopg.Error as error:
                    failures.append(str(error))
            if connection is not None:
                connection._autocommit = autocommit
                connection.prepare_threshold = prepare_threshold
                connection.row_factory = row_factory or connection.row_factory
                connection.cursor_factory = cursor_factory or connection.cursor_factory
                if context is not None:
                    connection._adapters = AdaptersMap(context.adapters)
                return connection
            if scope.cancelled_caught:
                failures.append(f"no answer from {describe_host(attempt)}")
        raise psycopg.OperationalError("; ".join(failures))

    @override
    async def wait(self, gen: PQGen[RV], interval: float = math.inf, timeout: float | None = None) -> RV:
        """
        Drive a conversation to its end. `interval` is psycopg's and has no meaning here: see `waiting`.

        Raises:
            psycopg.OperationalError: `timeout` has passed, or the connection is gone.
        """
        try:
            with trio.move_on_after(math.inf if timeout is None else timeout):
                return await wait_conversation(gen, self.pgconn)
        except BaseException as error:
            # Cancelled, alone or in a group, and KeyboardInterrupt: an error comes where a conversation ends.
            interrupted = not isinstance(error, Exception)
            try:
                if interrupted:
                    with trio.move_on_after(self.settle_timeout_s, shield=True):
                        await self._settle()
            finally:
                if interrupted and self.pgconn.transaction_status not in _SETTLED:
                    self.close_nowait()
                # Last: psycopg's way out of a pipeline sends once more when its conversation is closed.
                with suppress(Exception):
                    gen.close()
            raise
        raise psycopg.errors._WaitTimeout("wait timeout expired")  # pyright: ignore[reportPrivateUsage]

    async def _settle(self) -> None:
        # Brings an interrupted connection back to between two conversations. What a pipeline has sent and
        # what it still waits for is known to psycopg alone: it stays as it is, and so will be closed.
        if self.pgconn.transaction_status != _ACTIVE or self.pgconn.pipeline_status != pq.PipelineStatus.OFF:
            return
        await self._try_cancel(timeout=self.settle_timeout_s / 2)
        with suppress(psycopg.Error):
            await wait_conversation(drain_conversation(self.pgconn), self.pgconn)

    @override
    async def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """
        Ask the server to cancel what it does for this connection, and wait until it has been told.

        Raises:
            psycopg.errors.CancellationTimeout: the server did not take the request in time.
        """
        if not self._should_cancel():
            return
        with trio.move_on_after(timeout or math.inf):
            await wait_connecting(self._cancel_gen())
            return
        raise psycopg.errors.CancellationTimeout("cancellation timeout expired")

    @override
    async def _try_cancel(self, *, timeout: float = 5.0) -> None:
        # psycopg calls this in its clean-up code, where Trio's cancellation still holds. A request that fails
        # is no error: the query may end by itself, and who waits for it has a deadline.
        with trio.move_on_after(timeout, shield=True), suppress(psycopg.Error, OSError):
            await self.cancel_safe(timeout=timeout)

    @override
    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncGenerator[psycopg.AsyncTransaction]:
        """Everything in the block, or nothing of it; inside another block, a savepoint."""
        transaction = TrioTransaction(self, savepoint_name, force_rollback)
        if self._pipeline:
            async with self.pipeline(), transaction, self.pipeline():
                yield transaction
        else:
            async with transaction:
                if transaction.is_outermost and self.transaction_commands:
                    await self.execute(self.transaction_commands)
                yield transaction

    @override
    def _start_query(self) -> PQGen[None]:
        # Outside of a transaction, a server connection of a pooler has the settings of anybody.
        if self.transaction_commands and self.pgconn.transaction_status == _IDLE:
            raise psycopg.ProgrammingError("through a pooler, every statement runs in a transaction")
        yield from super()._start_query()

    @override
    @asynccontextmanager
    async def pipeline(self) -> AsyncGenerator[psycopg.AsyncPipeline]:
        """psycopg's pipeline mode. An interruption inside it closes the connection."""
        try:
            async with super().pipeline() as pipeline:
                yield pipeline
        except BaseException:
            if self.pgconn.pipeline_status != pq.PipelineStatus.OFF:
                self.close_nowait()
            raise

    def close_nowait(self) -> None:
        """Close the connection; who waits on it gets an error. Never waits, may be called twice."""
        self._closed = True
        with suppress(psycopg.Error):  # raised when libpq has no socket any more
            trio.lowlevel.notify_closing(self.pgconn.socket)
        self.pgconn.finish()

    @override
    async def close(self) -> None:
        """Close the connection. Not a checkpoint, so that it also works in a cancelled scope."""
        self.close_nowait()


class TrioTransaction(psycopg.AsyncTransaction):
    """A transaction block that is over when it is left, whatever ended it."""

    _conn: TrioConnection

    @property
    def is_outermost(self) -> bool:
        """Whether it is a transaction of its own, and not a savepoint; known once it was entered."""
        return self._outer_transaction

    @override
    async def __aenter__(self) -> Self:
        async with self._conn.lock:
            self._check_enter()
            try:
                await self._conn.wait(self._enter_gen())
            except BaseException as error:
                # The lock is ours already, so psycopg's own leaving can't be used.
                with trio.move_on_after(self._conn.settle_timeout_s, shield=True):
                    if not self._conn.closed:
                        await self._conn.wait(self._exit_gen(type(error), error, None))
                self._close_if_open()
                raise
        return self

    @override
    def __aexit__(  # pyright: ignore[reportIncompatibleMethodOverride] - awaited, it is the same
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> Coroutine[Any, Any, bool]:
        return self._leave(exc_val)

    async def _leave(self, exc_val: BaseException | None) -> bool:
        # Rolling back is shielded; a COMMIT may be cancelled like any statement.
        if exc_val is not None or self.force_rollback:
            return await self._roll_back(exc_val)
        if self.pgconn.transaction_status == _INERROR:
            # The block swallowed an error. PostgreSQL answers this COMMIT with a ROLLBACK that is no error,
            # and psycopg would report success.
            failed = psycopg.errors.InFailedSqlTransaction(
                "a statement of the transaction failed, and the block went on"
            )
            await self._roll_back(failed)
            raise failed
        try:
            return await super().__aexit__(None, None, None)
        except BaseException as error:
            if self.status is self.Status.ACTIVE:  # cancelled at the lock, before COMMIT was sent
                with trio.move_on_after(self._conn.settle_timeout_s, shield=True):
                    await super().__aexit__(type(error), error, None)
                self._close_if_open()
            raise

    async def _roll_back(self, error: BaseException | None) -> bool:
        swallow = False
        error_type = None if error is None else type(error)
        with trio.move_on_after(self._conn.settle_timeout_s, shield=True):
            swallow = await super().__aexit__(error_type, error, None)
        self._close_if_open()
        return swallow

    def _close_if_open(self) -> None:
        # psycopg only logs a ROLLBACK that fails. What a block may have left open goes with its connection:
        # the server rolls back when that is gone.
        left_open = self._outer_transaction and self.pgconn.transaction_status != _IDLE
        if left_open or self.status is self.Status.ACTIVE:
            self._conn.close_nowait()


class TrioCursor(psycopg.AsyncCursor[Row]):
    """psycopg's cursor, with a COPY that ends properly in a cancelled scope."""

    @override
    @asynccontextmanager
    async def copy(
        self, statement: Query, params: Params | None = None, *, writer: AsyncWriter | None = None
    ) -> AsyncGenerator[psycopg.AsyncCopy]:
        """Run a COPY. A block that is left by an error takes back all of its rows."""
        async with super().copy(statement, params, writer=writer or TrioCopyWriter(self)) as copy:
            yield copy


class TrioCopyWriter(AsyncLibpqWriter):
    """Writes the data of a COPY; an error in the block is told to the server shielded, with a deadline."""

    @override
    async def finish(self, exc: BaseException | None = None) -> None:
        """End the COPY; `exc` is what ended the block, if anything did."""
        if exc is None:
            await super().finish()
            return
        if self._pgconn.transaction_status != _ACTIVE:
            return  # the interruption has ended the COPY already, or the connection is closed
        connection = self.connection
        timeout_s = (
            connection.settle_timeout_s if isinstance(connection, TrioConnection) else SETTLE_TIMEOUT_S
        )
        with trio.move_on_after(timeout_s, shield=True):
            await super().finish(exc)


ConnectStore: TypeAlias = Callable[[], AbstractAsyncContextManager[TrioConnection]]
"""Opens a connection to whatever database its maker has chosen."""


@asynccontextmanager
async def open_connection(
    conninfo: str,
    *,
    schema: str = DEFAULT_SCHEMA,
    is_pooled: bool = False,
    application_name: str = "collector",
    connect_timeout_s: float = 10.0,
) -> AsyncGenerator[TrioConnection]:
    """
    Open a connection in autocommit mode; transactions are `connection.transaction()` blocks.

    The session has the settings that this program relies on; tables are found and made in `schema`. With
    `is_pooled`, for a transaction pooler, each transaction sets them, statements outside of transactions are
    refused, and none is prepared: the next transaction may run on a backend that never saw it. Errors of the
    block pass through as they are: see `translate_errors`.

    Raises:
        StoreUnavailable: no connection within `connect_timeout_s`.
        StoreRejected: `conninfo` can't be parsed, or the server refuses a setting.
    """
    with translate_errors():
        connection = await _connect(conninfo, schema, is_pooled, application_name, connect_timeout_s)
    try:
        yield connection
    finally:
        connection.close_nowait()


async def _connect(
    conninfo: str, schema: str, is_pooled: bool, application_name: str, connect_timeout_s: float
) -> TrioConnection:
    try:
        params = conninfo_to_dict(conninfo)
    except psycopg.Error:
        # libpq quotes what it can't parse, which may be the password: the cause is left out on purpose.
        raise StoreRejected("the database URL can't be parsed") from None
    try:
        with trio.fail_after(connect_timeout_s):
            connection = await TrioConnection.connect(
                make_conninfo("", **{**KEEPALIVE_OPTIONS, **params, "application_name": application_name}),
                autocommit=True,
                prepare_threshold=None if is_pooled else 5,
            )
            connection.schema = schema
            await _use_settings(connection, is_pooled)
            return connection
    except trio.TooSlowError as error:
        raise StoreUnavailable(
            f"no connection to {redact(conninfo)} within {connect_timeout_s:g} s"
        ) from error


async def _use_settings(connection: TrioConnection, is_pooled: bool) -> None:
    version = connection.pgconn.server_version
    if is_pooled:
        connection.transaction_commands = transaction_commands(version, connection.schema)
        return
    try:
        await connection.execute(session_commands(version, connection.schema))
    except BaseException:
        connection.close_nowait()
        raise
