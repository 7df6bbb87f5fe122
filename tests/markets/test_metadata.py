"""The REST record of each market, whatever the exchange makes of it."""

import psycopg

from collector.database import apply_schema
from collector.markets._metadata import store_records
from collector.postgres import open_connection


async def test_odd_records_cost_only_themselves(database_url: str) -> None:
    """What PostgreSQL does not take is left out, the others are stored as they came."""
    records = {
        "HUGE": b'{"ticker":"HUGE","x":1e400000}',
        "BYTES": b'{"ticker":"BYTES","title":"\xff"}',
        "NUL": b'{"ticker":"NUL","title":"a\\u0000b"}',
        "GOOD": b'{"ticker":"GOOD","floor_strike":4414.4000}',
    }
    async with open_connection(database_url) as connection:
        await apply_schema(connection)
        await store_records(connection, records, 5)
        await store_records(connection, {"GOOD": b'{"ticker":"GOOD","status":"closed"}'}, 6)

    with psycopg.connect(database_url) as reader:
        found = reader.execute(
            "SELECT market_ticker, record ->> 'status', fetched_us FROM rl_markets"
        ).fetchall()
    assert found == [("GOOD", "closed", 6)]
