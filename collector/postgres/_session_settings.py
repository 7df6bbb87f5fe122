"""
The session settings that this program relies on. It sets all of them, so that the defaults of server,
database and role have no effect.

A direct connection sets them once. Through a transaction pooler each transaction may run on another server
connection, so each transaction sets them. Startup options (`options=-c ...`) would save a round trip, but
many poolers refuse them. Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Final

DEFAULT_SCHEMA: Final = "public"
"""The PostgreSQL schema that holds our tables, where no other is named."""

_VERSION_17: Final = 170_000

_SETTINGS: Final[Mapping[str, str]] = {
    # First: a default of milliseconds would end the statements below.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    # Text is sent and read as UTF-8. With SQL_ASCII, psycopg would return bytes instead of text.
    "client_encoding": "'UTF8'",
    "standard_conforming_strings": "on",
    # How psycopg reads bytes, times and floats.
    "bytea_output": "hex",
    "datestyle": "'ISO, MDY'",
    "intervalstyle": "postgres",
    "timezone": "'UTC'",
    "extra_float_digits": "1",
    # A reader of tables with row-level security reads what its policies let it read, not an error.
    "row_security": "on",
}
_SETTINGS_OF_17: Final[Mapping[str, str]] = {"transaction_timeout": "0"}
"""Settings that exist since PostgreSQL 17."""


def session_commands(server_version: int, schema: str) -> bytes:
    """
    One message that sets everything for a session. `server_version` as in `PQserverVersion`: 150004.

    `schema` is the PostgreSQL schema in which tables are found and made.
    """
    defaults = {"default_transaction_isolation": "'read committed'", "default_transaction_read_only": "off"}
    settings = {**_settings_of(server_version, schema), **defaults}
    return _joined(f"SET {name} = {value}" for name, value in settings.items())


def transaction_commands(server_version: int, schema: str) -> bytes:
    """One message that sets everything for the transaction in which it is the first one."""
    # Defaults have no effect on a transaction that has begun.
    begin = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE"
    settings = _settings_of(server_version, schema)
    return _joined([begin, *(f"SET LOCAL {name} = {value}" for name, value in settings.items())])


def _settings_of(server_version: int, schema: str) -> dict[str, str]:
    newer = _SETTINGS_OF_17 if server_version >= _VERSION_17 else {}
    # Temporary objects last: nobody's temporary table stands in for one of ours.
    search_path = f'"{schema}", pg_temp'
    return {**_SETTINGS, **newer, "search_path": search_path}


def _joined(commands: Iterable[str]) -> bytes:
    return "; ".join(commands).encode()
