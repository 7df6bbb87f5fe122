"""
The REST records that the recording uses. Each is noted in the stream of every open session that it concerns.

Schedule and status of the exchange decide whether an interruption can be proven empty, so a session notes
those that are known when it begins. A schedule or a status that changes nothing is not noted again.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final, Protocol, TypeAlias

import trio
from attrs import define, field

from collector.errors import MalformedFrame
from collector.facts import MARKETS_PATH, HeldBook, LastExact
from collector.observe import get_logger
from collector.protocol import SCHEDULE_PATH, STATUS_PATH, is_exchange_active, maintenance_windows
from collector.storage import is_storable_record

HeldBooks: TypeAlias = dict[str, HeldBook | LastExact]
"""By market, the last exact book of a session that has ended: see `collector.facts`."""
SCHEDULES_MAX: Final = 10
"""Schedules that a session notes when it begins: past windows are not in the newest one any more."""
RECORDS_WAITING_MAX: Final = 10_000
"""Records of markets that wait for a session; later ones come again within the hour."""
RECORDS_PER_STEP: Final = 50
"""Records that are noted without a checkpoint: about 20 µs each for each session."""

_log = get_logger("records")


class RecordUser(Protocol):
    """An open session, as far as records are concerned."""

    def follows(self, ticker: str) -> bool:
        """Whether a market is in its subscription."""
        ...

    def note_record(self, path: str, record: bytes) -> None:
        """Add a record to its stream: JSON in UTF-8. No checkpoint."""
        ...


@define(eq=False)
class UsedRecords:
    """What REST has answered, and the open sessions."""

    held_books: HeldBooks = field(factory=dict[str, "HeldBook | LastExact"])
    _users: dict[RecordUser, None] = field(factory=dict[RecordUser, None], init=False)
    _waiting: dict[str, bytes] = field(factory=dict[str, bytes], init=False)
    """Records of markets that came while no session was open."""
    _schedules: deque[bytes] = field(factory=lambda: deque[bytes](maxlen=SCHEDULES_MAX), init=False)
    _status: bytes | None = field(default=None, init=False)

    def add_user(self, user: RecordUser) -> None:
        """A session begins: it notes what is known of the exchange, and the records that have waited."""
        self._users[user] = None
        for schedule in self._schedules:
            user.note_record(SCHEDULE_PATH, schedule)
        if self._status is not None:
            user.note_record(STATUS_PATH, self._status)
        for ticker, record in self._waiting.items():
            user.note_record(MARKETS_PATH + ticker, record)
        self._waiting.clear()

    def remove_user(self, user: RecordUser) -> None:
        """A session has ended."""
        self._users.pop(user, None)

    def use_schedule(self, record: bytes) -> None:
        """The answer of `GET /exchange/schedule`. One that is not understood is logged."""
        try:
            windows = maintenance_windows(record)
        except MalformedFrame as error:
            _log.warning("schedule_not_understood", reason=str(error)[:300])
            return
        if not self._schedules or maintenance_windows(self._schedules[-1]) != windows:
            self._schedules.append(record)
            self._note(SCHEDULE_PATH, record)

    def use_status(self, record: bytes) -> None:
        """
        The answer of `GET /exchange/status`. One that is not understood is logged.

        While the exchange is inactive no interruption can be proven empty: it may set clocks back.
        """
        try:
            is_active = is_exchange_active(record)
        except MalformedFrame as error:
            _log.warning("status_not_understood", reason=str(error)[:300])
            return
        if not is_active:
            self.held_books.clear()
        if self._status is None or is_exchange_active(self._status) != is_active:
            _log.info("exchange_status", active=is_active)
            self._status = record
            self._note(STATUS_PATH, record)

    async def use_markets(self, records: Mapping[str, bytes]) -> None:
        """
        Records of markets by ticker. A checkpoint each few records.

        A market that no open session follows has left, or is about to join: another session notes its record.
        """
        for count, (ticker, record) in enumerate(records.items(), 1):
            if count % RECORDS_PER_STEP == 0:
                await trio.lowlevel.checkpoint()
            if not is_storable_record(ticker, record):
                _log.warning("market_record_not_noted", market=ticker, bytes=len(record))
                continue
            followers = [user for user in self._users if user.follows(ticker)]
            for user in followers or list(self._users)[:1]:
                user.note_record(MARKETS_PATH + ticker, record)
            if not self._users and len(self._waiting) < RECORDS_WAITING_MAX:
                self._waiting[ticker] = record

    def _note(self, path: str, record: bytes) -> None:
        for user in self._users:
            user.note_record(path, record)
