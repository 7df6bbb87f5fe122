"""
What a process that died has left in the spool goes into the database.

One task, `run_recovery`, from the start of the service on, with a task for each journal; it ends when the
rewrite window has passed for all of them. It may be cancelled at any time: what it had in hand is found again
at the next start.
"""

import random
from collections.abc import Iterable
from typing import Final

import trio
from attrs import define

from collector.errors import StoreError, StoreRejected
from collector.observe import get_logger
from collector.retry import Backoff, retry
from collector.spool._disk import SpoolFailed
from collector.spool._journal import Journal
from collector.spool._refusals import set_aside_if_alone
from collector.storage import Batch, OpenStore, SessionEnding, SessionLink, SessionStore

DIED: Final = "recorder_died"

WRITE_S_MAX: Final = 60.0
"""A batch that takes longer is not slow: the server is stuck, and a new connection is tried."""
RETRY_FIRST_S: Final = 0.2
RETRY_S_MAX: Final = 5.0
CONNECTIONS_MAX: Final = 2
"""Journals that are written at the same time."""

_log = get_logger("recovery")


async def run_recovery(
    journals: Iterable[Journal], open_store: OpenStore, store_ready: trio.Event, rng: random.Random
) -> None:
    """
    Bring in the journals of an earlier process, however long the database is unavailable or refuses some.
    """
    await store_ready.wait()
    connections = trio.CapacityLimiter(CONNECTIONS_MAX)
    async with trio.open_nursery() as nursery:
        for journal in journals:
            session = _LeftSession(journal, open_store(journal.opening), connections)
            nursery.start_soon(session.run, Backoff(rng, RETRY_FIRST_S, RETRY_S_MAX))


@define(eq=False)
class _LeftSession:
    """One session of an earlier process: its journal, and what is known of its end."""

    journal: Journal
    store: SessionStore
    connections: trio.CapacityLimiter
    last_us: int = 0
    """When the last frame that was read of it was received. The database may know of a later one."""
    ending: SessionEnding | None = None
    reason: str = ""
    """Why the last try failed, so that a reason is logged once."""

    async def run(self, backoff: Backoff) -> None:
        """Write until everything is in the database, and still is when the rewrite window has passed."""

        async def pause(failure: Exception) -> None:
            if str(failure) != self.reason:
                self.reason = str(failure)
                _log.warning("journal_not_replayed_yet", retrying=True, reason=self.reason)
            await trio.sleep(backoff.next_delay_s())

        errors = (StoreError, SpoolFailed, trio.TooSlowError)
        await retry(self._bring_in, errors, pause)
        while (until_s := self.journal.last_kept_until_s) is not None:
            await trio.sleep_until(until_s)
            await retry(self._bring_in, errors, pause)
            await self.journal.remove_expired()

    async def _bring_in(self) -> None:
        """Write what the database does not hold of the session."""
        async with self.connections:
            with trio.fail_after(WRITE_S_MAX) as deadline:
                async with self.store.connect() as link:
                    await self._write(link, deadline)

    async def _write(self, link: SessionLink, deadline: trio.CancelScope) -> None:
        held = await link.begin()
        lost_batches = await self.journal.resume_after(held.last_batch)
        if lost_batches:
            _log.error("batches_lost", session=held.session_id, after=held.last_batch, lost=lost_batches)
        batches = 0
        while (record := await self.journal.first()) is not None:
            deadline.deadline = trio.current_time() + WRITE_S_MAX
            if isinstance(record, Batch):
                await self._write_batch(link, record)
                batches += 1
            else:
                self.ending = record
                await self.journal.advance()
        await self._end(link)
        if batches:
            _log.info("journal_replayed", session=held.session_id, batches=batches)

    async def _write_batch(self, link: SessionLink, batch: Batch) -> None:
        refusal: StoreRejected | None = None
        try:
            await link.write(batch)
        except StoreRejected as error:
            refusal = error
        if refusal is not None:
            await set_aside_if_alone(link, self.journal, batch, refusal)
            raise refusal
        if batch.frames:
            self.last_us = batch.frames[-1].received_us
        await self.journal.advance()

    async def _end(self, link: SessionLink) -> None:
        """Write the session's end, which may be one that the process did not live to see."""
        last_us = max(self.last_us, self.journal.opening.started_us)
        await link.end(self.ending or SessionEnding(last_us, "error", _words_for(self.journal), None))


def _words_for(journal: Journal) -> str:
    if journal.is_damaged:
        return f"{DIED}; records of its spool are damaged"
    if journal.torn_bytes:
        return f"{DIED}; the last record of its spool was cut short"
    return DIED
