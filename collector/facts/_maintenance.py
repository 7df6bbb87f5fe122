"""When the exchange is in maintenance, so far as that is known in advance. Pure."""

from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

NEW_YORK: Final = ZoneInfo("America/New_York")
THURSDAY: Final = 3
BEGIN_HOUR: Final = 3
END_HOUR: Final = 5
"""Every Thursday from 03:00 to 05:00 in New York (Kalshi's exchange schedule)."""


def touches_maintenance(from_us: int, until_us: int) -> bool:
    """
    Whether a time has an instant in common with the weekly maintenance of the exchange.

    The arguments are microseconds since 1970 UTC; both instants belong to the time.
    """
    first, last = _moment(from_us), _moment(until_us)
    if last - first >= timedelta(days=7):
        return True
    day = first.date()
    while day <= last.date():
        begins, ends = _hour_of(day, BEGIN_HOUR), _hour_of(day, END_HOUR)
        if day.weekday() == THURSDAY and begins <= last and first <= ends:
            return True
        day += timedelta(days=1)
    return False


def _hour_of(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=NEW_YORK)


def _moment(time_us: int) -> datetime:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).astimezone(NEW_YORK)
