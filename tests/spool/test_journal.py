"""What waits on the disk is there again, in order, whatever happened in between."""

import hashlib
import random
from pathlib import Path

import attrs
import msgspec
import pytest
import trio
import zstandard
from trio.testing import MockClock

from collector.errors import StartError
from collector.facts import FeedTracker, FrameCounts, ReceivedFrame
from collector.observe import SpoolStatus
from collector.spool import Journal, Spool, SpoolFailed, SpoolFull, find_leftovers, open_folder
from collector.spool._folder import FolderDisk
from collector.spool._records import MAGIC, decode_record, encode_record
from collector.storage import Batch, SessionEnding, opening_note
from tests.frames import RECEIVED_US, snapshot_text
from tests.twins import OPENING, MemoryDisk

ENDING = SessionEnding(RECEIVED_US + 5, "error", "network: gone", 1006)


def batches(count: int, frames_each: int = 3) -> list[Batch]:
    """Batches of snapshots, garbage and the gaps that they make: every kind of fact that is easily had."""
    tracker = FeedTracker.of_markets(("A", "B"))
    made: list[Batch] = []
    number = 1
    for _ in range(count):
        frames: list[ReceivedFrame] = []
        for _ in range(frames_each):
            text = "no frame" if number % 7 == 0 else snapshot_text("A", number)
            frames.append(ReceivedFrame(number, RECEIVED_US + number, text))
            number += 1
        folded = tracker.process(frames)
        made.append(
            Batch(len(made) + 1, folded.frames, folded.facts, folded.counts, number, formed_us=RECEIVED_US)
        )
    return made


def spool_on(disk: MemoryDisk | FolderDisk, bytes_max: int = 2**30) -> Spool:
    return Spool(disk, bytes_max, SpoolStatus())


def content(batch: Batch) -> tuple[object, ...]:
    """A batch for comparing; facts of different kinds may change places, those of one kind may not."""
    facts = sorted(batch.facts, key=lambda fact: type(fact).__name__)
    return batch.number, list(batch.frames), facts, batch.counts, batch.next_frame


async def read_all(journal: Journal) -> list[Batch | SessionEnding]:
    records: list[Batch | SessionEnding] = []
    while (record := await journal.first()) is not None:
        records.append(record)
        await journal.advance()
    return records


def test_record_round_trip() -> None:
    """A batch comes back with its frames verbatim and every fact that becomes a row."""
    for batch in [*batches(20), Batch(3, (), (), FrameCounts(), 9, formed_us=RECEIVED_US)]:
        data = encode_record(batch)
        decoded = decode_record(data[:16], data[16:])
        assert isinstance(decoded, Batch)
        assert content(decoded) == content(batch)
    data = encode_record(ENDING)
    assert decode_record(data[:16], data[16:]) == ENDING


async def test_next_process_finds_everything_in_order() -> None:
    """What one process has spooled, the next one reads: whose it is, each batch in order, and the end."""
    disk = MemoryDisk()
    journal = spool_on(disk).journal(OPENING)
    for batch in batches(10):
        await journal.append(batch)
    await journal.append(ENDING)

    spool = spool_on(disk)
    (found,) = await find_leftovers(spool)
    assert found.opening == OPENING
    *read, ending = await read_all(found)
    assert [content(batch) for batch in read if isinstance(batch, Batch)] == [content(b) for b in batches(10)]
    assert ending == ENDING
    assert (disk.files, spool.status.bytes, spool.status.sessions) == ({}, 0, 0)


async def test_torn_last_record_is_skipped_and_counted() -> None:
    """Wherever a kill cuts the last record, all records before it are read and one torn record is counted."""
    disk = MemoryDisk()
    journal = spool_on(disk).journal(OPENING)
    for batch in batches(3):
        await journal.append(batch)
    (name,) = disk.files
    whole = len(disk.files[name])
    await journal.append(batches(4)[3])
    text = disk.files[name]
    for cut in range(whole, len(text)):
        spool = spool_on(MemoryDisk({name: text[:cut]}))
        (found,) = await find_leftovers(spool)
        assert len(await read_all(found)) == 3
        assert spool.status.torn_records == (0 if cut == whole else 1)
        assert found.torn_bytes == cut - whole
        assert not found.is_damaged


