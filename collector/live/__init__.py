"""
The live stream: what sessions publish, for each client that reads along, and the tick that samples
statistics.

Does not know PostgreSQL. Starts no task: `run_ticks` is one, started by the service.

- `_broadcast`: a bounded mailbox for each client. `_ticks`: once a second.
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
