"""
The spool's folder on a real disk: writes that are on the disk when they return, and one owner at a time.

Everything that may wait for the disk runs in a thread, and none of it is given up in the middle.
"""

import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import trio
from attrs import frozen
from typing_extensions import override

from collector.errors import StartError
from collector.spool._disk import Disk

LOCK_NAME: Final = "lock"


@frozen
class FolderDisk(Disk):
    """The files of one folder."""

    folder: Path

    @override
    async def write(self, name: str, offset: int, data: bytes, *, is_durable: bool = True) -> None:
        await trio.to_thread.run_sync(_write, self.folder / name, offset, data, is_durable)

    @override
    async def read(self, name: str, offset: int, size: int) -> bytes:
        return await trio.to_thread.run_sync(_read, self.folder / name, offset, size)

    @override
    async def remove(self, name: str) -> None:
        await trio.to_thread.run_sync((self.folder / name).unlink)

    @override
    async def rename(self, name: str, new_name: str) -> None:
        await trio.to_thread.run_sync((self.folder / name).rename, self.folder / new_name)

    @override
    async def sizes(self) -> dict[str, int]:
        return await trio.to_thread.run_sync(_sizes, self.folder)


@asynccontextmanager
async def open_folder(folder: Path) -> AsyncGenerator[FolderDisk]:
    """
    Own a spool folder for the time of the block; it is made where there is none.

    Raises StartError when it can't be used, or when another collector uses it.
    """
    try:
        await trio.to_thread.run_sync(partial(folder.mkdir, parents=True, exist_ok=True))
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"can't use the spool folder {folder} (RL_SPOOL_DIR): {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(
                f"the spool folder {folder} is in use by another collector: each needs its own"
                " (RL_SPOOL_DIR; --dir of a demonstration)"
            ) from error
        yield FolderDisk(folder)
    finally:
        os.close(lock)


def _write(path: Path, offset: int, data: bytes, is_durable: bool) -> None:
    is_new = not path.exists()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(handle, data[written:], offset + written)
            if is_durable:
                os.fsync(handle)
        except OSError:
            with suppress(OSError):
                os.ftruncate(handle, offset)
            raise
    finally:
        os.close(handle)
    if is_new and is_durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # A new name is on the disk only when its folder is.
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
