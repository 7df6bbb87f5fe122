"""
Which markets to record, and what REST says of them.

- `_universe`: chooses among the open markets. `_discovery`: finds them, in intervals.
- `_metadata`: the REST record of each market, for the streams of the sessions.
- `_exchange_records`: schedule and status of the exchange.
"""

from collector.markets._discovery import Discovery, run_discovery
from collector.markets._exchange_records import run_exchange_records
from collector.markets._metadata import run_market_records
from collector.markets._universe import Universe

__all__ = [
    "Discovery",
    "Universe",
    "run_discovery",
    "run_exchange_records",
    "run_market_records",
]
