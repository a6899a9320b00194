"""A build context: from the request's body to a directory, whatever the tar tries.

The body is spooled to a file first (its length is unknown and its sender may be slow), then
unpacked in a thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from sampan.aio import in_thread
from sampan.api.untar import unpack
from sampan.errors import Exhausted, InvalidArgument
from sampan.image.tar import BadTar

_SPOOL_CHUNK = 1 << 20


async def receive(body: AsyncIterator[bytes], target: Path, spool: Path) -> None:
    """Unpack ``body`` into the empty directory ``target``; ``spool`` is a file to use meanwhile.

    Raises:
        InvalidArgument: not a tar, or one that leads out of itself.
        Exhausted: the disk is full.
    """
    fd = os.open(spool, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        pending = bytearray()
        async for chunk in body:
            pending += chunk
            if len(pending) >= _SPOOL_CHUNK:
                await in_thread(_write, fd, bytes(pending))
                pending.clear()
        await in_thread(_write, fd, bytes(pending))
        os.lseek(fd, 0, os.SEEK_SET)
        await in_thread(_unpack, fd, target)
    except BadTar as error:
        raise InvalidArgument(f"the build context is not a usable tar archive: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Exhausted(f"no space left for the build context in {target.parent}") from error
        raise
    finally:
        os.close(fd)
        os.unlink(spool)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _chunks(fd: int) -> Iterator[bytes]:
    while data := os.read(fd, _SPOOL_CHUNK):
        yield data


def _unpack(spool: int, target: Path) -> None:
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        unpack(_chunks(spool), root)
    finally:
        os.close(root)
