"""The REST record of each market, stored from the stream, whatever the exchange makes of it."""

from collector.database import apply_schema
from collector.database._markets import store_noted_records
from collector.facts import record_note
from collector.postgres import open_connection
from tests.service.harness import query


async def test_a_record_is_stored_word_for_word(database_url: str) -> None:
    """Also the characters and numbers that PostgreSQL's binary form of JSON would change or refuse."""
    record = '{"ticker":"GOOD","floor_strike":4414.4000,"title":"a\\u0000b","x":1e400000}'
    notes = [
        record_note("/markets/GOOD", record.encode(), 0, 2),
        record_note("/exchange/status", b"{}", 0, 3),
    ]
    async with open_connection(database_url) as connection:
        await apply_schema(connection)
        await store_noted_records(connection, notes)
    assert query(database_url, "SELECT market_ticker, record::text, noted_us FROM rl_markets") == [
        ("GOOD", record, 2)
    ]


async def test_the_newest_record_stays(database_url: str) -> None:
    """Two sessions may note records of one market, and a batch may be written late."""
    async with open_connection(database_url) as connection:
        await apply_schema(connection)
        for noted_us in (5, 9, 7):
            record = f'{{"at":{noted_us}}}'.encode()
            await store_noted_records(connection, [record_note("/markets/A", record, 0, noted_us)])
    assert query(database_url, "SELECT record ->> 'at', noted_us FROM rl_markets") == [("9", 9)]
