"""
The exchange's WebSocket: signatures, and one connection behind a narrow interface.

Does not know PostgreSQL.

- `_transport`: the interface that sessions use. `_websocket`: a connection with trio-websocket. `_signing`:
  API keys.
"""

from collector.exchange._signing import Signer, is_usable_key, load_private_key
from collector.exchange._transport import SIMULATED_HEADER, StampedText, Transport
from collector.exchange._websocket import open_transport

__all__ = [
    "SIMULATED_HEADER",
    "Signer",
    "StampedText",
    "Transport",
    "is_usable_key",
    "load_private_key",
    "open_transport",
]
