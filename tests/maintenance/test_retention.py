"""Which partitions retention drops, and that no single wrong clock makes it drop one."""

import json
from typing import Final

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.clock import system_clock
from collector.database import PartitionFacts
from collector.maintenance import Retention
from collector.maintenance._retention import DAY_MS, Hold, decide
from collector.observe import RecorderState, StorePhase, StoreStatus
from collector.storage import DAY_US
from collector.web._health import _assess_partitions
from tests.database.test_batches import rows
from tests.maintenance.keeper import keep, partitions
from tests.recording.recordings import TEXTS, at, write_recording

ROW_TABLES: Final = ("rl_delta_rows", "rl_snapshot_rows", "rl_trade_rows")
RAW_TABLES: Final = ("rl_raw_blocks", "rl_tracker_states")
INSERT: Final = (
    "INSERT INTO rl_delta_rows (received_us, timestamp_ms, sequence_number, delta_e2, old_size_e2,"
    " session_id, sid, market_id, price_e4, is_yes)"
)


DROPS_BACK = "UPDATE rl_chain SET entered_us = entered_us - 2 * 86400000000::bigint"
"""Two days ago."""


def today() -> int:
    return system_clock() // DAY_US


def fill(url: str, days: range, *, exchange_ahead_days: int = 0, only: bool = False) -> None:
    """
    Partitions for days relative to today, each with a delta that the exchange made at its noon.

    Where the exchange is ahead, it is not ahead of the present time: times to come are ignored.
    """
    with psycopg.connect(url) as connection:
        connection.execute(
            "SELECT rl_ensure_partitions(current_date + %s, current_date + %s)", (days[0], days[-1])
        )
        latest_ms = system_clock() // 1000 if exchange_ahead_days else 2**62
        for day in days if not only else ():
            noon_us = (today() + day) * DAY_US + DAY_US // 2
            connection.execute(
                f"{INSERT} VALUES (%s, %s, 1, 1, 0, 1, 1, 1, 5000, true)".encode(),
                (noon_us, min(noon_us // 1000 + exchange_ahead_days * DAY_MS, latest_ms)),
            )


def kept(url: str, table: str) -> list[int]:
    """The days of a table's partitions, relative to today; without those that are made ahead of time."""
    found = rows(
        url,
        "SELECT to_date(right(c.relname, 8), 'YYYYMMDD') - current_date FROM pg_inherits i"
        f" JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = '{table}'::regclass"
        " AND c.relname !~ 'default' ORDER BY 1",
    )
    return [day for (day,) in found if day < 0]


async def test_rows_and_raw_blocks_have_a_retention_each(database_url: str) -> None:
    """Two days of partitions in 24 hours, the oldest first, and each with a row that says so."""
    await keep(database_url)
    fill(database_url, range(-6, 1))
    retention = Retention(rows_days=2, raw_days=3)

    for _ in range(2):
        await keep(database_url, retention=retention)
        for table in (*ROW_TABLES, *RAW_TABLES):
            assert kept(database_url, table) == [-4, -3, -2, -1], table
    drops = rows(
        database_url,
        "SELECT table_name, day - current_date, dropped_by = current_user, code_version, kept_days"
        " FROM rl_partition_drops WHERE kept_days IS NOT NULL ORDER BY 1, 2",
    )
    assert drops == [
        (table, day, True, "1.0.0", 3 if table in RAW_TABLES else 2)
        for table in sorted((*ROW_TABLES, *RAW_TABLES))
        for day in (-6, -5)
    ]

    rows_back = "UPDATE rl_chain SET entered_us = entered_us - 25 * 3600000000::bigint WHERE kind = 'drop'"
    with psycopg.connect(database_url) as connection:
        connection.execute(rows_back)
    status = await keep(database_url, retention=retention)
    for table in ROW_TABLES:
        assert kept(database_url, table) == [-2, -1], table
    for table in RAW_TABLES:
        assert kept(database_url, table) == [-3, -2, -1], table
    assert status.retention_hold == ""


async def test_nothing_is_dropped_without_retention(database_url: str) -> None:
    await keep(database_url)
    fill(database_url, range(-40, 1))
    await keep(database_url)
    assert kept(database_url, "rl_delta_rows") == list(range(-40, 0))


@pytest.mark.parametrize("ahead_days", [40, -40, 0.05, -0.05])
async def test_clocks_that_differ(database_url: str, ahead_days: float) -> None:
    """Whichever is wrong, the recorder's or the database's: nothing is dropped, and health says why."""
    await keep(database_url)
    fill(database_url, range(-60, 1))
    status = StoreStatus()

    await keep(database_url, retention=Retention(30, 30), status=status, ahead_us=round(ahead_days * DAY_US))

    assert kept(database_url, "rl_delta_rows") == list(range(-60, 0))
    health = _assess_partitions(_state(status))
    assert health.verdict == "degraded"
    side = "ahead of" if ahead_days > 0 else "behind"
    assert f"{abs(ahead_days) * 24:.1f} hours {side} the database's" in health.why
    assert rows(database_url, "SELECT count(*) FROM rl_partition_drops") == [(0,)]


async def test_both_clocks_are_forty_days_ahead(database_url: str) -> None:
    """The exchange's times show it. The oldest days that those prove old still go."""
    await keep(database_url)
    fill(database_url, range(-60, -39))
    status = StoreStatus()

    await keep(database_url, retention=Retention(10, 10), status=status)
    assert kept(database_url, "rl_delta_rows") == list(range(-58, -39)), "60 and 59 days before today"
    assert status.retention_hold == ""

    await keep(database_url, retention=Retention(30, 30), status=status)
    assert kept(database_url, "rl_delta_rows") == list(range(-58, -39))
    assert status.retention_hold == Hold.EXCHANGE_TIME.value
    assert "retention is held up: stored exchange times are too new" in _assess_partitions(_state(status)).why


async def test_days_that_a_clock_behind_has_named(database_url: str) -> None:
    """
    What was received in the last hours by a clock that was 40 days behind stays, with its raw blocks; other
    days have their turn.
    """
    await keep(database_url)
    fill(database_url, range(-41, -39), exchange_ahead_days=40)
    fill(database_url, range(-35, 1))
    status = StoreStatus()

    await keep(database_url, retention=Retention(30, 30), status=status)

    days = [-41, -40, *range(-33, 0)]
    for table in (*ROW_TABLES, *RAW_TABLES):
        assert kept(database_url, table) == days, table
    assert status.retention_hold == Hold.EXCHANGE_TIME.value


async def test_raw_blocks_whose_rows_went_earlier(database_url: str) -> None:
    """What the exchange's times were is known from the row of the drop."""
    await keep(database_url)
    fill(database_url, range(-20, 1))
    with psycopg.connect(database_url) as connection:
        for table, before_days in (("rl_delta_rows", -15), ("rl_trade_rows", -2)):
            connection.execute(
                "SELECT rl_drop_partition(%s, current_date - 20, 1, %s, '1.0.0')",
                (table, (today() + before_days) * DAY_MS),
            )
        connection.execute(f"{DROPS_BACK} WHERE kind = 'drop'")

    await keep(database_url, retention=Retention(raw_days=10))
    assert kept(database_url, "rl_raw_blocks")[:2] == [-20, -17], "its trades may be of two days ago"

    with psycopg.connect(database_url) as connection:
        connection.execute(
            f"{DROPS_BACK}, content = (content::jsonb || %s::jsonb)::text WHERE kind = 'drop'".encode(),
            (json.dumps({"exchange_before_ms": (today() - 15) * DAY_MS}),),
        )
    await keep(database_url, retention=Retention(raw_days=10))
    assert kept(database_url, "rl_raw_blocks")[0] == -16


async def test_database_without_any_delta(database_url: str) -> None:
    """Nothing confirms the age of its partitions, so they stay."""
    await keep(database_url)
    fill(database_url, range(-20, 1), only=True)
    status = await keep(database_url, retention=Retention(10, 10))
    assert kept(database_url, "rl_raw_blocks") == list(range(-20, 0))
    assert status.retention_hold == Hold.NO_EXCHANGE_TIME.value


async def test_newest_exchange_time_is_found_in_a_long_table(database_url: str) -> None:
    """At the end of the newest partition that has any, however long it is."""
    await keep(database_url)
    fill(database_url, range(-1, 1))
    with psycopg.connect(database_url) as connection:
        connection.execute(
            f"{INSERT} SELECT %s, n, n, 1, 0, 1, 1, 1, 5000, true FROM generate_series(1, 50000) n".encode(),
            (today() * DAY_US,),
        )
    assert rows(database_url, "SELECT rl_newest_exchange_ms()") == [(50_000,)]
    fill(database_url, range(2, 3), only=True)
    assert rows(database_url, "SELECT rl_newest_exchange_ms()") == [(50_000,)]


async def test_reader_that_takes_its_time_delays_a_drop(database_url: str) -> None:
    """With a query open for hours nobody waits; the partition goes when it has ended."""
    await keep(database_url)
    fill(database_url, range(-5, 1))
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT count(*) FROM rl_orderbook_deltas")
        status = await keep(database_url, retention=Retention(rows_days=3))
        assert kept(database_url, "rl_delta_rows") == list(range(-5, 0))
        assert rows(database_url, "SELECT count(*) FROM rl_partition_drops") == [(0,)]
        assert "rl_delta_rows of" in status.retention_hold
        assert "end long transactions" in status.retention_hold

    await keep(database_url, retention=Retention(rows_days=3))
    assert kept(database_url, "rl_delta_rows") == [-3, -2, -1]
    assert partitions(database_url, "rl_delta_rows")


async def test_view_of_somebody_keeps_one_day_and_no_other(database_url: str) -> None:
    """What can't be dropped takes no other day's turn, and health says what it is."""
    await keep(database_url)
    fill(database_url, range(-8, 1))
    with psycopg.connect(database_url) as other:
        oldest = partitions(database_url, "rl_delta_rows")[0]
        other.execute(f"CREATE VIEW mine AS SELECT * FROM {oldest}".encode())
    status = await keep(database_url, retention=Retention(rows_days=3))
    assert kept(database_url, "rl_delta_rows") == [-8, -5, -4, -3, -2, -1]
    assert kept(database_url, "rl_trade_rows") == [-6, -5, -4, -3, -2, -1]
    assert "rl_delta_rows of" in status.retention_hold
    assert "depend" in status.retention_hold


async def test_partition_of_another_kind_is_left_alone(database_url: str) -> None:
    """A default partition that somebody has made, and a locked table, stop neither start nor drops."""
    await keep(database_url)
    fill(database_url, range(-5, 1))
    with psycopg.connect(database_url) as other:
        other.execute("CREATE TABLE rl_delta_rows_default PARTITION OF rl_delta_rows DEFAULT")
    with psycopg.connect(database_url) as other:
        oldest = partitions(database_url, "rl_delta_rows")[0]
        other.execute(f"LOCK TABLE {oldest} IN ACCESS EXCLUSIVE MODE".encode())
        status = await keep(database_url, retention=Retention(rows_days=3))
        assert status.phase is StorePhase.AVAILABLE
        assert "lock timeout" in status.retention_hold
    await keep(database_url, retention=Retention(rows_days=3))
    assert kept(database_url, "rl_delta_rows") == [-3, -2, -1]


async def test_quiet_day_of_a_clock_that_was_behind(database_url: str) -> None:
    """Without any time of the exchange, the database's own clock says when it was written."""
    await keep(database_url)
    fill(database_url, range(-41, -39), only=True)
    fill(database_url, range(-35, 1))
    noon_us = (today() - 40) * DAY_US + DAY_US // 2
    await write_recording(
        database_url, at(*TEXTS[:3], start_us=noon_us), started_us=noon_us, ended_us=noon_us + DAY_US // 4
    )
    await keep(database_url, retention=Retention(30, 30))
    with psycopg.connect(database_url) as connection:
        # Two older days, which the recording above has made.
        connection.execute(
            "UPDATE rl_chain SET entered_us = entered_us - 25 * 3600000000::bigint WHERE kind = 'drop'"
        )
    await keep(database_url, retention=Retention(30, 30))
    assert kept(database_url, "rl_raw_blocks")[:2] == [-40, -34], "-41 and -35 are gone"


async def test_times_that_can_not_be_true(database_url: str) -> None:
    """An exchange time far ahead neither proves that days are old nor keeps its own day for ever."""
    await keep(database_url)
    fill(database_url, range(-60, -39))
    with psycopg.connect(database_url) as connection:
        for day in (-60, -40):
            noon_us = (today() + day) * DAY_US + DAY_US // 2
            connection.execute(
                f"{INSERT} VALUES (%s, %s, 1, 1, 0, 1, 1, 1, 5000, true)".encode(), (noon_us, noon_us)
            )
    await keep(database_url, retention=Retention(10, 10))
    assert kept(database_url, "rl_delta_rows") == list(range(-58, -39))
    await keep(database_url, retention=Retention(18, 18))
    assert kept(database_url, "rl_delta_rows") == list(range(-58, -39)), "the newest is 40 days old"


@given(
    newest_day=st.integers(-50, 10),
    kept_days=st.integers(1, 30),
    days=st.lists(st.integers(-60, 5), max_size=10),
    clock_ahead_us=st.sampled_from([0, 3_600_000_000, 3_600_000_001, -3_600_000_001]),
)
def test_no_drop_is_newer_than_the_exchange_says(
    newest_day: int, kept_days: int, days: list[int], clock_ahead_us: int
) -> None:
    """Whatever the clocks say, a day that may go ended the days to keep before the newest exchange time."""
    base = 20_000
    newest_ms = (base + newest_day) * DAY_MS
    facts = PartitionFacts(base * DAY_US, newest_ms, tuple(("rl_raw_blocks", base + day) for day in days))
    drops, hold = decide(facts, {"rl_raw_blocks": kept_days}, base * DAY_US + clock_ahead_us)
    assert (hold is None) == bool(drops)
    assert not drops or abs(clock_ahead_us) <= 3_600_000_000
    assert [drop.day for drop in drops] == sorted(drop.day for drop in drops)
    for drop in drops:
        assert (drop.day + 1) * DAY_MS + kept_days * DAY_MS <= newest_ms


def _state(status: StoreStatus) -> RecorderState:
    state = RecorderState.__new__(RecorderState)
    state.store = status
    return state
