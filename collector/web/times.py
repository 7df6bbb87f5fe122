"""Times as people and browsers read them. Pure."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso_utc(time_us: int) -> str | None:
    """A time in microseconds since 1970 as `2025-01-01T00:00:00.000Z`; None for 0, which is no time."""
    if not time_us:
        return None
    moment = _EPOCH + timedelta(microseconds=time_us)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
