"""
What a cancellation leaves behind, phase by phase: a connection that works or is closed, and a quiet server.

A proxy between client and server cuts and stalls the wire where a test wants it.
"""

import os
from collections.abc import Awaitable, Callable

import pytest
import trio
from psycopg import pq

from collector.errors import StoreUnavailable
from collector.postgres import TrioConnection, open_connection, translate_errors
from tests.postgres.test_connection import (
    COPY_HEADER,
    COPY_NUMBERS,
    PROMPT_S,
    binary_rows,
    proxied,
    value,
    wait_until_quiet,
    with_table,
)
from tests.tcp_proxy import TcpProxy


async def test_cancelled_connect_leaves_no_socket() -> None:
    """A connect to a server that accepts and says nothing is cancelled at once and closes its socket."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    open_before = len(os.listdir("/proc/self/fd"))
    with trio.fail_after(PROMPT_S), trio.move_on_after(0.2) as scope:
        async with open_connection(f"postgresql://u:secret@127.0.0.1:{port}/d"):
            pytest.fail("nothing answered")

    assert scope.cancelled_caught
    assert open_before == len(os.listdir("/proc/self/fd"))
    await listeners[0].aclose()


async def test_connect_in_a_cancelled_scope(database_url: str) -> None:
    """Connecting where everything is cancelled already is cancelled like any other await."""
    with trio.move_on_after(PROMPT_S) as scope:
        scope.cancel()
        async with open_connection(database_url):
            pytest.fail("the scope is cancelled")

    assert scope.cancelled_caught


async def test_silent_server_is_unavailable() -> None:
    """A server that says nothing within the connect timeout is `StoreUnavailable`, without the password."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}") as caught:
        async with open_connection(f"postgresql://u:secret@127.0.0.1:{port}/d", connect_timeout_s=0.2):
            pytest.fail("nothing answered")

    assert "secret" not in str(caught.value)
    await listeners[0].aclose()


async def cancel_query(connection: TrioConnection, scope: trio.CancelScope) -> None:
    scope.deadline = trio.current_time() + 0.1
    await connection.execute("INSERT INTO numbers SELECT 1 FROM pg_sleep(60)")


async def cancel_query_in_transaction(connection: TrioConnection, scope: trio.CancelScope) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO numbers VALUES (1)")
        await cancel_query(connection, scope)


async def cancel_block(connection: TrioConnection, scope: trio.CancelScope) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO numbers VALUES (1)")
        scope.cancel(reason="between two statements")
        await trio.lowlevel.checkpoint()


async def cancel_before_commit(connection: TrioConnection, scope: trio.CancelScope) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO numbers VALUES (1)")
        scope.cancel(reason="no checkpoint before the end of the block")


async def cancel_begin(connection: TrioConnection, scope: trio.CancelScope) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_soon, scope)
        async with connection.transaction():
            await connection.execute("INSERT INTO numbers VALUES (1)")
            await trio.sleep_forever()


async def cancel_soon(scope: trio.CancelScope) -> None:
    # Runs while the other task waits for the first time: for the server's answer to what it has just sent.
    await trio.lowlevel.checkpoint()
    scope.cancel(reason="while the first statement is under way")


async def cancel_copy_write(connection: TrioConnection, scope: trio.CancelScope) -> None:
    scope.deadline = trio.current_time() + 0.1
    async with connection.transaction(), connection.cursor() as cursor, cursor.copy(COPY_NUMBERS) as copy:
        await copy.write(binary_rows(range(1000)))
        while True:
            await copy.write(binary_rows(range(1000))[len(COPY_HEADER) :])


async def cancel_copy_pause(connection: TrioConnection, scope: trio.CancelScope) -> None:
    async with connection.cursor() as cursor, cursor.copy(COPY_NUMBERS) as copy:
        await copy.write(binary_rows(range(1000)))
        scope.cancel(reason="between two writes")
        await trio.lowlevel.checkpoint()


async def cancel_copy_start(connection: TrioConnection, scope: trio.CancelScope) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_soon, scope)
        async with connection.cursor() as cursor, cursor.copy(COPY_NUMBERS):
            await trio.sleep_forever()


async def cancel_copy_end(connection: TrioConnection, scope: trio.CancelScope) -> None:
    async with connection.cursor() as cursor, cursor.copy(COPY_NUMBERS) as copy:
        await copy.write(COPY_HEADER)
        scope.cancel(reason="no checkpoint before the end of the COPY")


async def cancel_copy_out(connection: TrioConnection, scope: trio.CancelScope) -> None:
    statement = "COPY (SELECT generate_series(1, 100000000)) TO STDOUT"
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        await copy.read()
        scope.cancel(reason="in the middle of a COPY towards us")
        while await copy.read():
            pass


PHASES = [
    cancel_query,
    cancel_query_in_transaction,
    cancel_block,
    cancel_before_commit,
    cancel_begin,
    cancel_copy_write,
    cancel_copy_pause,
    cancel_copy_start,
    cancel_copy_end,
    cancel_copy_out,
]


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
async def test_cancelled_connection_is_usable(
    database_url: str, phase: Callable[[TrioConnection, trio.CancelScope], Awaitable[None]]
) -> None:
    """Wherever a task is cancelled: promptly, no row stays, no query runs on, and the connection works."""
    async with open_connection(database_url) as connection:
        await with_table(connection)
        with trio.fail_after(PROMPT_S), trio.CancelScope() as scope:
            await phase(connection, scope)

        assert scope.cancelled_caught
        assert connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
        await wait_until_quiet(database_url)
        assert await value(connection, "SELECT count(*) FROM numbers") == 0


