"""
What a process that died has left in the spool folder, which one process at a time owns.

Nobody knows what of it the database holds, so all of it is read again.
"""

from collections.abc import Sequence

from collector.observe import get_logger
from collector.spool._disk import DAMAGED_SUFFIX, REFUSED_SUFFIX, SUFFIX, SpoolFile
from collector.spool._journal import Journal, Spool
from collector.spool._records import find_record, is_cut_short, opening_in
from collector.storage import SessionOpening

_log = get_logger("spool")


async def find_leftovers(spool: Spool) -> list[Journal]:
    """Journals that an earlier process has left. Files of which nothing can be read are put aside."""
    names: dict[str, list[str]] = {}
    sizes = await spool.disk.sizes()
    for name in sorted(sizes):
        if name.endswith(SUFFIX):
            names.setdefault(name.split(".", 1)[0], []).append(name)
        elif name.endswith(DAMAGED_SUFFIX):
            spool.status.damaged_files += 1
        elif name.endswith(REFUSED_SUFFIX):
            spool.status.refused_batches += 1
    journals: list[Journal] = []
    for of_session in names.values():
        files = [SpoolFile(name, sizes[name]) for name in of_session]
        opening, last_data = await _read_opening(spool, files)
        if opening is not None:
            journals.append(Journal.reopened(spool, opening, files))
        elif len(files) == 1 and is_cut_short(last_data):
            # A kill before the first record was whole: there is nothing in it.
            await spool.disk.remove(files[0].name)
        else:
            await _put_aside(spool, files)
    return journals


async def _read_opening(spool: Spool, files: Sequence[SpoolFile]) -> tuple[SessionOpening | None, bytes]:
    """The opening in the first file that has one, and the bytes of the last file that was read."""
    data = b""
    for file in files:
        data = await spool.disk.read(file.name, 0, file.size)
        found = find_record(data)
        opening = opening_in(found[1]) if found is not None else None
        if opening is not None:
            return opening, data
    return None, data


async def _put_aside(spool: Spool, files: Sequence[SpoolFile]) -> None:
    """Nothing of the files can be read: they keep their content under another name."""
    for file in files:
        new_name = file.name.removesuffix(SUFFIX) + DAMAGED_SUFFIX
        await spool.disk.rename(file.name, new_name)
        spool.status.damaged_files += 1
        _log.error("spool_file_damaged", kept_in=new_name)
