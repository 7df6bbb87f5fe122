"""Schedule and status of the exchange, as REST gives them (OpenAPI document of October 2026)."""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from msgspec import Struct

from collector.errors import MalformedFrame

SCHEDULE_PATH: Final = "/exchange/schedule"
STATUS_PATH: Final = "/exchange/status"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Window(Struct):
    start_datetime: datetime
    end_datetime: datetime


class _Windows(Struct):
    maintenance_windows: list[_Window] | None = None


class _Schedule(Struct):
    schedule: _Windows


class _Flags(Struct):
    exchange_active: bool = True
    trading_active: bool = True

    @property
    def is_active(self) -> bool:
        return self.exchange_active and self.trading_active


class _Status(_Flags):
    exchange_index_statuses: list[_Flags] | None = None


def maintenance_windows(record: bytes) -> tuple[tuple[int, int], ...]:
    """
    The maintenance windows of a schedule: begin and end, in microseconds since 1970 UTC.

    Raises MalformedFrame.
    """
    try:
        windows = msgspec.json.decode(record, type=_Schedule).schedule.maintenance_windows or []
        return tuple((_time_us(each.start_datetime), _time_us(each.end_datetime)) for each in windows)
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise MalformedFrame(f"not a schedule of the exchange: {error}") from error


def is_exchange_active(record: bytes) -> bool:
    """
    Whether a status says that exchange and trading are active, on each of its indexes. Raises MalformedFrame.
    """
    try:
        status = msgspec.json.decode(record, type=_Status)
    except (msgspec.MsgspecError, ValueError) as error:
        raise MalformedFrame(f"not a status of the exchange: {error}") from error
    return all(each.is_active for each in (status, *(status.exchange_index_statuses or ())))


def _time_us(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError("a time without its offset")
    return (moment - _EPOCH) // timedelta(microseconds=1)
