"""
The door: arguments, logs, `trio.run`, exit codes.

Exit status 0: done, everything received is in the database. 1: the machine or the database refused something,
or something was lost. 2: settings or arguments are missing or wrong, and nothing was started.
"""

import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import attrs
import click
import trio

from collector import __version__
from collector.clock import system_clock
from collector.config import read_database_url, read_settings
from collector.errors import CollectorError, ConfigError, leaves_of
from collector.observe.logs import get_logger, set_up_logs
from collector.simulator.cli import simulate

if TYPE_CHECKING:
    from collector.store.connection import TrioConnection

_T = TypeVar("_T")

SCHEMA_S_MAX = 60.0


@click.group()
@click.version_option(__version__, prog_name="collector")
def main() -> None:
    """Records Kalshi order books into PostgreSQL, and proves what it holds."""


@main.command()
def run() -> None:
    """Record, as the environment says. See docs/operations.md for the variables."""
    try:
        settings = read_settings()
    except ConfigError as error:
        _refuse(error)
    set_up_logs(settings.log_level, settings.log_format)
    for warning in settings.warnings:
        get_logger("settings").warning(warning)
    from collector.app import run_service, run_until_signal

    def serve(stopping: trio.Event) -> Awaitable[bool]:
        return run_service(settings, on_ready=_say_where, stopping=stopping)

    is_safe = _run_to_exit(partial(run_until_signal, serve))
    sys.exit(0 if is_safe else 1)


@main.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path, file_okay=False), default=Path(".demo"),
              show_default=True, help="Where the demonstration keeps its database.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the dashboard listens.")
@click.option("--port", type=click.IntRange(1, 65_535), default=8001, show_default=True)
@click.option("--markets", type=click.IntRange(1, 2000), default=12, show_default=True)
@click.option("--rate", type=click.FloatRange(0.1, 20_000), default=60.0, show_default=True,
              help="Messages a second, over all markets.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed, the same order flow.")
def demo(folder: Path, host: str, port: int, markets: int, rate: float, seed: int) -> None:
    """Record simulated markets into a PostgreSQL of its own: nothing to configure."""
    set_up_logs("INFO", None)
    from collector.app import run_until_signal
    from collector.demo import DemoSettings, run_demo

    def say_where(urls: list[str]) -> None:
        click.echo(f"Open {urls[0]}/rl-stats (the data are simulated; Ctrl-C stops)")

    settings = DemoSettings(folder.absolute(), host, port, markets, rate, seed)
    is_safe = _run_to_exit(partial(run_until_signal, partial(run_demo, settings, say_where)))
    sys.exit(0 if is_safe else 1)


@main.command()
def schema() -> None:
    """Apply schema.sql to the database in DATABASE_URL. Safe to repeat; `run` does it at its start."""
    try:
        database_url = read_database_url()
    except ConfigError as error:
        _refuse(error)
    set_up_logs("INFO", None)

    async def apply() -> None:
        from collector.app import open_database
        from collector.clock import system_clock
        from collector.store.batch import DAY_US, ensure_partitions
        from collector.store.connection import open_connection
        from collector.store.keeper import DAYS_AHEAD, apply_schema

        async with open_database(database_url) as url, open_connection(url) as connection:
            with trio.fail_after(SCHEMA_S_MAX):
                await apply_schema(connection)
                today = system_clock() // DAY_US
                await ensure_partitions(connection, today, today + DAYS_AHEAD)

    _run_to_exit(apply)
    click.echo("The schema is in place.")


@main.command()
@click.option("--session", "session_id", type=click.IntRange(1), help="One session; without it, all.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object for each session, a line each.")
def verify(session_id: int | None, as_json: bool) -> None:
    """Prove the recording in DATABASE_URL complete and consistent, or say where it is not (exit status 1)."""
    set_up_logs("INFO", None)
    from collector.recording.verify import SessionReport, verify_sessions

    def tell(report: SessionReport) -> None:
        _end_progress()
        if as_json:
            click.echo(json.dumps({**attrs.asdict(report), "is_good": report.is_good}))
            return
        verdict = "good" if report.is_good else "NOT GOOD"
        click.echo(
            f"session {report.session_id} ({report.status}): {verdict}; {report.frames} frames in"
            f" {report.batches} batches, {report.gaps} recorded gaps"
        )
        for line in (*report.notes, *report.findings):
            click.echo(f"  {line}")

    reports = _read_database(lambda connection: verify_sessions(connection, session_id, tell, _show_progress))
    _tell_none(session_id, reports)
    sys.exit(0 if reports and all(report.is_good for report in reports) else 1)


