"""`collector schema`: applies the database schema."""

from typing import Final

import click
import trio

from collector.cli._exit import database_url_or_exit, run_to_exit
from collector.clock import system_clock
from collector.observe import set_up_logs

SCHEMA_S_MAX: Final = 60.0


@click.command()
def schema() -> None:
    """Apply schema.sql to the database in DATABASE_URL. Safe to repeat; `run` does it at its start."""
    database_url = database_url_or_exit()
    set_up_logs("INFO", None)

    async def apply() -> None:
        from collector.database import apply_schema, ensure_partitions
        from collector.maintenance import DAYS_AHEAD
        from collector.postgres import open_connection, open_database
        from collector.storage import DAY_US

        async with open_database(database_url) as url, open_connection(url) as connection:
            with trio.fail_after(SCHEMA_S_MAX):
                await apply_schema(connection)
                today = system_clock() // DAY_US
                await ensure_partitions(connection, today, today + DAYS_AHEAD)

    run_to_exit(apply)
    click.echo("The schema is in place.")
