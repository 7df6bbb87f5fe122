"""What leaves the room: errors in this program's own words, and database URLs without their passwords."""

import psycopg
import pytest

from collector.errors import StoreError, StoreRejected, StoreUnavailable
from collector.postgres import check_database_url, open_connection
from collector.postgres._errors import store_error
from collector.postgres._urls import redact
from tests.tcp_proxy import change_url


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"host": "no-such-host.invalid", "password": "the-secret"}, "no-such-host.invalid"),
        ({"dbname": "no_such_database"}, "check the database name"),
        ({"user": "no_such_user", "password": "the-secret"}, "check (the )?user"),
    ],
)
async def test_no_connection_is_unavailable(
    database_url: str, changes: dict[str, str | int], message: str
) -> None:
    """A connection that can't be had is `StoreUnavailable`, in one line that helps, without the password."""
    await expect_no_connection(change_url(database_url, **changes), message)


async def test_refused_connection_is_unavailable(refusing_port: int) -> None:
    """A port on which nothing listens is `StoreUnavailable`."""
    await expect_no_connection(f"postgresql://u:the-secret@127.0.0.1:{refusing_port}/d", "refused")


async def expect_no_connection(url: str, message: str) -> None:
    with pytest.raises(StoreUnavailable, match=message) as caught:
        async with open_connection(url):
            pytest.fail("this must not connect")

    assert "the-secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, psycopg.Error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.errors.UniqueViolation("x"), StoreRejected),
        (psycopg.errors.CheckViolation("x"), StoreRejected),
        (psycopg.errors.SyntaxError("x"), StoreRejected),
        (psycopg.errors.UndefinedTable("x"), StoreRejected),
        (psycopg.errors.InsufficientPrivilege("x"), StoreRejected),
        (psycopg.errors.NumericValueOutOfRange("x"), StoreRejected),
        (psycopg.errors.ProgramLimitExceeded("x"), StoreRejected),
        (psycopg.ProgrammingError("x"), StoreRejected),
        (psycopg.DataError("x"), StoreRejected),
        (psycopg.InterfaceError("the cursor is closed"), StoreRejected),
        (
            psycopg.InterfaceError("cannot execute operations: the connection is in status 1"),
            StoreUnavailable,
        ),
        (psycopg.OperationalError("the connection is closed"), StoreUnavailable),
        (psycopg.errors.ConnectionFailure("x"), StoreUnavailable),
        (psycopg.errors.TooManyConnections("x"), StoreUnavailable),
        (psycopg.errors.DiskFull("x"), StoreUnavailable),
        (psycopg.errors.AdminShutdown("x"), StoreUnavailable),
        (psycopg.errors.CannotConnectNow("x"), StoreUnavailable),
        (psycopg.errors.QueryCanceled("x"), StoreUnavailable),
        (psycopg.errors.SerializationFailure("x"), StoreUnavailable),
        (psycopg.errors.DeadlockDetected("x"), StoreUnavailable),
        (psycopg.errors.ReadOnlySqlTransaction("x"), StoreUnavailable),
        (psycopg.errors.IoError("x"), StoreUnavailable),
        (psycopg.errors.InvalidPassword("x"), StoreUnavailable),
        (psycopg.errors.InvalidCatalogName("x"), StoreUnavailable),
        (ConnectionResetError(104, "Connection reset by peer"), StoreUnavailable),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else f"{type(value).__name__}",
)
def test_error_table(error: psycopg.Error | OSError, expected: type[StoreError]) -> None:
    """Each error of psycopg and of the network is one to wait out, or a bug."""
    assert expected is type(store_error(error))


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:p%40ss@db.example.com:5432/railway?sslmode=require",
        "postgres://u@h/d",
        "postgresql://u:p@a,b:5433/d",
        "embedded:./data",
    ],
)
def test_good_database_urls(text: str) -> None:
    """The documented forms of a database URL are accepted."""
    assert check_database_url(text) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be postgresql://"),
        ("mysql://u:the-secret@h/d", "must be postgresql://"),
        ("postgresql+asyncpg://u:the-secret@h/d", "must be postgresql://"),
        ("postgresql://u:the-secret%zz@h/d", "percent-encoded"),
        ("postgresql://u:the-secret@h/d?pgbouncer=true", "pgbouncer"),
        ("postgresql://postgres:[YOUR-PASSWORD]@h/d", "YOUR-PASSWORD"),
        ("embedded:", "must name a folder"),
    ],
)
def test_bad_database_urls(text: str, message: str) -> None:
    """What is wrong with a database URL is said in words, and without its password."""
    problem = check_database_url(text)

    assert problem is not None
    assert message in problem
    assert "the-secret" not in problem


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:the-secret@db.example.com:6543/railway", "u@db.example.com:6543/railway"),
        ("postgresql://u:the-secret@a,b:5433/d", "u@a:5432,b:5433/d"),
        ("postgresql://postgres@/postgres?host=%2Frun%2Fpg", "postgres@/run/pg:5432/postgres"),
        ("postgresql://u:the-secret%zz@h/d", "a database URL that can't be parsed"),
        ("embedded:./data", "embedded:./data"),
    ],
)
def test_redacted_urls(url: str, shown: str) -> None:
    """A database URL for showing names host, port, database and user only."""
    assert shown == redact(url)


async def test_unparsable_url_is_rejected_without_its_password() -> None:
    """A URL that libpq can't parse is refused without a trace of its password, in the cause either."""
    with pytest.raises(StoreRejected, match="can't be parsed") as caught:
        async with open_connection("postgresql://u:the-secret%zz@h/d"):
            pytest.fail("this must not connect")

    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
