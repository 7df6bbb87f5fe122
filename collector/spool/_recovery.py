"""
What a process that died has left in the spool goes into the database.

One task, `run_recovery`, at the start of the service; it ends when nothing is left. It may be cancelled at
any time: what it had in hand is found again at the next start.
"""

import random
from collections.abc import Iterable
from functools import partial
from typing import Final

import trio

from collector.errors import StoreError
from collector.observe import get_logger
from collector.retry import Backoff, retry
from collector.spool._journal import Journal, SpoolFailed
from collector.storage import Batch, OpenStore, SessionEnding, SessionLink, SessionStore

DIED: Final = "recorder_died"

WRITE_S_MAX: Final = 60.0
"""A batch that takes longer is not slow: the server is stuck, and a new connection is tried."""
RETRY_FIRST_S: Final = 0.2
RETRY_S_MAX: Final = 5.0

_log = get_logger("recovery")


async def run_recovery(
    journals: Iterable[Journal], open_store: OpenStore, store_ready: trio.Event, rng: random.Random
) -> None:
    """
    Replay the journals of an earlier process, one after the other, however long the database is unavailable.
    """
    await store_ready.wait()
    for journal in journals:
        backoff = Backoff(rng, RETRY_FIRST_S, RETRY_S_MAX)

        async def pause(failure: Exception, backoff: Backoff = backoff) -> None:
            _log.warning("journal_not_replayed_yet", retrying=True, reason=str(failure))
            await trio.sleep(backoff.next_delay_s())

        await retry(
            partial(_replay, journal, open_store(journal.opening)),
            (StoreError, SpoolFailed, trio.TooSlowError),
            pause,
        )


async def _replay(journal: Journal, store: SessionStore) -> None:
    with trio.fail_after(WRITE_S_MAX) as deadline:
        async with store.connect() as link:
            await _replay_journal(journal, link, deadline)


async def _replay_journal(journal: Journal, link: SessionLink, deadline: trio.CancelScope) -> None:
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
    _log.info("journal_replayed", session=session_id, batches=batches)


def _words_for(journal: Journal) -> str:
    if journal.is_damaged:
        return f"{DIED}; records of its spool are damaged"
    if journal.torn_bytes:
        return f"{DIED}; the last record of its spool was cut short"
    return DIED
