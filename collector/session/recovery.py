"""
What a process that died has left in the spool goes into the database.

One task, `run_recovery`, at the start of the service; it ends when nothing is left. It may be cancelled at
any time: what it had in hand is found again at the next start.
"""

import random
from collections.abc import Iterable
from typing import Final

import trio

from collector.errors import StoreUnavailable, leaves_of
from collector.observe.logs import get_logger
from collector.session.writer import RETRY_FIRST_S, RETRY_S_MAX, WRITE_S_MAX
from collector.store.batch import Batch, SessionEnding
from collector.store.sessions import OpenStore, SessionLink
from collector.store.spool import Journal, SpoolFailed
from collector.supervise import backoff_delays

DIED: Final = "recorder_died"

_log = get_logger("recovery")


async def run_recovery(
    journals: Iterable[Journal], open_store: OpenStore, store_ready: trio.Event, rng: random.Random
) -> None:
    """Bring the journals of an earlier process in, one after the other, however long the database is away."""
    await store_ready.wait()
    for journal in journals:
        delays = backoff_delays(rng, first_s=RETRY_FIRST_S, s_max=RETRY_S_MAX)
        store = open_store(journal.opening)
        is_in = False
        while not is_in:
            try:
                with trio.fail_after(WRITE_S_MAX) as deadline:
                    async with store.connect() as link:
                        await _bring_in(journal, link, deadline)
                is_in = True
            except* (StoreUnavailable, SpoolFailed, trio.TooSlowError) as group:
                _log.warning("spooled batches can't be brought in yet", reason=str(leaves_of(group)[0]))
            if not is_in:
                await trio.sleep(next(delays))


async def _bring_in(journal: Journal, link: SessionLink, deadline: trio.CancelScope) -> None:
    """One session: its batches, and its end, which may be one that the process did not live to see."""
    session_id = await link.begin()
    last_us = journal.opening.started_us
    batches = 0
    ending: SessionEnding | None = None
    while (record := await journal.first()) is not None:
        deadline.deadline = trio.current_time() + WRITE_S_MAX
        if isinstance(record, Batch):
            await link.write(record)
            batches += 1
            last_us = record.frames[-1].received_us if record.frames else last_us
            await journal.advance()
        else:
            ending = record
            break
    await link.end(ending or SessionEnding(last_us, "error", _words_for(journal), None))
    await journal.discard()
    _log.info("brought in from the spool", session=session_id, batches=batches)


def _words_for(journal: Journal) -> str:
    if journal.is_damaged:
        return f"{DIED}; files of its spool are damaged and were put aside"
    if journal.torn_bytes:
        return f"{DIED}; the last record of its spool was cut short"
    return DIED
