"""
psycopg on Trio, against a real server: what it does, and how it tells that the server has gone.

Everything that waits here waits on real sockets, so the clock is the real one; no test waits longer than it
must. What a cancellation leaves behind has a file of its own.
"""

import struct
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest
import trio
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb

from collector.errors import StoreRejected, StoreUnavailable
from collector.postgres import TrioConnection, open_connection, translate_errors
from tests.tcp_proxy import TcpProxy, change_url, connect_target, open_proxy, server_target, through_port

COPY_NUMBERS = "COPY numbers FROM STDIN (FORMAT BINARY)"
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)

# A cancelled wait on a healthy server ends in milliseconds; the rest is for a busy machine.
PROMPT_S = 2.0


def binary_rows(numbers: range) -> bytes:
    return COPY_HEADER + b"".join(struct.pack("!hiq", 1, 8, number) for number in numbers)


async def value(connection: TrioConnection, query: str) -> object:
    cursor = await connection.execute(query)
    row = await cursor.fetchone()
    return row and row[0]


async def wait_until_quiet(database_url: str) -> None:
    """Return once no other backend of this database runs anything or has a transaction open."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND state <> 'idle'"
    )
    async with open_connection(database_url) as observer:
        for _ in range(round(PROMPT_S / 0.01)):
            if not await value(observer, query):
                return
            await trio.sleep(0.01)
    pytest.fail("a backend goes on")


@asynccontextmanager
async def proxied(database_url: str) -> AsyncGenerator[tuple[TcpProxy, TrioConnection]]:
    async with (
        open_proxy(server_target(database_url)) as proxy,
        open_connection(through_port(database_url, proxy.port)) as connection,
    ):
        connection.settle_timeout_s = 0.4
        yield proxy, connection


async def with_table(connection: TrioConnection) -> None:
    await connection.execute("CREATE TABLE numbers (number bigint)")


# ---------------------------------------------------------------- what it does


async def test_types_come_back_as_they_went_in(database_url: str) -> None:
    """Values of the types that the tables use survive the round trip."""
    sent = (2**62, "snöwman ☃", b"\0\xff", True, None, Decimal("1.25"), uuid.UUID(int=7), ["a", "b"])
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    async with open_connection(database_url) as connection:
        cursor = await connection.execute(
            "SELECT %s::bigint, %s::text, %s::bytea, %s::bool, %s::text, %s::numeric, %s::uuid, %s::text[],"
            " %s::timestamptz, %s::jsonb",
            (*sent, moment, Jsonb({"45": 100})),
        )

        assert (*sent, moment, {"45": 100}) == await cursor.fetchone()


async def copy_in(connection: TrioConnection, rows: range) -> int:
    async with connection.transaction(), connection.cursor() as cursor:
        async with cursor.copy(COPY_NUMBERS) as copy:
            await copy.write(binary_rows(rows))
        return cursor.rowcount


async def test_binary_copy_brings_every_row(database_url: str) -> None:
    """A binary COPY larger than the socket's buffers arrives whole."""
    rows = range(300_000)
    async with open_connection(database_url) as connection:
        await with_table(connection)

        assert len(rows) == await copy_in(connection, rows)
        assert sum(rows) == await value(connection, "SELECT sum(number)::bigint FROM numbers")


async def insert_and_fail(connection: TrioConnection) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO numbers VALUES (1)")
        raise ValueError("ours")


async def test_error_in_a_block_rolls_back(database_url: str) -> None:
    """A transaction block that raises leaves nothing, and the connection goes on."""
    async with open_connection(database_url) as connection:
        await with_table(connection)
        with pytest.raises(ValueError, match="ours"):
            await insert_and_fail(connection)

        assert await value(connection, "SELECT count(*) FROM numbers") == 0


async def insert_and_swallow(connection: TrioConnection) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO numbers VALUES (1)")
        with pytest.raises(psycopg.errors.UndefinedTable):
            await connection.execute("SELECT * FROM nowhere")


async def test_failed_transaction_is_no_success(database_url: str) -> None:
    """A block that swallows an error of a statement raises at its end, where psycopg alone would not."""
    async with open_connection(database_url) as connection:
        await with_table(connection)
        with pytest.raises(StoreRejected, match="25P02"), translate_errors():
            await insert_and_swallow(connection)

        assert await value(connection, "SELECT count(*) FROM numbers") == 0


async def test_nested_block_is_a_savepoint(database_url: str) -> None:
    """An inner block that fails takes back its own rows only."""
    async with open_connection(database_url) as connection:
        await with_table(connection)
        async with connection.transaction():
            await connection.execute("INSERT INTO numbers VALUES (1)")
            with pytest.raises(psycopg.errors.DivisionByZero):
                async with connection.transaction():
                    await connection.execute("INSERT INTO numbers VALUES (1/0)")

        assert await value(connection, "SELECT count(*) FROM numbers") == 1


