"""A build context: from the request's body to a directory, whatever the tar tries.

The body is spooled to a file first (its length is unknown and its sender may be slow), then
unpacked in a thread. Every component of every name is opened relative to its parent's descriptor
and never through a symbolic link: a member cannot land outside of the directory, and one that
tries makes the whole context an error.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from sampan.aio import in_thread
from sampan.errors import Exhausted, InvalidArgument
from sampan.image.tar import (
    DIRECTORY,
    LINK,
    REGULAR,
    SYMLINK,
    BadTar,
    Entry,
    Reader,
    Source,
    padding,
)
from sampan.image.worker import inflate

_SPOOL_CHUNK = 1 << 20
_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


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
        await in_thread(unpack, _chunks(fd), target)
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


def unpack(chunks: Iterator[bytes], target: Path) -> None:
    """Unpack a tar of any compression below ``target``. Blocking.

    Raises:
        BadTar, OSError
    """
    source = Source(inflate(chunks))
    reader = Reader(source)
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    times: list[tuple[list[bytes], int]] = []
    try:
        while (entry := reader.next()) is not None:
            parts = _parts(entry.name)
            if not parts:
                if entry.type == REGULAR:
                    raise BadTar("a file in place of the root directory")
                continue
            parent = _open_parent(root, parts[:-1])
            try:
                _member(source, root, parent, parts[-1], entry)
            finally:
                os.close(parent)
            if entry.type == DIRECTORY:
                times.append((parts, entry.mtime_ns))
        for parts, mtime_ns in reversed(times):
            parent = _open_parent(root, parts[:-1])
            try:
                os.utime(parts[-1], ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                pass  # a later member took its place
            finally:
                os.close(parent)
    finally:
        os.close(root)


def _parts(name: bytes) -> list[bytes]:
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise BadTar(f"{os.fsdecode(name)!r} leads out of the context")
    return parts


def _open_parent(root: int, parts: list[bytes]) -> int:
    fd = os.dup(root)
    for part in parts:
        try:
            try:
                below = os.open(part, _DIR, dir_fd=fd)
            except FileNotFoundError:
                os.mkdir(part, 0o755, dir_fd=fd)
                below = os.open(part, _DIR, dir_fd=fd)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                path = os.fsdecode(b"/".join(parts))
                raise BadTar(f"{path!r} leads through something that is no directory") from error
            raise
        finally:
            os.close(fd)
        fd = below
    return fd


def _member(source: Source, root: int, parent: int, name: bytes, entry: Entry) -> None:
    if entry.type == DIRECTORY:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                os.unlink(name, dir_fd=parent)
                os.mkdir(name, 0o700, dir_fd=parent)
        os.chmod(name, entry.mode & 0o7777, dir_fd=parent)
    elif entry.type == SYMLINK:
        _clear(parent, name)
        os.symlink(entry.link, name, dir_fd=parent)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)
    elif entry.type == LINK:
        linked = _parts(entry.link)
        if not linked:
            raise BadTar(f"{os.fsdecode(name)!r} is a link to nothing")
        origin = _open_parent(root, linked[:-1])
        try:
            _clear(parent, name)
            os.link(linked[-1], name, src_dir_fd=origin, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError as error:
            raise BadTar(f"{os.fsdecode(name)!r} is a link to a missing file") from error
        finally:
            os.close(origin)
    elif entry.type == REGULAR:
        _file(source, parent, name, entry)
    # Devices and pipes have no place in a context and could be read by a later step: left out.


def _file(source: Source, parent: int, name: bytes, entry: Entry) -> None:
    try:
        fd = os.open(name, _NEW, 0o600, dir_fd=parent)
    except FileExistsError:
        _clear(parent, name)
        fd = os.open(name, _NEW, 0o600, dir_fd=parent)
    try:
        source.copy(fd, entry.size)
        source.exactly(padding(entry.size))
        os.fchmod(fd, entry.mode & 0o7777)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
    finally:
        os.close(fd)


def _clear(parent: int, name: bytes) -> None:
    """Make way for a member: a later one of the same name replaces the earlier."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except IsADirectoryError as error:
        raise BadTar(f"{os.fsdecode(name)!r} replaces a directory") from error
