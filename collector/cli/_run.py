"""`collector run`: the service."""

import sys
from collections.abc import Awaitable
from functools import partial

import click
import trio

from collector.cli._exit import refuse, run_to_exit
from collector.config import read_settings
from collector.errors import ConfigError
from collector.observe import get_logger, set_up_logs
from collector.scrubbing import set_secrets


@click.command()
def run() -> None:
    """Record, as the environment says. See docs/operations.md for the variables."""
    try:
        settings = read_settings()
    except ConfigError as error:
        refuse(error)
    set_secrets(settings.secrets)
    set_up_logs(settings.log_level, settings.log_format)
    for warning in settings.warnings:
        get_logger("settings").warning(warning)
    from collector.app import run_service, run_until_signal

    def serve(stopping: trio.Event) -> Awaitable[bool]:
        return run_service(settings, on_ready=_print_urls, stopping=stopping)

    is_safe = run_to_exit(partial(run_until_signal, serve))
    sys.exit(0 if is_safe else 1)


def _print_urls(urls: list[str]) -> None:
    click.echo(f"Listening on {', '.join(urls)}", err=True)
