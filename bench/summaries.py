"""
What retention keeps of a year: bytes of the database that stay when all partitions of a day are dropped.

Fills a database by SQL, one day after another, with what 300 markets leave behind beside their partitions:
sessions, their ledger, gaps, rejects, audits, events, states of books, proofs and dictionaries. The
partitions of each day are recorded as dropped, and maintenance's own function summarises it. In the end
`verify` reads everything.

Sizes are those after VACUUM FULL, with TOAST and indexes: what a year adds. The space of deleted rows comes
on top, and is used again.

A summary is as large for many batches as for few. So a year has fewer batches a day than 600 frames a second
would give in batches of 100 frames (518,400). A second run with that number shows how long the summary of
such a day takes.

    python -m bench.summaries
    python -m bench.summaries --days 3 --batches 518400
    python -m bench.summaries --recorded-seconds 3600

The last one records 300 generated markets at 600 frames a second for an hour, drops the partitions, and
summarises what is left.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
import trio

from bench.rig import (
    Database,
    finish,
    open_database,
    open_recording,
    print_table,
    read_tally,
    temporary_folder,
)
from collector.database import apply_schema, summarise_day
from collector.postgres import TrioConnection, open_connection
from collector.recording import verify_recording
from collector.storage import DAY_US, KINDS, RAW_BLOCK

MARKETS: Final = 300
FRAMES_A_SECOND: Final = 600
YEAR_S: Final = 365 * 86_400
GB_A_YEAR_MAX: Final = 2.0
AUDITS_A_MARKET: Final = 96
"""In a day, with RL_AUDIT_INTERVAL as it is by default."""
EVENTS_A_MARKET: Final = 4
GAPS: Final = 20
"""In a session: numbers that are missing, and reconnections."""
REJECTS: Final = 5
FIRST_DAY: Final = 20_000
VACUUM: Final = (
    "VACUUM rl_orderbook_sessions, rl_write_ledger, rl_orderbook_gaps, rl_book_states, rl_proven_empty_rows,"
    " rl_connection_events, rl_orderbook_rejects, rl_orderbook_audits, rl_market_events, rl_raw_lexicons"
)

PARTITIONED: Final = [kind.table for kind in (*KINDS, RAW_BLOCK) if kind.is_partitioned]

_MARKETS: Final = (
    "INSERT INTO rl_markets (market_ticker)"
    " SELECT 'KXMARKET-26DEC31-T' || n FROM generate_series(1, %(markets)s) n"
)
_SESSIONS: Final = (
    "INSERT INTO rl_orderbook_sessions (session_key, recorder_key, market_tickers, ws_url, environment,"
    " code_version, decoder_version, sample_rate, use_yes_price, started_us, ended_us, status, end_reason,"
    " frames, deltas, gaps, batches,"
    " last_message_us, last_frame) SELECT gen_random_uuid(), 1, ARRAY(SELECT market_ticker FROM rl_markets),"
    " 'wss://api.elections.kalshi.com/trade-api/ws/v2', 'prod', '1.0.0', 1, 1, false,"
    " %(from_us)s + n * %(length_us)s,"
    " %(from_us)s + (n + 1) * %(length_us)s - 1, 'error', 'the connection was lost', %(batches)s * 100,"
    " %(batches)s * 100, %(gaps)s, %(batches)s, %(from_us)s + (n + 1) * %(length_us)s - 2, %(batches)s * 100"
    " FROM generate_series(0, %(sessions)s - 1) n RETURNING session_id"
)
# Times within the session: `at` is the share of it that has passed.
_AT: Final = "(s.started_us + 1 + floor((s.last_message_us - s.started_us - 1) * ({at})))::bigint"
_DETAILS: Final = (
    "INSERT INTO rl_write_ledger (session_id, batch_number, first_frame, last_frame, first_received_us,"
    " last_received_us, deltas, snapshots, trades, controls, stales, rejects, delta_rows, snapshot_rows,"
    " trade_rows, gap_rows, book_state_rows, proven_empty_rows, tracker_state_rows, connection_event_rows,"
    " reject_rows,"
    " audit_rows, event_rows, written_us, block_hash, hash) SELECT s.session_id, n, n * 100 - 99, n * 100,"
    f" {_AT.format(at='(n - 1) / %(batches)s::numeric')}, {_AT.format(at='n / %(batches)s::numeric')},"
    " 100, 0, 0, 0, 0, 0, 100, 0, 0, CASE n WHEN 1 THEN %(gaps)s ELSE 0 END,"
    " CASE n WHEN 1 THEN %(states)s ELSE 0 END, CASE n WHEN 1 THEN %(markets)s ELSE 0 END, 0,"
    " CASE n WHEN 1 THEN 1 ELSE 0 END, CASE n WHEN 1 THEN %(rejects)s ELSE 0 END,"
    " CASE n WHEN 1 THEN %(audits)s ELSE 0 END, CASE n WHEN 1 THEN %(events)s ELSE 0 END,"
    f" {_AT.format(at='n / %(batches)s::numeric')}, sha256(int8send(n)), sha256(int8send(n + s.session_id))"
    " FROM generate_series(1, %(batches)s) n, rl_orderbook_sessions s WHERE s.session_id = ANY (%(ids)s)",
    "INSERT INTO rl_orderbook_gaps SELECT s.session_id, 1, n, n + 3,"
    f" {_AT.format(at='n / %(gaps)s::numeric')}, n, 'sequence', NULL, 'orderbook_delta'"
    " FROM generate_series(1, %(gaps)s) n, rl_orderbook_sessions s WHERE s.session_id = ANY (%(ids)s)",
    f"INSERT INTO rl_book_states SELECT {_AT.format(at='n / %(states)s::numeric')}, n, s.session_id,"
    " n %% %(markets)s + 1, NULL FROM generate_series(1, %(states)s) n, rl_orderbook_sessions s"
    " WHERE s.session_id = ANY (%(ids)s)",
    f"INSERT INTO rl_proven_empty_rows SELECT {_AT.format(at='0')}, {_AT.format(at='0')}, n, s.session_id, n,"
    " s.session_key, n FROM generate_series(1, %(markets)s) n, rl_orderbook_sessions s"
    " WHERE s.session_id = ANY (%(ids)s)",
    "INSERT INTO rl_connection_events (received_us, after_frame, session_id, event_type)"
    f" SELECT {_AT.format(at='1')}, 1, s.session_id, 'silence' FROM rl_orderbook_sessions s"
    " WHERE s.session_id = ANY (%(ids)s)",
    f"INSERT INTO rl_orderbook_rejects SELECT s.session_id, n, {_AT.format(at='n / %(rejects)s::numeric')},"
    " 'the frame is no JSON', convert_to(repeat('x', 400), 'UTF8')"
    " FROM generate_series(1, %(rejects)s) n, rl_orderbook_sessions s WHERE s.session_id = ANY (%(ids)s)",
    "INSERT INTO rl_orderbook_audits SELECT s.session_id, 'KXMARKET-26DEC31-T' || n %% %(markets)s, 1, n,"
    f" {_AT.format(at='n / %(audits)s::numeric')}, true, NULL"
    " FROM generate_series(1, %(audits)s) n, rl_orderbook_sessions s WHERE s.session_id = ANY (%(ids)s)",
    "INSERT INTO rl_market_events (received_us, session_id, sid, market_ticker, event_type, event)"
    f" SELECT {_AT.format(at='n / %(events)s::numeric')}, s.session_id, 2, 'KXMARKET-26DEC31-T' || n,"
    " 'market_lifecycle_v2', jsonb_build_object('event_type', 'deactivated', 'text', repeat('M', 200))"
    " FROM generate_series(1, %(events)s) n, rl_orderbook_sessions s WHERE s.session_id = ANY (%(ids)s)",
    "INSERT INTO rl_raw_lexicons SELECT id, 1, convert_to(repeat(id::text, 2000), 'UTF8')"
    " FROM unnest(%(ids)s::integer[]) AS id",
    "SELECT rl_append('opening', s.session_key, NULL, json_build_object('key', s.session_key,"
    " 'recorder_key', s.recorder_key, 'market_tickers', s.market_tickers, 'ws_url', s.ws_url,"
    " 'environment', s.environment, 'code_version', s.code_version, 'decoder_version', s.decoder_version,"
    " 'sample_rate', s.sample_rate, 'use_yes_price', s.use_yes_price, 'started_us', s.started_us,"
    " 'last_exact', json_build_array())::text) FROM rl_orderbook_sessions s"
    " WHERE s.session_id = ANY (%(ids)s)",
    "SELECT rl_append('ending', s.session_key, (SELECT hash FROM rl_write_ledger l"
    " WHERE l.session_id = s.session_id ORDER BY batch_number DESC LIMIT 1), json_build_object('ended_us',"
    " s.ended_us, 'status', s.status, 'reason', s.end_reason, 'close_code', s.close_code, 'last_frame',"
    " s.last_frame)::text) FROM rl_orderbook_sessions s WHERE s.session_id = ANY (%(ids)s)",
    "SELECT rl_append('drop', NULL, NULL, json_build_object('table_name', name, 'day',"
    " date '1970-01-01' + %(day)s::integer, 'dropped_by', current_user, 'code_version', '1.0.0',"
    " 'kept_days', 30, 'exchange_before_ms', 0)::text) FROM unnest(%(partitioned)s::text[]) AS name",
)
_SIZES: Final = (
    "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' AND NOT relispartition"
    " AND relnamespace = 'public'::regnamespace AND pg_total_relation_size(oid) > 100000 ORDER BY 2 DESC"
)


async def fill_day(connection: TrioConnection, day: int, sessions: int, batches: int) -> None:
    """Everything that the sessions of a day leave behind beside their partitions."""
    audits = MARKETS * AUDITS_A_MARKET // sessions
    values: dict[str, Any] = {
        "day": day,
        "from_us": day * DAY_US,
        "length_us": DAY_US // sessions,
        "sessions": sessions,
        "batches": batches // sessions,
        "markets": MARKETS,
        "gaps": GAPS,
        "rejects": REJECTS,
        "audits": audits,
        "states": 2 * MARKETS + audits,
        "events": MARKETS * EVENTS_A_MARKET // sessions,
        "partitioned": PARTITIONED,
    }
    async with connection.transaction():
        cursor = await connection.execute(_SESSIONS.encode(), values)
        values["ids"] = [session_id for (session_id,) in await cursor.fetchall()]
        for statement in _DETAILS:
            await connection.execute(statement.encode(), values)


async def fill(database: Database, days: int, sessions: int, batches: int) -> float:
    """Fill and summarise day by day. Returns the seconds of the longest summary."""
    longest_s = 0.0
    async with open_connection(database.url) as connection:
        await apply_schema(connection)
        await connection.execute(_MARKETS.encode(), {"markets": MARKETS})
        for day in range(FIRST_DAY, FIRST_DAY + days):
            await fill_day(connection, day, sessions, batches)
            began_s = time.monotonic()
            assert await summarise_day(connection, "1.0.0") is not None
            longest_s = max(longest_s, time.monotonic() - began_s)
            # As autovacuum does on a server that runs for long.
            if day % 7 == 0:
                await connection.execute(VACUUM.encode())
    return longest_s


async def find_faults(database: Database) -> list[str]:
    """What `verify` finds."""
    async with open_connection(database.url) as connection:
        return (await verify_recording(connection)).findings


async def record(database: Database, folder: Path, seconds: int) -> list[tuple[str, str]]:
    """Record generated markets, and drop the partitions. Returns what was measured before."""
    simulate = ["--markets", str(MARKETS), "--rate", str(FRAMES_A_SECOND), "--speed", "1"]
    async with open_recording(database, folder, simulate) as recording:
        await trio.sleep(seconds)
        cpu_s = recording.collector_cpu_s()
    tally = read_tally(database)
    sizes = database.query(_SIZES)
    async with open_connection(database.url) as connection:
        for table in PARTITIONED:
            await connection.execute(
                "SELECT rl_drop_partition(%s, d.day, 30, 0, '1.0.0') FROM (SELECT DISTINCT"
                " to_timestamp(last_received_us / 1e6)::date AS day FROM rl_write_ledger) d",
                (table,),
            )
        while await summarise_day(connection, "1.0.0") is not None:
            pass
    return [
        ("recorded frames", f"{tally.frames:,} in {seconds} s"),
        ("processor time of the recorder", f"{cpu_s / seconds:.2f} s a second"),
        *((f"{name}, before", f"{size / 1e6:.1f} MB") for name, size in sizes),
    ]


async def run(days: int, sessions: int, batches: int, recorded_s: int) -> Sequence[str]:
    """Measure, and print the table. Returns what is wrong."""
    with temporary_folder() as folder:
        async with open_database(folder / "data") as database:
            if recorded_s:
                lines = await record(database, folder, recorded_s)
                title, share_of_year = f"{recorded_s} s recorded, {MARKETS} markets", recorded_s / YEAR_S
            else:
                longest_s = await fill(database, days, sessions, batches)
                lines = [("longest summary of a day", f"{longest_s:.1f} s")]
                title = f"{days} days, {sessions} sessions and {batches:,} batches a day, {MARKETS} markets"
                share_of_year = days * 86_400 / YEAR_S
            used = sum(size for _, size in database.query(_SIZES))
            await trio.to_thread.run_sync(database.execute, VACUUM.replace("VACUUM", "VACUUM FULL"))
            sizes = database.query(_SIZES)
            findings = await find_faults(database)
    # Markets are as many after a year as after an hour.
    gb_a_year = sum(size for name, size in sizes if name != "rl_markets") / share_of_year / 1e9
    print_table(
        title,
        [
            *lines,
            *((name, f"{size / 1e6:.1f} MB") for name, size in sizes),
            ("all of it, for a year", f"{gb_a_year:.3f} GB of {GB_A_YEAR_MAX:g}"),
            ("with space of deleted rows, which is used again", f"{used / 1e6:.1f} MB"),
            ("findings of verify", f"{len(findings)}"),
        ],
    )
    losses = [f"verify: {finding}" for finding in findings[:5]]
    if gb_a_year > GB_A_YEAR_MAX:
        losses.append(f"{gb_a_year:.3f} GB a year are more than {GB_A_YEAR_MAX:g}")
    return losses


@click.command()
@click.option("--days", default=365, show_default=True)
@click.option("--sessions", default=8, show_default=True, help="In a day: reconnections and restarts.")
@click.option("--batches", default=4000, show_default=True, help="In a day, in all sessions.")
@click.option("--recorded-seconds", default=0, help="Record for this time instead of filling by SQL.")
def main(days: int, sessions: int, batches: int, recorded_seconds: int) -> None:
    """Fill a database with a year, or record, summarise it, and measure what stays."""
    finish(trio.run(run, days, sessions, batches, recorded_seconds))


if __name__ == "__main__":
    main()