async def test_two_tasks_take_turns(database_url: str) -> None:
    """Two tasks on one connection are served one after the other, each with its own answer."""
    answers: list[object] = []

    async def ask(connection: TrioConnection, number: int) -> None:
        answers.append(await value(connection, f"SELECT {number} FROM pg_sleep(0.05)"))

    async with open_connection(database_url) as connection, trio.open_nursery() as nursery:
        nursery.start_soon(ask, connection, 1)
        nursery.start_soon(ask, connection, 2)

    assert sorted(answers, key=str) == [1, 2]


async def test_executemany_and_pipeline_work(database_url: str) -> None:
    """`executemany` and pipeline blocks run on Trio too."""
    async with open_connection(database_url) as connection:
        await with_table(connection)
        async with connection.cursor() as cursor:
            await cursor.executemany("INSERT INTO numbers VALUES (%s)", [(n,) for n in range(500)])
        async with connection.pipeline():
            for number in range(50):
                await connection.execute("INSERT INTO numbers VALUES (%s)", (number,))

        assert await value(connection, "SELECT count(*) FROM numbers") == 550


async def test_error_in_executemany_leaves_the_connection_usable(database_url: str) -> None:
    """A row that PostgreSQL refuses ends `executemany`, takes back its rows, and not the connection."""
    async with open_connection(database_url) as connection, connection.cursor() as cursor:
        await with_table(connection)
        with pytest.raises(StoreRejected, match="22P02"), translate_errors():
            await cursor.executemany("INSERT INTO numbers VALUES (%s::text::bigint)", [("1",), ("x",)])

        assert await value(connection, "SELECT count(*) FROM numbers") == 0


async def test_several_hosts_are_tried_in_turn(database_url: str, refusing_port: int) -> None:
    """The second host of a URL is used when the first refuses."""
    async with open_proxy(server_target(database_url)) as proxy:
        ports = f"{refusing_port},{proxy.port}"
        url = change_url(through_port(database_url, proxy.port), host="127.0.0.1,127.0.0.1", port=ports)
        async with open_connection(url) as connection:
            assert await value(connection, "SELECT 1") == 1


async def fail_on_a_cut_wire(proxy: TcpProxy, url: str) -> None:
    async with open_connection(url) as connection:
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT 1")
        raise ValueError("ours")


async def test_error_of_the_block_survives_the_close(database_url: str) -> None:
    """Closing a connection that is broken already does not replace the error of the block."""
    async with open_proxy(server_target(database_url)) as proxy:
        with pytest.raises(ValueError, match="ours"):
            await fail_on_a_cut_wire(proxy, through_port(database_url, proxy.port))


async def test_close_wakes_the_task_that_waits(database_url: str) -> None:
    """A connection that is closed under a waiting task gives that task an error, and no endless wait."""

    async def wait_long(connection: TrioConnection) -> None:
        with pytest.raises(StoreUnavailable), translate_errors():
            await connection.execute("SELECT pg_sleep(60)")

    async with open_connection(database_url) as connection:
        with trio.fail_after(PROMPT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_long, connection)
                await trio.sleep(0.1)
                connection.close_nowait()


# ---------------------------------------------------------------- the server goes away


async def test_terminated_backend_is_unavailable(database_url: str) -> None:
    """A backend that is terminated in the middle of a query is `StoreUnavailable`, the original its cause."""

    async def terminate(pid: int) -> None:
        await trio.sleep(0.1)
        async with open_connection(database_url) as other:
            await other.execute("SELECT pg_terminate_backend(%s)", (pid,))

    async with open_connection(database_url) as connection, trio.open_nursery() as nursery:
        nursery.start_soon(terminate, connection.info.backend_pid)
        with pytest.raises(StoreUnavailable, match="57P01") as caught, translate_errors():
            await connection.execute("SELECT pg_sleep(60)")

    assert isinstance(caught.value.__cause__, psycopg.errors.AdminShutdown)


async def test_cut_wire_is_unavailable(database_url: str) -> None:
    """A wire that is cut in the middle of a query is `StoreUnavailable`, and the next statement is too."""
    async with proxied(database_url) as (proxy, connection), trio.open_nursery() as nursery:
        nursery.start_soon(cut_soon, proxy)
        with trio.fail_after(PROMPT_S), pytest.raises(StoreUnavailable), translate_errors():
            await connection.execute("SELECT pg_sleep(1.5)")
        with pytest.raises(StoreUnavailable), translate_errors():
            await connection.execute("SELECT 1")


