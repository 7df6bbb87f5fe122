"""
Questions to the database that browsers and probes ask: one at a time, and shared.

A question costs the database some work. So askers share one answer for a while, and wait for each other
instead of asking at the same time; that the database is away is an answer too.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import trio
from attrs import define, field, frozen

from collector.errors import StoreError, leaves_of
from collector.store.connection import ConnectStore, TrioConnection

ASK_S_MAX: Final = 10.0
KEPT_S: Final = 5.0
REST_FACTOR: Final = 10
"""An answer is kept ten times as long as it took: so one question takes a tenth of a processor at most."""

Answer = TypeVar("Answer")


@frozen
class Unanswered:
    """The database could not be asked, or has not answered in time: why."""

    why: str


@define(eq=False)
class Desk(Generic[Answer]):
    """
    Asks one kind of question, which a number distinguishes, and keeps each answer for a while.

    `fetch` asks the database; it may raise StoreError, and is cancelled after ASK_S_MAX.
    """

    connect_store: ConnectStore | None
    fetch: Callable[[TrioConnection, int], Awaitable[Answer]]
    _is_asking: trio.Lock = field(factory=trio.Lock, init=False)
    _kept: dict[int, tuple[float, Answer | Unanswered]] = field(
        factory=dict[int, tuple[float, Answer | Unanswered]], init=False
    )

    async def ask(self, number: int) -> Answer | Unanswered:
        """The answer, or why there is none. A checkpoint; never raises for the database's sake."""
        # Whoever waited here finds the answer of the one before; if that one was cancelled, it asks itself.
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
        if self.connect_store is None:
            return Unanswered("no database")
        reason = ""
        with trio.move_on_after(ASK_S_MAX):
            try:
                async with self.connect_store() as connection:
                    return await self.fetch(connection, number)
            except* StoreError as group:
                reason = str(leaves_of(group)[0])
        return Unanswered(reason or f"the database has not answered within {ASK_S_MAX:g} s")
