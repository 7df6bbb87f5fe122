"""
Which database this is: its key, and where they are readable, its server's system identifier and timeline.

The key is given when the tables are made; a restored backup has it too. The system identifier is that of a
server and of its replicas; the timeline changes when a replica is promoted or a backup is recovered.
"""

from typing import Final
from uuid import UUID

from attrs import frozen

from collector.postgres import TrioConnection

_KEY: Final = (
    "SELECT (SELECT database_key FROM rl_database), NOT pg_is_in_recovery()"
    " AND has_function_privilege('pg_control_system()', 'execute')"
    " AND has_function_privilege('pg_walfile_name(pg_lsn)', 'execute')"
    " AND has_function_privilege('pg_current_wal_lsn()', 'execute')"
)
_SERVER: Final = (
    "SELECT system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer"
    " FROM pg_control_system()"
)


@frozen
class DatabaseIdentity:
    """One database. System identifier and timeline are None where the role may not read them."""

    key: UUID
    system_identifier: int | None = None
    timeline: int | None = None

    def __str__(self) -> str:
        server = ""
        if self.system_identifier is not None:
            server = f", system {self.system_identifier}, timeline {self.timeline}"
        return f"database {self.key}{server}"


async def fetch_identity(connection: TrioConnection) -> DatabaseIdentity:
    """Which database a connection reaches now. One whose tables were emptied gets another key."""
    await connection.execute("INSERT INTO rl_database DEFAULT VALUES ON CONFLICT DO NOTHING")
    cursor = await connection.execute(_KEY)
    row = await cursor.fetchone()
    assert row is not None
    key, is_server_readable = row
    if not is_server_readable:
        return DatabaseIdentity(key)
    cursor = await connection.execute(_SERVER)
    row = await cursor.fetchone()
    assert row is not None
    return DatabaseIdentity(key, *row)
