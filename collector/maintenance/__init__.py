"""
Keeps the database in order: schema, partitions ahead of time, retention, sessions of dead recorders.

- `_maintenance`: one task for the life of the service.
- `_silent_sessions`: which sessions count as dead.
- `_retention`: which partitions are old enough to go.
- `_preflight`: whether a database is one to record into.
"""

from collector.maintenance._maintenance import DAYS_AHEAD, RETRY_FIRST_S, RETRY_S_MAX, Maintenance
from collector.maintenance._retention import Retention

__all__ = [
    "DAYS_AHEAD",
    "RETRY_FIRST_S",
    "RETRY_S_MAX",
    "Maintenance",
    "Retention",
]