@main.command()
@click.argument("ticker")
@click.option("--at", "at", required=True, metavar="TIME",
              help="RFC 3339 with its offset, whole ms or µs since 1970, or now: the newest.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object; prices and sizes as in the tables.")
def book(ticker: str, at: str, as_json: bool) -> None:
    """
    Rebuild the book of a market at an instant from the recording in DATABASE_URL.

    Exit status 0 also for a book that is UNKNOWN, which the text and is_exact in the JSON say; 1 when there
    is none.
    """
    set_up_logs("INFO", None)
    from collector.recording.books import parse_instant, rebuild_book
    from collector.recording.telling import book_as_json, book_lines

    try:
        at_us = parse_instant(at, system_clock())
    except ValueError as error:
        raise click.BadParameter(f"{at[:60]!r}: {error}", param_hint="'--at'") from error
    rebuilt = _read_database(
        lambda connection: rebuild_book(connection, ticker, at_us, is_newest=at == "now")
    )
    for line in [json.dumps(book_as_json(rebuilt))] if as_json else book_lines(rebuilt):
        click.echo(line)


@main.command()
@click.option("--session", "session_id", type=click.IntRange(1), help="One session; without it, all.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Only tell the difference; replace nothing.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object for each session, a line each.")
def rederive(session_id: int | None, is_dry: bool, as_json: bool) -> None:
    """
    Put rows anew from raw frames into the place of those in DATABASE_URL, and tell the difference.

    Exit status 1 when a session was refused: it is still being recorded, or raw frames are missing.
    """
    set_up_logs("INFO", None)
    from collector.recording.rederive import RederiveReport, rederive_sessions
    from collector.recording.telling import rederive_lines

    def tell(report: RederiveReport) -> None:
        _end_progress()
        json_line = json.dumps({**attrs.asdict(report), "is_different": report.is_different})
        for line in [json_line] if as_json else rederive_lines(report):
            click.echo(line)

    reports = _read_database(
        lambda connection: rederive_sessions(connection, session_id, tell, _show_progress, is_dry=is_dry)
    )
    _tell_none(session_id, reports)
    sys.exit(1 if any(report.refusal for report in reports) else 0)


main.add_command(simulate)


def _read_database(work: Callable[["TrioConnection"], Awaitable[_T]]) -> _T:
    """Run something on a connection to DATABASE_URL."""
    try:
        database_url = read_database_url()
    except ConfigError as error:
        _refuse(error)

    async def run() -> _T:
        from collector.app import open_database
        from collector.store.connection import open_connection

        async with open_database(database_url, is_made=False) as url, open_connection(url) as connection:
            return await work(connection)

    return _run_to_exit(run)


def _tell_none(session_id: int | None, reports: Sequence[object]) -> None:
    """Say so where there is no session at all; one that was asked for and is not there is an error."""
    if reports:
        return
    if session_id is None:
        click.echo("collector: the database holds no sessions yet", err=True)
        return
    click.echo(f"collector: there is no session {session_id}", err=True)
    sys.exit(1)


def _show_progress(session_id: int, done: int, batches: int) -> None:
    """On a terminal, how far the present session is."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[Ksession {session_id}: batch {done} of {batches}", nl=False, err=True)


def _end_progress() -> None:
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)


def _run_to_exit(run: Callable[[], Awaitable[_T]]) -> _T:
    """
    Run a program's tree. Errors that are expected end it with one line each; a bug with its traceback.
    """
    status = 0
    try:
        return trio.run(run)
    except* KeyboardInterrupt:
        # Of a reading command; or before the signals are watched, when nothing has been received yet.
        status = 130
    except* CollectorError as group:
        lines = [
            line for leaf in leaves_of(group) for line in str(leaf).splitlines() or [type(leaf).__name__]
        ]
        for line in dict.fromkeys(lines):
            click.echo(f"collector: {line}", err=True)
        status = 2 if group.subgroup(ConfigError) else 1
    sys.exit(status)


def _refuse(error: ConfigError) -> NoReturn:
    for problem in error.problems:
        click.echo(problem, err=True)
    sys.exit(2)


def _say_where(urls: list[str]) -> None:
    click.echo(f"Listening on {', '.join(urls)}", err=True)
