"""A build context: from the request's body to a directory, whatever the tar tries.

The body is spooled to a file first (its length is unknown and its sender may be slow), then
unpacked in a thread.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from io import FileIO
from pathlib import Path

from sampan.aio import in_thread, shielded
from sampan.api.untar import unpack
from sampan.errors import Exhausted, InvalidArgument
from sampan.image.tar import BadTar

_SPOOL_CHUNK = 1 << 20


async def receive(body: AsyncIterator[bytes], target: Path) -> None:
    """Unpack ``body`` into the new directory ``target``. Beside it, it needs room for the body.

    Raises:
        InvalidArgument: not a tar, or one that leads out of itself.
        Exhausted: the disk is full.
    """
    spool = await shielded(in_thread(_begin, target))
    try:
        pending = bytearray()
        async for chunk in body:
            pending += chunk
            if len(pending) >= _SPOOL_CHUNK:
                await in_thread(_write, spool.fileno(), bytes(pending))
                pending.clear()
        await in_thread(_write, spool.fileno(), bytes(pending))
        await in_thread(_unpack, spool.fileno(), target)
    except BadTar as error:
        raise InvalidArgument(f"the build context is not a usable tar archive: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Exhausted(f"no space left for the build context in {target.parent}") from error
        raise
    finally:
        await shielded(in_thread(spool.close))


def _begin(target: Path) -> FileIO:
    """Make the directory, and a file without a name: it goes when it is closed."""
    target.mkdir(mode=0o700)
    return tempfile.TemporaryFile(buffering=0, dir=target.parent)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _chunks(fd: int) -> Iterator[bytes]:
    while data := os.read(fd, _SPOOL_CHUNK):
        yield data


def _unpack(spool: int, target: Path) -> None:
    os.lseek(spool, 0, os.SEEK_SET)
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        unpack(_chunks(spool), root)
    finally:
        os.close(root)
