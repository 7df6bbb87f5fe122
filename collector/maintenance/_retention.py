"""
Retention: which partitions are old enough to go. Nothing irreversible relies on one clock.

The database's clock decides. The recorder's clock must agree with it, to the hour; and the exchange's own
times must be old enough as well, those in the partition and those of the newest stored deltas. At most two
days of partitions go in 24 hours, so that a mistake is found before it has cost much.

`decide` is pure. `Retention` says how much is kept.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from attrs import frozen

from collector.database import Drop, PartitionFacts
from collector.storage import DAY_US, KINDS, RAW_BLOCK

DIFFERENCE_US_MAX: Final = 3_600_000_000
"""Largest difference between the clocks of recorder and database at which partitions are still dropped."""
DAY_MS: Final = DAY_US // 1000


@frozen
class Retention:
    """Whole days to keep; None keeps everything."""

    rows_days: int | None = None
    raw_days: int | None = None

    def days_by_table(self) -> dict[str, int]:
        """Partitioned tables of which partitions are dropped, with the days to keep."""
        days = {
            kind.table: self.raw_days if kind.is_kept_with_raw else self.rows_days
            for kind in (*KINDS, RAW_BLOCK)
            if kind.is_partitioned
        }
        return {table: kept for table, kept in days.items() if kept is not None}


class Hold(Enum):
    """Why retention drops nothing of what the database's clock calls old. The value says it in words."""

    CLOCKS_DIFFER = "the clocks of recorder and database differ"
    NO_EXCHANGE_TIME = (
        "no stored delta has an exchange time, so the age of a day can't be confirmed: retention resumes when"
        " deltas are recorded"
    )
    EXCHANGE_TIME = (
        "stored exchange times are too new for the days that are due: check the clocks of recorder and"
        " database, and whether deltas are being recorded"
    )


def clocks_differ(clock_us: int, database_us: int) -> bool:
    """Whether the recorder's clock and the database's differ too much to rely on either."""
    return abs(clock_us - database_us) > DIFFERENCE_US_MAX


def decide(
    facts: PartitionFacts, kept_days: Mapping[str, int], clock_us: int
) -> tuple[list[Drop], Hold | None]:
    """
    The partitions that may be dropped, oldest first, and the reason if there is none.

    `facts.partitions` are those that are old enough by the database's clock. Returned are the ones of them
    that ended at least the days to keep before the newest exchange time. `clock_us` is the recorder's clock.
    """
    if clocks_differ(clock_us, facts.database_us):
        return [], Hold.CLOCKS_DIFFER
    if facts.newest_exchange_ms is None:
        return [], Hold.NO_EXCHANGE_TIME
    drops = [
        Drop(table, day, kept_days[table], facts.newest_exchange_ms - kept_days[table] * DAY_MS)
        for table, day in sorted(facts.partitions, key=lambda place: (place[1], place[0]))
    ]
    proven = [drop for drop in drops if (drop.day + 1) * DAY_MS <= drop.exchange_before_ms]
    return proven, None if proven else Hold.EXCHANGE_TIME
