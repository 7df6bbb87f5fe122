"""The command group. A command's module is imported when the command is used."""

from importlib import import_module
from typing import Final, cast

import click
from typing_extensions import override

from collector import __version__

_MODULES: Final = {
    "run": "_run",
    "demo": "_demo",
    "simulate": "_simulate",
    "verify": "_reading",
    "book": "_reading",
    "rederive": "_reading",
    "schema": "_schema",
}
"""The commands in the order in which `--help` lists them, and the module of this package that each is in."""


class CommandGroup(click.Group):
    """Imports a command when it is looked up. What a command needs, it imports when it runs."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands."""
        return list(_MODULES)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command, or None when there is none of that name."""
        if cmd_name not in _MODULES:
            return None
        module = import_module(f"collector.cli.{_MODULES[cmd_name]}")
        return cast("click.Command", getattr(module, cmd_name))


@click.group(cls=CommandGroup)
@click.version_option(__version__, prog_name="collector")
def main() -> None:
    """Records Kalshi order books into PostgreSQL, and proves what it holds."""
