"""How a command ends: exit statuses, and errors as lines on stderr."""

import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

import click
import trio

from collector.errors import CollectorError, ConfigError, leaves_of

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


def refuse(error: ConfigError) -> NoReturn:
    """End with one line for each problem of the settings, and status 2."""
    for problem in error.problems:
        click.echo(problem, err=True)
    sys.exit(2)
