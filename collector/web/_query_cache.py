"""
Caches database queries for browsers and health probes, and runs one query of a kind at a time.

A query costs the database work. So results are cached, and concurrent requests share one query. That the
database is unavailable is cached too.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import trio
from attrs import define, field, frozen

from collector.errors import StoreError, leaves_of

ASK_S_MAX: Final = 10.0
KEPT_S: Final = 5.0
REST_FACTOR: Final = 10
"""A result is cached ten times as long as its query took, so a query runs at most a tenth of the time."""

Answer = TypeVar("Answer")


@frozen
class Unanswered:
    """The database could not be asked, or has not answered in time: why."""

    why: str


@define(eq=False)
class QueryCache(Generic[Answer]):
    """
    Asks one kind of question, which a number distinguishes, and keeps each answer for a while.

    `fetch` asks the database; it may raise StoreError, and is cancelled after ASK_S_MAX. None: there is no
    database.
    """

    fetch: Callable[[int], Awaitable[Answer]] | None
    _is_asking: trio.Lock = field(factory=trio.Lock, init=False)
    _kept: dict[int, tuple[float, Answer | Unanswered]] = field(
        factory=dict[int, tuple[float, Answer | Unanswered]], init=False
    )

    async def ask(self, number: int) -> Answer | Unanswered:
        """The answer, or why there is none. A checkpoint; raises nothing of the database's."""
        # A task that waited here finds the answer of the one before it, unless that one was cancelled.
        async with self._is_asking:
            now_s = trio.current_time()
            self._kept = {key: kept for key, kept in self._kept.items() if kept[0] > now_s}
            if number not in self._kept:
                answer = await self._ask(number)
                took_s = 0.0 if isinstance(answer, Unanswered) else trio.current_time() - now_s
                kept_s = max(KEPT_S, REST_FACTOR * took_s)
                self._kept[number] = (trio.current_time() + kept_s, answer)
            return self._kept[number][1]

    async def _ask(self, number: int) -> Answer | Unanswered:
        if self.fetch is None:
            return Unanswered("no database")
        reason = ""
        with trio.move_on_after(ASK_S_MAX):
            try:
                return await self.fetch(number)
            except* StoreError as group:
                reason = str(leaves_of(group)[0])
        return Unanswered(reason or f"the database has not answered within {ASK_S_MAX:g} s")
