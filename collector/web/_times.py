"""Times as people and browsers read them. Pure."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso_time(time_us: int) -> str:
    """A time in microseconds since 1970 as `2025-01-01T00:00:00.000Z`."""
    moment = _EPOCH + timedelta(microseconds=time_us)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_utc(time_us: int) -> str | None:
    """The same, with None for 0, which is no time."""
    return iso_time(time_us) if time_us else None
