"""
The exchange, for tests and demonstrations: a server that a real client can't tell from Kalshi's.

This package is the recorder's independent witness. It imports nothing of the recorder but the error tree, the
clock and the name of the header that marks simulated data, so that a mistake in the recorder's own reading of
the protocol can't cancel itself out here.

- `_books`, `_exchange_clock`, `_tape`, `_flow`, `_faults`, `_alterations`, `_subscription`, `_markets`,
  `_exchange`, `_access`: no sockets, no waiting.
- `_player`: when which frame is sent.
- `_outgoing`, `_session`, `_rest`, `_server`: sockets and tasks.
- `_sent_log`: what was really sent.
"""

from collector.simulator._faults import parse_fault
from collector.simulator._server import Simulator, SimulatorSettings, open_simulator

__all__ = [
    "Simulator",
    "SimulatorSettings",
    "open_simulator",
    "parse_fault",
]
