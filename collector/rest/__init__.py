"""
The exchange's REST API, as far as a recorder needs it.

Does not know PostgreSQL. Starts no task.
"""

from collector.rest._rest import fetch_market_records, fetch_open_markets, fetch_record, status_of

__all__ = [
    "fetch_market_records",
    "fetch_open_markets",
    "fetch_record",
    "status_of",
]
