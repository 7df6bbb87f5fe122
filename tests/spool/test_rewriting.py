"""What was written is kept for the rewrite window, and is there again when the database has lost it."""

from typing import Final

import attrs
import pytest
import trio
from trio.testing import MockClock

from collector.observe import SpoolStatus
from collector.spool import Journal, Spool, SpoolFull, find_leftovers
from collector.storage import Batch, SessionEnding
from tests.spool.test_journal import ENDING, batches, read_all
from tests.twins import OPENING, MemoryDisk

WINDOW_S: Final = 60.0


def spool_on(disk: MemoryDisk, bytes_max: int = 2**30) -> Spool:
    return Spool(disk, bytes_max, SpoolStatus(), WINDOW_S)


async def write(journal: Journal, batch: Batch) -> None:
    """What the writer does while the database accepts writes."""
    await journal.keep(batch)
    await journal.confirm(batch)


def numbers(records: list[Batch | SessionEnding]) -> list[int]:
    return [record.number for record in records if isinstance(record, Batch)]


async def test_what_the_database_has_lost_is_read_again(autojump_clock: MockClock) -> None:
    """From the batch on that it lacks, whether it had waited or not, and then what waits."""
    journal = spool_on(MemoryDisk()).journal(OPENING)
    *written, drained, waiting = batches(9)
    for batch in written:
        await write(journal, batch)
        await trio.sleep(5)
    await journal.append(drained)
    assert numbers(await read_all(journal)) == [8]
    await journal.append(waiting)

    assert await journal.resume_after(8) == 0
    assert await journal.resume_after(4) == 0
    assert numbers(await read_all(journal))[-5:] == [5, 6, 7, 8, 9]
    assert journal.is_empty


async def test_a_batch_leaves_when_the_window_has_passed(autojump_clock: MockClock) -> None:
    """What is older can't be written again, and the journal says how many batches that is."""
    disk = MemoryDisk()
    journal = spool_on(disk).journal(OPENING)
    for batch in batches(30):
        await write(journal, batch)
        await trio.sleep(10)
    kept = len(disk.files)
    assert 1 <= kept <= 2

    assert await journal.resume_after(25) == 0
    assert {26, 27, 28, 29, 30} <= set(numbers(await read_all(journal)))
    assert 0 < await journal.resume_after(10) < 20
    again = numbers(await read_all(journal))
    assert again == list(range(again[0], 31))

    await trio.sleep(WINDOW_S)
    await journal.remove_expired()
    assert disk.files == {}
    assert await journal.resume_after(29) == 1


async def test_the_next_process_writes_it_again() -> None:
    """Also after a kill between the commit and its confirmation; and it is kept for another window."""
    disk = MemoryDisk()
    journal = spool_on(disk).journal(OPENING)
    first, second = batches(2)
    await write(journal, first)
    await journal.keep(second)

    spool = spool_on(disk)
    (found,) = await find_leftovers(spool)
    assert spool.status.bytes > 0
    assert numbers(await read_all(found)) == [1, 2]
    assert (spool.status.bytes, spool.status.kept_bytes) == (0, sum(map(len, disk.files.values())))
    assert await found.resume_after(1) == 0
    assert numbers(await read_all(found)) == [1, 2]


async def test_the_end_is_kept_too() -> None:
    """A database may have lost how a session ended."""
    disk = MemoryDisk()
    journal = spool_on(disk).journal(OPENING)
    await write(journal, batches(1)[0])
    await journal.keep(ENDING)

    (found,) = await find_leftovers(spool_on(disk))
    assert (await read_all(found))[-1] == ENDING


async def test_what_waits_comes_before_what_is_kept() -> None:
    """Where there is no room for both, kept batches leave; the waiting ones never do."""
    disk = MemoryDisk()
    spool = spool_on(disk, 20_000)
    other = spool.journal(attrs.evolve(OPENING, key=type(OPENING.key)(int=8)))
    for batch in batches(40):
        await write(other, batch)
    assert 15_000 < spool.status.kept_bytes <= 20_000

    journal = spool.journal(OPENING)
    appended = 0
    with pytest.raises(SpoolFull):
        for batch in batches(200):
            await journal.append(batch)
            appended += 1
    assert spool.status.kept_bytes < 2_000
    assert sum(map(len, disk.files.values())) == spool.status.bytes + spool.status.kept_bytes <= 20_000
    assert len(await read_all(journal)) == appended


async def test_a_disk_that_keeps_nothing_costs_no_frame() -> None:
    """It is noted, and passes when the disk takes records again."""
    disk = MemoryDisk(bytes_max=0)
    spool = spool_on(disk)
    journal = spool.journal(OPENING)
    first, second = batches(2)
    await write(journal, first)
    assert spool.status.keep_failure == "No space left on device"
    assert spool.status.failure == ""

    disk.bytes_max = None
    await write(journal, second)
    assert spool.status.keep_failure == ""
    assert await journal.resume_after(0) == 1
    assert numbers(await read_all(journal)) == [2]


async def test_without_a_window_nothing_is_kept() -> None:
    """But what the database has lost is still known."""
    disk = MemoryDisk()
    journal = Spool(disk, 2**30, SpoolStatus()).journal(OPENING)
    for batch in batches(3):
        await write(journal, batch)
    assert disk.files == {}
    assert await journal.resume_after(1) == 2


async def test_a_refused_batch_is_set_aside() -> None:
    """Its frames are in a file of its own, with the reason, and the next start brings it in when renamed."""
    disk = MemoryDisk()
    spool = spool_on(disk)
    journal = spool.journal(OPENING)
    for batch in batches(3):
        await journal.append(batch)
    await journal.first()
    await journal.set_aside("value too long [22001]")
    assert numbers(await read_all(journal)) == [2, 3]
    (name,) = [name for name in disk.files if name.endswith(".refused")]
    assert disk.files[f"{name}.txt"] == b"value too long [22001]\n"
    assert spool.status.refused_batches == 1

    mended = MemoryDisk({name.replace(".refused", ".spool"): disk.files[name]})
    (found,) = await find_leftovers(spool_on(mended))
    assert (found.opening, numbers(await read_all(found))) == (OPENING, [1])
    assert await find_leftovers(again := spool_on(MemoryDisk({name: disk.files[name]}))) == []
    assert again.status.refused_batches == 1
