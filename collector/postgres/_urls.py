"""Database URLs: what is wrong with one, and how to show one without its password. Pure."""

import re
from collections.abc import Mapping
from typing import Final

import psycopg
from psycopg.abc import ConnParam
from psycopg.conninfo import conninfo_to_dict

EMBEDDED_PREFIX = "embedded:"
_URL_FORM = "must be postgresql://USER:PASSWORD@HOST:PORT/NAME, or embedded:PATH"
_ENCODED: Final = (
    "special characters of user and password are written percent-encoded: @ is %40, / is %2F, : is %3A,"
    " # is %23, ? is %3F, % is %25"
)
_HOST: Final = re.compile(
    r"(\[[0-9A-Fa-f:.]+(%25[A-Za-z0-9]+)?\]|[A-Za-z0-9._-]*|(%2[Ff][A-Za-z0-9._%-]*))(:[0-9]*)?"
)
_CHOICES: Final = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "gssencmode": ("disable", "prefer", "require"),
    "channel_binding": ("disable", "prefer", "require"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
_NUMBERS: Final = (
    "connect_timeout",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
)
PORT_MAX: Final = 65_535


def check_database_url(text: str) -> str | None:
    """What is wrong with a database URL, in words that follow its variable's name; None if nothing is."""
    if text.startswith(EMBEDDED_PREFIX):
        return None if text.removeprefix(EMBEDDED_PREFIX).strip() else "must name a folder: embedded:PATH"
    if not text.startswith(("postgresql://", "postgres://")):
        return _URL_FORM
    if "[YOUR-PASSWORD]" in text:
        return "still holds [YOUR-PASSWORD] where the password belongs"
    if not _is_unambiguous(text):
        return f"{_URL_FORM}; {_ENCODED}"
    try:
        params = conninfo_to_dict(text)
    except psycopg.Error:
        # libpq's own words may quote the password.
        return (
            f"{_URL_FORM}; {_ENCODED}; and after a question mark only options that libpq knows may follow"
            " (pgbouncer=true is not one)"
        )
    return _wrong_option(params)


def _is_unambiguous(url: str) -> bool:
    """Whether libpq and everybody else read the same user, password and host from a URL."""
    if any(character.isspace() or not character.isprintable() for character in url):
        return False
    authority, _, rest = re.sub(r"[/?#]", "\n", url.split("://", 1)[1], count=1).partition("\n")
    *_, hosts = authority.rsplit("@", 1)
    return (
        authority.count("@") <= 1
        and "@" not in rest
        and "#" not in url
        and all(_HOST.fullmatch(host) for host in hosts.split(","))
    )


def _wrong_option(params: Mapping[str, ConnParam]) -> str | None:
    """What libpq would refuse when it connects, which no waiting mends."""
    ports = str(params.get("port") or "").split(",")
    if any(port and not (port.isdigit() and 0 < int(port) <= PORT_MAX) for port in ports):
        return f"must have a port from 1 to {PORT_MAX}"
    for name, choices in _CHOICES.items():
        if str(params.get(name) or choices[0]) not in choices:
            return f"must have one of {', '.join(choices)} as {name}"
    for name in _NUMBERS:
        if not re.fullmatch(r"-?[0-9]*", str(params.get(name) or "")):
            return f"must have a whole number as {name}"
    return None


def secrets_of_url(url: str) -> tuple[str, ...]:
    """The passwords in a database URL: as libpq reads them, and as they are written."""
    try:
        params = conninfo_to_dict(url) if "://" in url else {}
    except psycopg.Error:
        return ()
    found = [str(params[name]) for name in ("password", "sslpassword") if params.get(name)]
    written = re.search(r"://[^@/?#]*?:([^@/?#]*)@", url)
    return (*found, written[1]) if written is not None else tuple(found)


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
