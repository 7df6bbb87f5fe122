"""
What the recorder knows about itself: counts, statistics and logs.

Does not know PostgreSQL. Starts no task.

- `_state`: the state of the process, its sessions, the database and the spool.
- `_latency`: how old messages are. `_series`: the last 15 minutes, one value a second. `_logs`: structured
  logs.
"""

from collector.observe._latency import quantile_us
from collector.observe._logs import get_logger, set_up_logs
from collector.observe._series import NO_POINT, STEP_MS, SeriesRing
from collector.observe._state import (
    RECENT_EVENTS_KEPT,
    AgeSum,
    DiscoveryStatus,
    FeedPhase,
    FeedStatus,
    RecorderState,
    SessionStats,
    SpoolStatus,
    StorePhase,
    StoreStatus,
    as_ms,
)

__all__ = [
    "NO_POINT",
    "RECENT_EVENTS_KEPT",
    "STEP_MS",
    "AgeSum",
    "DiscoveryStatus",
    "FeedPhase",
    "FeedStatus",
    "RecorderState",
    "SeriesRing",
    "SessionStats",
    "SpoolStatus",
    "StorePhase",
    "StoreStatus",
    "as_ms",
    "get_logger",
    "quantile_us",
    "set_up_logs",
]
