"""The commands that read a recording back: `verify`, `book`, `rederive`."""

import json
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import attrs
import click

from collector.cli._exit import database_or_exit, run_to_exit
from collector.clock import system_clock
from collector.observe import set_up_logs

if TYPE_CHECKING:
    from collector.postgres import TrioConnection

_T = TypeVar("_T")


def _session_name(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """A session's number, or its key, or at least four characters (eight digits) that its key begins with."""
    if value is None or re.fullmatch(r"[0-9]{1,9}|[0-9A-Fa-f][0-9A-Fa-f-]{3,35}", value):
        return value
    raise click.BadParameter(
        "must be the number of a session, or its key or at least the first four characters of that"
    )


_SESSION_OPTION = click.option(
    "--session",
    metavar="NUMBER_OR_KEY",
    callback=_session_name,
    help="One session, by its number, its key or the beginning of its key (four characters or more, eight if"
    " they are digits alone); without it, all.",
)


def _hash(_context: click.Context, _option: click.Parameter, value: str | None) -> str:
    if value is None or re.fullmatch(r"[0-9A-Fa-f]{64}", value):
        return (value or "").lower()
    raise click.BadParameter("must be a hash that `verify` or the log has printed: 64 hexadecimal digits")


@click.command()
@_SESSION_OPTION
@click.option(
    "--expect",
    "expected_hash",
    metavar="HASH",
    callback=_hash,
    help="A hash of the chain that was kept elsewhere: all up to its entry must be unchanged.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object for each session and one for the rest.")
def verify(session: str | None, expected_hash: str, as_json: bool) -> None:
    """
    Prove the recording in DATABASE_URL complete and consistent, or say where it is not (exit status 1).

    docs/proof.md says what is proven, and what is not.
    """
    set_up_logs("INFO", None)
    from collector.recording import (
        SessionReport,
        find_session,
        report_as_json,
        report_lines,
        verdict_as_json,
        verdict_lines,
        verify_recording,
    )

    def print_report(report: SessionReport) -> None:
        _end_progress()
        for line in [json.dumps(report_as_json(report))] if as_json else report_lines(report):
            click.echo(line)

    async def check(connection: "TrioConnection") -> bool:
        number = None if session is None else await find_session(connection, session)
        verdict = await verify_recording(
            connection, number, print_report, _show_progress, expected_hash=expected_hash
        )
        _end_progress()
        _report_none(verdict.sessions)
        for line in [json.dumps(verdict_as_json(verdict))] if as_json else verdict_lines(verdict):
            click.echo(line)
        return bool(verdict.sessions) and verdict.is_good

    sys.exit(0 if _read_database(check) else 1)


@click.command()
@click.argument("ticker")
@click.option("--at", "at", required=True, metavar="TIME",
              help="RFC 3339 with its offset, whole ms or µs since 1970, or now: the newest.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object; prices and sizes as in the tables.")
def book(ticker: str, at: str, as_json: bool) -> None:
    """
    Rebuild the book of a market at an instant from the recording in DATABASE_URL.

    The output marks a book that is not exact as UNKNOWN (is_exact is false in the JSON); the exit status is
    still 0. It is 1 when there is no book.
    """
    set_up_logs("INFO", None)
    from collector.recording import book_as_json, book_lines, parse_instant, rebuild_book

    try:
        at_us = parse_instant(at, system_clock())
    except ValueError as error:
        raise click.BadParameter(f"{at[:60]!r}: {error}", param_hint="'--at'") from error
    rebuilt = _read_database(
        lambda connection: rebuild_book(connection, ticker, at_us, is_newest=at == "now")
    )
    for line in [json.dumps(book_as_json(rebuilt))] if as_json else book_lines(rebuilt):
        click.echo(line)


@click.command()
@_SESSION_OPTION
@click.option("--dry-run", "is_dry", is_flag=True, help="Report the differences; replace nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each session, one per line.")
def rederive(session: str | None, is_dry: bool, as_json: bool) -> None:
    """
    Rebuild the rows in DATABASE_URL from the raw frames, replace the stored ones, and report differences.

    The exit status is 1 when a session was refused: it is still being recorded, or raw frames are missing.
    """
    set_up_logs("INFO", None)
    from collector.recording import RederiveReport, find_session, rederive_lines, rederive_sessions

    def print_report(report: RederiveReport) -> None:
        _end_progress()
        json_line = json.dumps({**attrs.asdict(report), "is_different": report.is_different})
        for line in [json_line] if as_json else rederive_lines(report):
            click.echo(line)

    async def replace(connection: "TrioConnection") -> list[RederiveReport]:
        number = None if session is None else await find_session(connection, session)
        return await rederive_sessions(connection, number, print_report, _show_progress, is_dry=is_dry)

    reports = _read_database(replace)
    _report_none(reports)
    sys.exit(1 if any(report.refusal for report in reports) else 0)


def _read_database(work: Callable[["TrioConnection"], Awaitable[_T]]) -> _T:
    """Run something on a connection to DATABASE_URL."""
    database = database_or_exit()

    async def run() -> _T:
        from collector.database import require_known_version
        from collector.postgres import open_connection, open_database

        async with (
            open_database(database.url, create=False) as url,
            open_connection(url, schema=database.schema) as connection,
        ):
            await require_known_version(connection)
            return await work(connection)

    return run_to_exit(run)


def _report_none(reports: Sequence[object]) -> None:
    """Report that there is no session, which is no error."""
    if not reports:
        click.echo("collector: the database holds no sessions yet", err=True)


def _show_progress(session_id: int, done: int, batches: int) -> None:
    """On a terminal, how far the present session is."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[Ksession {session_id}: batch {done} of {batches}", nl=False, err=True)


def _end_progress() -> None:
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
