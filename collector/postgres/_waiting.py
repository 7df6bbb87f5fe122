"""
How psycopg's conversations wait on Trio.

psycopg writes every conversation with libpq as a generator that does no I/O of its own: it yields what it
wants of the socket (`Wait.R`, `Wait.W`, both) and is sent back what the socket is ready for (`Ready`). This
module waits, and nothing else: it knows no SQL, no connection class, no deadline. Deadlines are the scopes of
whoever calls.

Theory of operation:

- The first step of a generator runs before any checkpoint. What a conversation sends first (the end of a
  COPY, a ROLLBACK) is therefore sent even in a scope that is already cancelled.
- psycopg's own loops also wake ten times a second (`interval`), to see Ctrl-C and a socket that was closed
  under them. Trio delivers both by itself, so nothing here polls: a `Ready` of nothing is never sent.
- A socket that is wanted for writing is nearly always writable, and asking the kernel costs a microsecond
  where a trip through the scheduler costs ten: so it is asked first.
- libpq may close its socket and open another one, while connecting above all; the number of the socket is
  read again before each wait. A socket that another task closes is announced by
  `trio.lowlevel.notify_closing` (`TrioConnection.close_nowait` does it), or epoll would wait for ever.

Cancellation: `trio.Cancelled` leaves the generator suspended where it was. The caller must see to it that the
conversation ends: see `drain_conversation`.
"""

import select
from collections.abc import Awaitable, Callable

import psycopg
import trio
from psycopg import pq
from psycopg.abc import RV, PQGen, PQGenConn
from psycopg.generators import copy_from, fetch, send
from psycopg.pq.abc import PGconn
from psycopg.waiting import Ready, Wait

# A conversation that never blocks (a pipeline on a fast socket) lets the other tasks run after so many steps:
# at some five microseconds a step, about half a millisecond.
STEPS_WITHOUT_CHECKPOINT_MAX = 100

_ACTIVE = pq.TransactionStatus.ACTIVE

# The text that the server's log shows for a COPY that was given up.
COPY_GIVEN_UP = b"the client gave the copy up"


async def wait_conversation(conversation: PQGen[RV], pgconn: PGconn) -> RV:
    """Drive a conversation on an open connection to its end. Lets other tasks run at least once."""
    steps = 0
    fileno = pgconn.socket  # raises on a closed connection before the conversation has begun anything
    wanted = Wait.W
    try:
        wanted = next(conversation)
        while True:
            steps += 1
            if steps % STEPS_WITHOUT_CHECKPOINT_MAX == 0:
                await trio.lowlevel.checkpoint()
            wanted = conversation.send(await wait_socket(fileno, wanted))
            fileno = pgconn.socket
    except StopIteration as end:
        result: RV = end.value
    if wanted != Wait.R:
        await _let_others_run(pgconn)
    return result


async def _let_others_run(pgconn: PGconn) -> None:
    # For a conversation that may not have waited at all. A COPY writes most of its data into buffers: without
    # this it would keep the loop, and could not be cancelled. Any other conversation that is done is done,
    # cancelled or not: psycopg's own bookkeeping, entering a pipeline above all, does not expect to be
    # stopped where it did not wait.
    if pgconn.transaction_status == _ACTIVE and pgconn.pipeline_status == pq.PipelineStatus.OFF:
        await trio.lowlevel.checkpoint()
    else:
        await trio.lowlevel.cancel_shielded_checkpoint()


async def wait_connecting(conversation: PQGenConn[RV]) -> RV:
    """Drive a conversation that brings its own socket: connecting, and asking for a cancellation."""
    try:
        fileno, wanted = next(conversation)
        while True:
            fileno, wanted = conversation.send(await wait_socket(fileno, wanted))
    except StopIteration as end:
        result: RV = end.value
        return result
    finally:
        # Cancelled: the generator holds the only reference to the half-open connection, and lets it go here
        # and not whenever the garbage collector comes.
        conversation.close()


async def wait_socket(fileno: int, wanted: Wait) -> Ready:
    """Wait until the socket is ready for what is wanted, and say for what. A checkpoint only if it waits."""
    if wanted & Wait.W:
        ready = poll_socket(fileno, wanted)
        if ready:
            return ready
    try:
        if wanted == Wait.R:
            await trio.lowlevel.wait_readable(fileno)
            return Ready.R
        if wanted == Wait.W:
            await trio.lowlevel.wait_writable(fileno)
            return Ready.W
    except trio.ClosedResourceError:
        raise _closed_under_us() from None
    except OSError as error:
        raise _closed_under_us() from error
    return await _wait_either(fileno)


def poll_socket(fileno: int, wanted: Wait) -> Ready:
    """What the socket is ready for at this instant; hang-up and errors count as ready: libpq tells them."""
    poll = select.poll()
    poll.register(
        fileno, (select.POLLIN if wanted & Wait.R else 0) | (select.POLLOUT if wanted & Wait.W else 0)
    )
    ready = 0
    for _, events in poll.poll(0):
        if events & ~select.POLLOUT and wanted & Wait.R:
            ready |= Ready.R
        if events & ~select.POLLIN and wanted & Wait.W:
            ready |= Ready.W
    return Ready(ready)


async def _wait_either(fileno: int) -> Ready:
    # The server may be blocked on sending to us while our own buffer is full: both ways must be watched, or
    # each side would wait for the other. Only a full send buffer leads here, so the nursery's price is paid
    # seldom. The children swallow the closing instead of raising, so that only Cancelled comes in a group.
    ready = 0
    closed = False

    async def watch(wait: Callable[[int], Awaitable[None]], readiness: Ready) -> None:
        nonlocal ready, closed
        try:
            await wait(fileno)
        except (trio.ClosedResourceError, OSError):
            closed = True
        else:
            ready |= readiness
        nursery.cancel_scope.cancel(reason="the socket is ready")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, trio.lowlevel.wait_readable, Ready.R)
        nursery.start_soon(watch, trio.lowlevel.wait_writable, Ready.W)
    if closed:
        raise _closed_under_us()
    return Ready(ready)


def _closed_under_us() -> psycopg.OperationalError:
    return psycopg.OperationalError("the connection was closed while a task waited on it")


def drain_conversation(pgconn: PGconn) -> PQGen[None]:
    """
    End whatever conversation is under way, by reading what the server still sends and dropping it.

    An interrupted conversation is not resumed: one that has several commands (BEGIN and a savepoint, prepare
    and execute) would send its next one, long after its caller has gone. Not for pipeline mode.
    """
    yield from send(pgconn)
    while pgconn.transaction_status == _ACTIVE:
        result = yield from fetch(pgconn)
        if result is None:
            return
        if result.status == pq.ExecStatus.COPY_IN:
            while pgconn.put_copy_end(COPY_GIVEN_UP) == 0:
                yield Wait.W
            yield from send(pgconn)
        elif result.status == pq.ExecStatus.COPY_OUT:
            while isinstance((yield from copy_from(pgconn)), memoryview):
                pass