async def test_cancelled_pipeline_closes(database_url: str) -> None:
    """A pipeline that is cancelled closes its connection, and no row stays."""
    async with open_connection(database_url) as connection:
        await with_table(connection)
        with trio.fail_after(PROMPT_S), trio.move_on_after(0.05) as scope:
            async with connection.transaction(), connection.cursor() as cursor:
                await cursor.executemany("INSERT INTO numbers VALUES (%s)", ((n,) for n in range(10**6)))

        assert scope.cancelled_caught
        assert connection.closed
    await wait_until_quiet(database_url)
    async with open_connection(database_url) as connection:
        assert await value(connection, "SELECT count(*) FROM numbers") == 0


async def test_cancelled_commit_that_hangs_closes(database_url: str) -> None:
    """A COMMIT that never gets through is given up in bounded time, the connection closed, no row kept."""
    async with proxied(database_url) as (proxy, connection):
        await with_table(connection)
        with trio.fail_after(PROMPT_S), trio.move_on_after(0.2) as scope:
            async with connection.transaction():
                await connection.execute("INSERT INTO numbers VALUES (1)")
                proxy.stall("to_server")

        assert scope.cancelled_caught
        assert connection.closed
        with pytest.raises(StoreUnavailable), translate_errors():
            await connection.execute("SELECT 1")
    await wait_until_quiet(database_url)
    async with open_connection(database_url) as connection:
        assert await value(connection, "SELECT count(*) FROM numbers") == 0


async def insert(connection: TrioConnection) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO numbers VALUES (1)")


@pytest.mark.parametrize(("cut", "rows"), [("before", 0), ("after", 1)])
async def test_wire_cut_at_commit(database_url: str, cut: str, rows: int) -> None:
    """A wire that is cut at COMMIT looks the same from here, whether the server has committed or not."""
    async with proxied(database_url) as (proxy, connection):
        await with_table(connection)
        (proxy.cut_before if cut == "before" else proxy.cut_after)(b"COMMIT\0")
        with pytest.raises(StoreUnavailable), translate_errors():
            await insert(connection)

        assert connection.closed
    await wait_until_quiet(database_url)
    async with open_connection(database_url) as connection:
        assert rows == await value(connection, "SELECT count(*) FROM numbers")


async def test_copy_into_a_stalled_wire_is_cancelled(database_url: str) -> None:
    """A COPY whose send buffer is full and stays full is cancelled in bounded time."""
    async with proxied(database_url) as (proxy, connection):
        await with_table(connection)
        with trio.fail_after(2 * PROMPT_S), trio.move_on_after(0.3) as scope:
            async with connection.cursor() as cursor, cursor.copy(COPY_NUMBERS) as copy:
                proxy.stall("to_server")
                while True:
                    await copy.write(binary_rows(range(100_000)))

        assert scope.cancelled_caught
        assert connection.closed
    await wait_until_quiet(database_url)


async def test_long_query_into_a_stalled_wire_is_cancelled(database_url: str) -> None:
    """A query longer than the send buffer, which waits for both directions, is cancelled in bounded time."""
    async with proxied(database_url) as (proxy, connection):
        proxy.stall("to_server")
        with trio.fail_after(2 * PROMPT_S), trio.move_on_after(0.2) as scope:
            await connection.execute("SELECT length(%s)", ("x" * 20_000_000,))

        assert scope.cancelled_caught
        assert connection.closed


async def test_long_query_goes_on_when_the_wire_does(database_url: str) -> None:
    """A query that fills the send buffer is finished when the server reads again."""
    async with proxied(database_url) as (proxy, connection), trio.open_nursery() as nursery:
        proxy.stall("to_server")
        nursery.start_soon(resume_soon, proxy)
        cursor = await connection.execute("SELECT length(%s)", ("x" * 20_000_000,))

        assert await cursor.fetchone() == (20_000_000,)


async def resume_soon(proxy: TcpProxy) -> None:
    await trio.sleep(0.1)
    proxy.resume()


async def test_error_in_a_cancelled_scope_is_not_replaced(database_url: str) -> None:
    """An error of the block comes out of COPY and transaction although the scope is cancelled by then."""
    async with open_connection(database_url) as connection:
        await with_table(connection)
        with trio.CancelScope() as scope, pytest.raises(ValueError, match="ours"):
            await fail_in_copy(connection, scope)

        assert connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
        assert await value(connection, "SELECT count(*) FROM numbers") == 0


async def fail_in_copy(connection: TrioConnection, scope: trio.CancelScope) -> None:
    async with connection.transaction(), connection.cursor() as cursor, cursor.copy(COPY_NUMBERS) as copy:
        await copy.write(binary_rows(range(10)))
        scope.cancel(reason="just before the error")
        raise ValueError("ours")
