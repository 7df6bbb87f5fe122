"""The time texts of the exchange, to whole milliseconds since 1970."""

import re
from functools import lru_cache
from typing import Final

from collector.errors import MalformedFrame

_RFC3339: Final = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|\+00:00)", re.ASCII)
TIMESTAMP_MS_MAX: Final = 253_402_300_799_999
"""The last millisecond of the year 9999."""


def parse_rfc3339_ms(text: str) -> int:
    """UTC time text to milliseconds since 1970, cut off, never rounded. Raises MalformedFrame."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise MalformedFrame(f"not a UTC time: {text[:40]!a}")
    milliseconds = int((match.group(2) or "").ljust(3, "0")[:3])
    return _parse_second(match.group(1)) * 1000 + milliseconds


@lru_cache(maxsize=256)
def _parse_second(text: str) -> int:
    """Seconds since 1970 of a time text without fraction. Kept, since many frames share a second."""
    year, month, day, hour, minute, second = (int(part) for part in re.split("[-Tt:]", text))
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        raise MalformedFrame(f"not a UTC time: {text[:40]!a}")
    return _days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second


def _days_since_1970(year: int, month: int, day: int) -> int:
    """Days of the civil calendar, counted in years that begin in March so that leap days come last."""
    year_of_march = year - (month < 3)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    leap_days = year_of_march // 4 - year_of_march // 100 + year_of_march // 400
    return 365 * year_of_march + leap_days + day_of_year - 719_468


def format_second(second: int) -> str:
    """`2026-08-11T01:15:15` of seconds since 1970 UTC: what parse_rfc3339_ms reads, without the zone."""
    days, second_of_day = divmod(second, 86_400)
    year, month, day = _date_of(days)
    minute_of_day, second_of_minute = divmod(second_of_day, 60)
    hour, minute = divmod(minute_of_day, 60)
    return f"{year}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second_of_minute:02d}"


def _date_of(days: int) -> tuple[int, int, int]:
    """The inverse of `_days_since_1970`: year, month, day."""
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    return 400 * era + year_of_era + (month <= 2), month, day


def bounded_ms(timestamp_ms: int) -> int:
    """The same time. Raises MalformedFrame when no calendar has it."""
    if timestamp_ms > TIMESTAMP_MS_MAX:
        raise MalformedFrame(f"a time beyond the year 9999: {timestamp_ms} ms")
    return timestamp_ms
