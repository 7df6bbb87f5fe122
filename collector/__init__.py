"""
Records Kalshi order books into PostgreSQL, and proves what it holds.

The rooms, from the inside out; imports run only inwards:

- `protocol`: what the exchange says and what it means. No I/O, no clock, no logging.
- `exchange`: signing, the WebSocket connection, REST.
- `store`: PostgreSQL on Trio: schema, batches, ledger, raw blocks.
- `observe`: counters, statistics, current books, logs, metrics.
- `session`: one connection's scope, and the supervisor that keeps connections up.
- `web`: health, status and the live stream for browsers.
- `recording`: reading a recording back, and proving it.
- `simulator`: the exchange, for tests and demonstrations.
- `app`, `cli`: the nursery tree, and the door.
"""

__version__ = "1.0.0"
