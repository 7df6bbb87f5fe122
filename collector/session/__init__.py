"""
One connection's scope, from the handshake to its last row, and the supervisor that keeps connections up.

Does not know PostgreSQL. Reads no clock: it is given one.

- `_session`: the tasks of one connection. `_backlog`: the bounded queue to the writer. `_writer`: batches in
  order.
- `_records`: the REST records that sessions note in their streams.
- `_supervisor`: connection slots, reconnection.
"""

from collector.session._backlog import FRAMES_MAX
from collector.session._session import SessionContext
from collector.session._supervisor import Tickers, run_supervisor

__all__ = [
    "FRAMES_MAX",
    "SessionContext",
    "Tickers",
    "run_supervisor",
]