async def cut_soon(proxy: TcpProxy) -> None:
    await trio.sleep(0.1)
    proxy.cut()


async def test_wire_cut_inside_a_copy(database_url: str) -> None:
    """A wire that is cut after so many bytes of a COPY leaves no row and a closed connection."""
    async with proxied(database_url) as (proxy, connection):
        await with_table(connection)
        trap = proxy.cut_after_bytes(200_000)
        with pytest.raises(StoreUnavailable), translate_errors():
            await copy_in(connection, range(100_000))

        assert trap.sprung.is_set()
        assert connection.closed
    await wait_until_quiet(database_url)
    async with open_connection(database_url) as connection:
        assert await value(connection, "SELECT count(*) FROM numbers") == 0


async def test_keepalives_are_set(database_url: str) -> None:
    """A connection over TCP carries the options that find a vanished server."""
    async with proxied(database_url) as (_, connection):
        options = {option.keyword: option.val for option in connection.pgconn.info}

    assert options[b"keepalives_idle"] == b"5"
    assert options[b"tcp_user_timeout"] == b"15000"


# ---------------------------------------------------------------- prepared statements and poolers


class OneTransactionPooler:
    """Gives each transaction of a client to the next of two backends, as a transaction pooler may."""

    def __init__(self, database_url: str) -> None:
        self.target = server_target(database_url)
        self.served: list[int] = [0, 0]

    async def serve(self, client: trio.SocketStream) -> None:
        length = await _receive(client, 4)
        startup = length + await _receive(client, struct.unpack("!i", length)[0] - 4)
        async with await connect_target(self.target) as first, await connect_target(self.target) as second:
            backends = (first, second)
            for backend in backends:
                await backend.send_all(startup)
                answer = await _answer(backend)
            await client.send_all(answer)
            turn = 0
            while (message := await _message(client))[:1] != b"X":
                await backends[turn].send_all(message)
                if message[:1] in b"QS":
                    answer = await _answer(backends[turn])
                    self.served[turn] += 1
                    await client.send_all(answer)
                    turn = (turn + answer.endswith(b"I")) % 2


async def _receive(stream: trio.SocketStream, number: int) -> bytes:
    data = b""
    while len(data) < number:
        # The end of the stream reads as the client's farewell.
        data += await stream.receive_some(number - len(data)) or b"X" * number
    return data


async def _message(stream: trio.SocketStream) -> bytes:
    head = await _receive(stream, 5)
    return head if head == b"XXXXX" else head + await _receive(stream, struct.unpack("!i", head[1:])[0] - 4)


async def _answer(stream: trio.SocketStream) -> bytes:
    # Everything up to and with the server's "ready for query".
    answer = b""
    while (message := await _message(stream))[:1] != b"Z":
        answer += message
    return answer + message


@asynccontextmanager
async def pooled(database_url: str) -> AsyncGenerator[tuple[OneTransactionPooler, str]]:
    if conninfo_to_dict(database_url).get("password"):
        pytest.skip("the pooler of these tests can't log in with a password")
    pooler = OneTransactionPooler(database_url)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, pooler.serve, listeners)
        yield pooler, through_port(database_url, listeners[0].socket.getsockname()[1])
        nursery.cancel_scope.cancel(reason="the test is over")


async def repeat_query(connection: TrioConnection) -> None:
    for number in range(12):
        async with connection.transaction():
            await connection.execute("SELECT %s::int", (number,))


async def test_without_prepared_statements_nothing_is_prepared(database_url: str) -> None:
    """For a pooler, a query repeated often leaves no prepared statement; without one, it leaves some."""
    counts = []
    for is_pooled in (True, False):
        async with open_connection(database_url, is_pooled=is_pooled) as connection:
            await repeat_query(connection)
            async with connection.transaction():
                counts.append(await value(connection, "SELECT count(*) > 0 FROM pg_prepared_statements"))

    assert counts == [False, True]


async def test_every_transaction_on_another_backend(database_url: str) -> None:
    """Without prepared statements, transactions work although each one runs on another backend."""
    async with (
        pooled(database_url) as (pooler, url),
        open_connection(url, is_pooled=True) as connection,
    ):
        for number in range(12):
            async with connection.transaction():
                cursor = await connection.execute("SELECT %s::int", (number,))
                assert await cursor.fetchone() == (number,)

    assert min(pooler.served) > 12


async def test_prepared_statements_break_behind_a_pooler(database_url: str) -> None:
    """The pooler of these tests is a true one: prepared statements fail behind it."""
    async with pooled(database_url) as (_, url), open_connection(url) as connection:
        with pytest.raises(StoreRejected, match="26000"), translate_errors():
            await repeat_query(connection)
