"""Database URLs: what is wrong with one, and how to show one without its password. Pure."""

from collections.abc import Mapping

import psycopg
from psycopg.abc import ConnParam
from psycopg.conninfo import conninfo_to_dict

EMBEDDED_PREFIX = "embedded:"
_URL_FORM = "must be postgresql://USER:PASSWORD@HOST:PORT/NAME, or embedded:PATH"


def check_database_url(text: str) -> str | None:
    """What is wrong with a database URL, in words that follow its variable's name; None if nothing is."""
    if text.startswith(EMBEDDED_PREFIX):
        return None if text.removeprefix(EMBEDDED_PREFIX).strip() else "must name a folder: embedded:PATH"
    if not text.startswith(("postgresql://", "postgres://")):
        return _URL_FORM
    if "[YOUR-PASSWORD]" in text:
        return "still holds [YOUR-PASSWORD] where the password belongs"
    try:
        conninfo_to_dict(text)
    except psycopg.Error:
        # libpq's own words may quote the password.
        return (
            f"{_URL_FORM}; special characters of the password are written percent-encoded (@ is %40), and"
            " after a question mark only options that libpq knows may follow (pgbouncer=true is not one)"
        )
    return None


def redact(conninfo: str) -> str:
    """A database URL for showing: `user@host:port/database`, never a password."""
    if conninfo.startswith(EMBEDDED_PREFIX):
        return conninfo
    try:
        params = conninfo_to_dict(conninfo)
    except psycopg.Error:
        return "a database URL that can't be parsed"
    user = f"{params['user']}@" if params.get("user") else ""
    return f"{user}{describe_host(params)}/{params.get('dbname') or ''}"


def describe_host(params: Mapping[str, ConnParam]) -> str:
    """Host and port of connection parameters, for showing; several of them as `a:5432,b:5432`."""
    hosts = str(params.get("host") or params.get("hostaddr") or "localhost").split(",")
    ports = str(params.get("port") or 5432).split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    return ",".join(f"{host}:{port or 5432}" for host, port in zip(hosts, ports, strict=False))
