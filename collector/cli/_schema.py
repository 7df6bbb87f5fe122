"""`collector schema`: applies the database schema, and moves tables of an earlier program out of its way."""

from typing import TYPE_CHECKING, Final

import click
import trio

from collector.cli._exit import database_or_exit, run_to_exit
from collector.clock import system_clock
from collector.errors import CollectorError, ConfigError, StoreUnsuitable
from collector.observe import set_up_logs

if TYPE_CHECKING:
    from collector.database import OldTables, OpenConnection
    from collector.postgres import TrioConnection

SCHEMA_S_MAX: Final = 60.0
WATCH_S: Final = 12.0
"""
For which the tables of an earlier program are watched for writes. A server counts those of a connection once
a second, or 10 s after the connection has nothing more to do.
"""


@click.command()
@click.option(
    "--move-old-tables",
    is_flag=True,
    help="Move tables of an earlier program that have the names of ours to the schema rl_predecessor.",
)
def schema(move_old_tables: bool) -> None:
    """
    Bring the database in DATABASE_URL to the schema version of this program. Safe to repeat; `run` does it.
    """
    database = database_or_exit()
    set_up_logs("INFO", None)

    async def work() -> None:
        from collector.postgres import open_connection, open_database

        async with (
            open_database(database.url) as url,
            open_connection(url, schema=database.schema) as connection,
        ):
            with trio.move_on_after(SCHEMA_S_MAX) as limit:
                await (_move(connection) if move_old_tables else _apply(connection))
        if limit.cancelled_caught:
            raise CollectorError(
                f"the database did not finish within {SCHEMA_S_MAX:g} s, and nothing was changed by the last"
                " step: run this command again when the server is less busy"
            )

    run_to_exit(work)


async def _apply(connection: "TrioConnection") -> None:
    from collector.database import (
        apply_schema,
        ensure_partitions,
        fetch_database_facts,
        find_obstacle,
        protect,
    )
    from collector.maintenance import DAYS_AHEAD
    from collector.storage import DAY_US

    obstacle = find_obstacle(await fetch_database_facts(connection))
    if isinstance(obstacle, StoreUnsuitable):
        raise ConfigError((str(obstacle),))
    if obstacle is not None:
        raise obstacle
    version = await apply_schema(connection)
    await protect(connection)
    today = system_clock() // DAY_US
    await ensure_partitions(connection, today, today + DAYS_AHEAD)
    click.echo(f"The tables are at schema version {version}, in PostgreSQL schema {connection.schema}.")


async def _move(connection: "TrioConnection") -> None:
    from collector.database import (
        OLD_SCHEMA,
        fetch_database_facts,
        find_foreign,
        inspect_old_tables,
        move_old_tables,
        undo_commands,
    )

    tables = find_foreign(await fetch_database_facts(connection))
    if not tables:
        click.echo(f"Schema {connection.schema} has no tables of another program.")
        return
    before = await inspect_old_tables(connection, tables)
    _describe(before)
    await trio.sleep(WATCH_S)
    after = await inspect_old_tables(connection, tables)
    seen = (*before.connections, *after.connections)
    writers = [each for each in seen if each.is_writing]
    if writers or after.written_rows != before.written_rows:
        # A connection that has committed its write holds no lock any more.
        named = dict.fromkeys(f"process {each.pid} ({_name(each)})" for each in writers or seen)
        who = ", ".join(named) or "a connection that is closed by now"
        users = "connections that write into these tables"
        if not writers:
            users = "rows were written into these tables while they were watched; connections that use them"
        raise CollectorError(f"{users}: {who}. Stop the program that writes, and run this command again")
    await move_old_tables(connection, tables)
    click.echo(f"Moved to schema {OLD_SCHEMA}. To move them back, run these statements before")
    click.echo("`collector schema` or `collector run`, which make tables with the same names:")
    for command in undo_commands(tables, connection.schema):
        click.echo(f"  {command};")
    click.echo("To continue, run `collector schema` or `collector run`.")


def _describe(old: "OldTables") -> None:
    click.echo(f"Tables of another program: {', '.join(old.tables)}")
    click.echo(f"Views that use them, and will go on working: {', '.join(old.views) or 'none'}")
    click.echo(f"Functions that use or name them, to be looked at: {', '.join(old.functions) or 'none'}")
    click.echo(f"Open connections that use them: {'' if old.connections else 'none'}")
    for each in old.connections:
        doing = ", writing now" if each.is_writing else ""
        click.echo(f"  process {each.pid}: {_name(each)}{doing}")


def _name(connection: "OpenConnection") -> str:
    application = connection.application or "an application without a name"
    return f"{application}, role {connection.role}, {connection.address}"
