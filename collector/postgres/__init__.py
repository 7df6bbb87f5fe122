"""
psycopg 3 on Trio: the driver. Knows nothing of our tables.

- `_connection`: a connection that may be cancelled at any await. `_waiting`: the only code that waits for it.
- `_session_settings`: the settings of each session, regardless of the defaults of server and role.
- `_errors`: foreign errors become ours. `_urls`: database URLs. `_embedded`: a PostgreSQL of our own in a
  folder.
"""

from collector.postgres._connection import ConnectStore, TrioConnection, open_connection
from collector.postgres._embedded import open_database
from collector.postgres._errors import translate_errors
from collector.postgres._session_settings import DEFAULT_SCHEMA
from collector.postgres._urls import EMBEDDED_PREFIX, check_database_url, secrets_of_url

__all__ = [
    "DEFAULT_SCHEMA",
    "EMBEDDED_PREFIX",
    "ConnectStore",
    "TrioConnection",
    "check_database_url",
    "open_connection",
    "open_database",
    "secrets_of_url",
    "translate_errors",
]