async def test_file_cut_within_its_opening_is_nothing() -> None:
    """A kill before anything was whole leaves nothing to recover, and nothing to stumble over."""
    disk = MemoryDisk({"x.000001.spool": encode_record(OPENING)[:20]})
    assert await find_leftovers(spool_on(disk)) == []
    assert disk.files == {}


@pytest.mark.parametrize("records", [1, 2])
@pytest.mark.parametrize("kind", ["older format", "unknown content"])
async def test_file_of_another_version_is_put_aside(kind: str, records: int) -> None:
    """What another version has left is whole: it is kept for a person, never taken for torn."""
    if kind == "older format":
        data = b"RLS1" + encode_record(OPENING)[4:]
    else:
        payload = zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(["opening", {"key": 5}]))
        data = MAGIC + len(payload).to_bytes(4, "big") + hashlib.sha256(payload).digest()[:8] + payload
    disk = MemoryDisk({"x.000001.spool": data * records})
    spool = spool_on(disk)

    assert await find_leftovers(spool) == []
    assert disk.files == {"x.000001.damaged": data * records}
    assert spool.status.damaged_files == 1


async def spooled(*, bytes_max: int = 2**30) -> dict[str, bytes]:
    """The files of a journal with twelve batches and an ending."""
    disk = MemoryDisk()
    journal = spool_on(disk, bytes_max).journal(OPENING)
    for batch in batches(12):
        await journal.append(batch)
    await journal.append(ENDING)
    return disk.files


@pytest.mark.parametrize("bytes_max", [2**30, 30_000], ids=["one file", "several files"])
async def test_a_flipped_bit_costs_one_record(bytes_max: int) -> None:
    """Wherever it is: the records before and after it are read, and what is damaged is kept for a person."""
    files = await spooled(bytes_max=bytes_max)
    assert (len(files) > 2) is (bytes_max < 2**30)
    whole = [*(content(batch) for batch in batches(12)), ENDING]
    rng = random.Random(1)
    for _ in range(400):
        name = rng.choice(sorted(files))
        spoilt = bytearray(files[name])
        place = rng.randrange(len(spoilt))
        spoilt[place] ^= 1 << rng.randrange(8)
        disk = MemoryDisk({**files, name: bytes(spoilt)})
        spool = spool_on(disk)

        (found,) = await find_leftovers(spool)
        read = [content(one) if isinstance(one, Batch) else one for one in await read_all(found)]

        assert read == [record for record in whole if record in read]
        assert len(whole) - len(read) <= 1
        assert spool.status.damaged_files + spool.status.torn_records == 1
        assert all(kept.endswith(".damaged") for kept in disk.files)
        assert found.is_empty
        assert spool.status.bytes == 0


async def test_the_opening_may_be_what_is_damaged() -> None:
    """It is in each file and in the first batch. Files that nothing names a session of are put aside."""
    disk = MemoryDisk()
    journal = spool_on(disk).journal(OPENING)
    (batch,) = batches(1)
    await journal.append(attrs.evolve(batch, notes=[opening_note(OPENING)]))
    await journal.append(attrs.evolve(batch, number=2))
    (name,) = disk.files
    spoilt = bytearray(disk.files[name])
    spoilt[20] ^= 1

    spool = spool_on(MemoryDisk({name: bytes(spoilt)}))
    (found,) = await find_leftovers(spool)
    assert found.opening == OPENING
    assert len(await read_all(found)) == 2

    spoilt = spoilt[: len(encode_record(OPENING)) + 40]
    nothing = MemoryDisk({name: bytes(spoilt) + MAGIC})
    assert await find_leftovers(spool_on(nothing)) == []
    assert list(nothing.files) == [name.replace(".spool", ".damaged")]


