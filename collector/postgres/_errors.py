"""What PostgreSQL, psycopg and the network answer, as errors of this program."""

import re
from contextlib import AbstractContextManager

import psycopg

from collector.errors import StoreError, StoreRejected, StoreUnavailable, translated_errors

# SQLSTATE classes and codes after which the same write may well succeed: on this connection, on a new one, or
# on the server that has taken over. Everything else with a SQLSTATE is about what we sent.
_TRY_AGAIN = (
    "08",  # connection exceptions, a pooler's included
    "25006",  # read-only: a standby, or a primary that is being replaced
    "25P03",  # ended for idling in a transaction
    "25P04",  # transaction timeout
    "40000",
    "40001",  # serialization failure
    "40003",  # completion unknown
    "40P01",  # deadlock
    "53",  # no memory, disk, connections
    "55006",  # object in use
    "55P03",  # lock not available
    "57014",  # cancelled from outside, statement timeout
    "57P",  # shutting down, crashed, starting up, idle session timeout
    "58",  # the server's own I/O
    "XX000",  # an internal error, which poolers use for troubles of their own
)

# What a refusal at the door means for the operator. libpq gives connection errors no SQLSTATE, only a text,
# which is the server's; a server in another language gets the plain text without the advice.
_DOOR_ADVICE = (
    (r"password authentication failed|no password supplied", "check user and password in the database URL"),
    (r"role .* does not exist|tenant or user not found", "check the user in the database URL"),
    (r"database .* does not exist", "check the database name in the database URL, or create the database"),
    (r"no pg_hba\.conf entry", "check user, database name and sslmode in the database URL"),
    (r"ssl.*(required|unsupported|not support)", "check sslmode in the database URL"),
)

# No such table, column or function; no right.
_REFUSAL_ADVICE = {
    **dict.fromkeys(
        ("42P01", "42703", "42883"),
        "the collector's tables are missing there, or of another version: check the database URL and"
        " RL_DATABASE_SCHEMA, or let `collector schema` make them",
    ),
    "42501": "check the rights of the database URL's user",
}


def translate_errors() -> AbstractContextManager[None]:
    """
    Turn psycopg's errors, and those of the network, into `StoreUnavailable` and `StoreRejected`.

    The message is one line, without password and conninfo; the original is the cause.
    """
    return translated_errors(_translate)


def _translate(error: BaseException) -> StoreError | None:
    return store_error(error) if isinstance(error, psycopg.Error | OSError) else None


def store_error(error: psycopg.Error | OSError) -> StoreError:
    """The error of this program that stands for a psycopg error or one of the network."""
    if isinstance(error, OSError):
        return StoreUnavailable(_one_line(str(error) or type(error).__name__))
    code = error.sqlstate
    text = _one_line(error.diag.message_primary or str(error) or type(error).__name__)
    if code is None:
        return _store_error_without_code(error, text)
    if code in ("28P01", "28000", "3D000"):
        return StoreUnavailable(f"{text} (check user, password and database name in the database URL)")
    if code.startswith(_TRY_AGAIN):
        return StoreUnavailable(f"{text} [{code}]")
    advice = _REFUSAL_ADVICE.get(code)
    return StoreRejected(f"{text} [{code}]" + (f" ({advice})" if advice else ""))


def _store_error_without_code(error: psycopg.Error, text: str) -> StoreError:
    # Errors that libpq or psycopg raised by themselves.
    for pattern, advice in _DOOR_ADVICE:
        if re.search(pattern, text, re.IGNORECASE):
            return StoreUnavailable(f"{text} ({advice})")
    of_connection = isinstance(error, psycopg.InterfaceError) and "connection is" in text
    if of_connection or isinstance(error, psycopg.OperationalError):
        return StoreUnavailable(text)
    return StoreRejected(text)


def _one_line(text: str) -> str:
    return " ".join(text.split())
