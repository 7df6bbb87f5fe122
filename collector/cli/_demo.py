"""`collector demo`: the service on simulated markets."""

import sys
from functools import partial
from pathlib import Path

import click

from collector.cli._exit import run_to_exit
from collector.observe import set_up_logs


@click.command()
@click.option("--dir", "folder", type=click.Path(path_type=Path, file_okay=False), default=Path(".demo"),
              show_default=True, help="Where the demonstration keeps its database.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the dashboard listens.")
@click.option("--port", type=click.IntRange(1, 65_535), default=8001, show_default=True)
@click.option("--markets", type=click.IntRange(1, 2000), default=12, show_default=True)
@click.option("--rate", type=click.FloatRange(0.1, 20_000), default=60.0, show_default=True,
              help="Messages a second, over all markets.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed, the same order flow.")
def demo(*, folder: Path, host: str, port: int, markets: int, rate: float, seed: int) -> None:
    """Record simulated markets into a PostgreSQL of its own: nothing to configure."""
    set_up_logs("INFO", None)
    from collector.app import run_until_signal
    from collector.demo import DemoSettings, run_demo

    def print_url(urls: list[str]) -> None:
        click.echo(f"Open {urls[0]}/rl-stats (the data are simulated; Ctrl-C stops)")

    settings = DemoSettings(
        folder=folder.absolute(), host=host, port=port, markets=markets, rate_per_s=rate, seed=seed
    )
    is_safe = run_to_exit(partial(run_until_signal, partial(run_demo, settings, print_url)))
    sys.exit(0 if is_safe else 1)