async def test_damage_in_a_running_process_costs_one_record() -> None:
    """The writer has the rest, and the journal becomes empty."""
    disk = MemoryDisk()
    spool = spool_on(disk)
    journal = spool.journal(OPENING)
    for batch in batches(3):
        await journal.append(batch)
    (name,) = disk.files
    spoilt = bytearray(disk.files[name])
    spoilt[-30] ^= 1
    disk.files[name] = bytes(spoilt)

    assert len(await read_all(journal)) == 2
    assert journal.is_empty
    assert (journal.waiting_frames, journal.waiting_records, spool.status.records) == (0, 0, 0)
    await journal.append(ENDING)
    assert await read_all(journal) == [ENDING]


async def test_full_spool_takes_nothing_and_room_is_told() -> None:
    """At its bound it refuses whole records, loses none that it has, and tells when there is room again."""
    disk = MemoryDisk()
    spool = spool_on(disk, bytes_max=4000)
    journal = spool.journal(OPENING)
    many = batches(200)
    kept = 0
    with pytest.raises(SpoolFull):
        for batch in many:
            await journal.append(batch)
            kept += 1
    assert spool.status.is_full
    assert sum(map(len, disk.files.values())) == spool.status.bytes <= 4000
    room = spool.room.next
    assert len(await read_all(journal)) == kept
    assert room.is_set()
    assert not spool.status.is_full


async def test_full_disk_is_told_and_heals() -> None:
    """A full disk is named in the status; when it has room, the next record goes in as if nothing was."""
    disk = MemoryDisk(bytes_max=1500)
    spool = spool_on(disk)
    journal = spool.journal(OPENING)
    first, second = batches(2)
    await journal.append(first)
    disk.bytes_max = 0
    with pytest.raises(SpoolFailed, match="No space left on device"):
        await journal.append(second)
    assert spool.status.failure == "No space left on device"
    disk.bytes_max = None
    await journal.append(second)
    assert spool.status.failure == ""
    assert len(await read_all(journal)) == 2


async def test_segments_go_as_they_drain() -> None:
    """Space comes back while a journal drains, not only at its end; the order stays."""
    disk = MemoryDisk()
    journal = spool_on(disk, bytes_max=32_000).journal(OPENING)
    rng = random.Random(3)
    waiting = batches(60)
    read: list[int] = []
    most_files = 0
    while waiting or not journal.is_empty:
        if waiting and (journal.is_empty or rng.random() < 0.6):
            await journal.append(waiting.pop(0))
        else:
            record = await journal.first()
            assert isinstance(record, Batch)
            read.append(record.number)
            await journal.advance()
        most_files = max(most_files, len(disk.files))
    assert read == list(range(1, 61))
    assert most_files > 2
    assert disk.files == {}


async def test_record_on_its_way_is_not_lost(autojump_clock: MockClock) -> None:
    """A record that is being written while the one before it drains is there when both are done."""
    disk = MemoryDisk(write_s=1.0)
    journal = spool_on(disk).journal(OPENING)
    first, second = batches(2)
    await journal.append(first)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(journal.append, second)
        await trio.sleep(0.5)
        assert await journal.first() is not None
        await journal.advance()
    (left,) = await read_all(journal)
    assert isinstance(left, Batch)
    assert content(left) == content(second)
    assert disk.files == {}


async def test_real_folder(tmp_path: Path) -> None:
    """On a real disk: written, read by another owner, removed; and one collector at a time."""
    folder = tmp_path / "new" / "spool"
    async with open_folder(folder) as disk:
        journal = spool_on(disk).journal(OPENING)
        for batch in batches(5):
            await journal.append(batch)
        with pytest.raises(StartError, match="in use by another collector"):
            async with open_folder(folder):
                raise AssertionError("two owners")
    async with open_folder(folder) as disk:
        (found,) = await find_leftovers(spool_on(disk))
        assert len(await read_all(found)) == 5
    assert [path.name for path in await trio.to_thread.run_sync(lambda: list(folder.iterdir()))] == ["lock"]


async def test_folder_that_is_a_file(tmp_path: Path) -> None:
    """A path that can't be a folder is told with the variable that names it."""
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(StartError, match="RL_SPOOL_DIR"):
        async with open_folder(path):
            raise AssertionError("a file is no folder")
