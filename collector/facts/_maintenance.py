"""When the exchange is in maintenance, so far as a recorder can know. Pure."""

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
from attrs import define, field

from collector.errors import MalformedFrame
from collector.facts._stream import NoteKind, RestRecord, StreamNote
from collector.protocol import SCHEDULE_PATH, STATUS_PATH, is_exchange_active, maintenance_windows

NEW_YORK: Final = ZoneInfo("America/New_York")
THURSDAY: Final = 3
BEGIN_HOUR: Final = 3
END_HOUR: Final = 5
"""Every Thursday from 03:00 to 05:00 in New York (Kalshi's exchange schedule)."""
WINDOWS_MAX: Final = 1000
"""Maximum number of announced windows that are kept: some hundred years of maintenance days."""


@define
class Maintenance:
    """
    The weekly maintenance, the windows that schedules have announced, and the newest status.

    `is_inactive` is true when the exchange was inactive by the newest status.
    """

    is_inactive: bool = False
    _windows: set[tuple[int, int]] = field(factory=set[tuple[int, int]])

    @property
    def windows(self) -> list[tuple[int, int]]:
        """The announced windows in order: begin and end, in microseconds since 1970 UTC."""
        return sorted(self._windows)

    def note(self, note: StreamNote) -> None:
        """Use a record of the exchange. One that this version does not understand changes nothing."""
        assert note.kind is NoteKind.RECORD
        with suppress(MalformedFrame, msgspec.MsgspecError, ValueError):
            record = msgspec.json.decode(note.content, type=RestRecord)
            if record.path == SCHEDULE_PATH:
                self._announce(maintenance_windows(bytes(record.record)))
            elif record.path == STATUS_PATH:
                self.is_inactive = not is_exchange_active(bytes(record.record))

    def _announce(self, windows: tuple[tuple[int, int], ...]) -> None:
        """Add announced windows. A later schedule takes none back: past ones are not in it any more."""
        self._windows.update(windows)
        for window in self.windows[:-WINDOWS_MAX]:
            self._windows.discard(window)

    def touches(self, from_us: int, until_us: int) -> bool:
        """
        Whether a time has an instant in common with a maintenance.

        The arguments are microseconds since 1970 UTC; both instants belong to the time.
        """
        is_announced = any(begin_us <= until_us and from_us <= end_us for begin_us, end_us in self._windows)
        return is_announced or touches_weekly_maintenance(from_us, until_us)


def touches_weekly_maintenance(from_us: int, until_us: int) -> bool:
    """Whether a time has an instant in common with the weekly maintenance; as `Maintenance.touches`."""
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
