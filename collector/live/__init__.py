"""
The live stream for browsers, and the sampling of statistics.

Does not know PostgreSQL. Starts no task: the service runs `run_ticks` in a task.

- `_broadcast`: sends what sessions publish to a bounded mailbox for each client.
- `_ticks`: samples statistics once a second.
"""

from collector.live._broadcast import STREAMS, LiveHub, Mailbox, Stream
from collector.live._ticks import run_ticks

__all__ = [
    "STREAMS",
    "LiveHub",
    "Mailbox",
    "Stream",
    "run_ticks",
]
