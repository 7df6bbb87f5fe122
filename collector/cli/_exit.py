"""How a command ends: exit statuses, and errors as lines on stderr."""

import sys
from collections.abc import Awaitable, Callable
from traceback import format_exception
from types import TracebackType
from typing import NoReturn, TypeVar

import click
import trio

from collector.config import DatabaseSettings, read_database
from collector.errors import CollectorError, ConfigError, leaves_of
from collector.postgres import secrets_of_url
from collector.scrubbing import scrub, set_secrets

_T = TypeVar("_T")

INTERRUPTED = 130
"""The exit status of shells for a program that SIGINT ended."""


def run_to_exit(run: Callable[[], Awaitable[_T]]) -> _T:
    """
    Run a command's tasks, and return what they return.

    Expected errors end the process with one line each: status 2 for settings, 1 for all others. A bug ends it
    with its traceback.
    """
    status = 0
    sys.excepthook = _print_traceback
    try:
        return trio.run(run)
    except* KeyboardInterrupt:
        # Of a reading command; or before the signals are watched, when nothing has been received yet.
        status = INTERRUPTED
    except* CollectorError as group:
        lines = [
            line for leaf in leaves_of(group) for line in str(leaf).splitlines() or [type(leaf).__name__]
        ]
        for line in dict.fromkeys(lines):
            click.echo(f"collector: {line}", err=True)
        status = 2 if group.subgroup(ConfigError) else 1
    sys.exit(status)


def database_or_exit() -> DatabaseSettings:
    """The database, for a command that needs nothing else. A wrong setting ends the process with status 2."""
    try:
        database = read_database()
    except ConfigError as error:
        refuse(error)
    set_secrets(secrets_of_url(database.url))
    return database


def _print_traceback(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    click.echo(scrub("".join(format_exception(kind, error, traceback))), err=True, nl=False)


def refuse(error: ConfigError) -> NoReturn:
    """End with one line for each problem of the settings, and status 2."""
    for problem in error.problems:
        click.echo(problem, err=True)
    sys.exit(2)
