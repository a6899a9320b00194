"""Files of a container as a tar, and what ``docker cp`` must know of a path beforehand.

Runs in a process that lives in the container's file system. Every step down is made from the
descriptor of the directory above and never through a link, so that a container which swaps names
meanwhile gets its own files mixed up and nobody else's.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sampan.engine.rootfs import resolve_inside
from sampan.image.tar import (
    BLOCK,
    CHAR,
    DEVICE,
    DIRECTORY,
    KINDS,
    LINK,
    REGULAR,
    SYMLINK,
    Entry,
    header,
    padding,
)
from sampan.kernel.inroot import open_in

_CHUNK = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def split(path: str) -> tuple[str, str]:
    """Directory and last component; the latter is "." where the path means what is inside."""
    absolute = "/" + path.lstrip("/")
    if absolute.endswith(("/", "/.", "/..")):
        return absolute, "."
    directory, name = posixpath.split(absolute)
    return directory, name


def open_path(root: Path, path: str) -> tuple[int, str]:
    """The directory that ``path`` lies in (a descriptor) and its name there.

    Raises:
        FileNotFoundError, NotADirectoryError
    """
    directory, name = split(path)
    parent = open_in(root, directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.lstat(name, dir_fd=parent)
    except OSError:
        os.close(parent)
        raise
    return parent, name


def describe(root: Path, path: str) -> dict[str, Any]:
    """Facts of ``path``: itself, when it is a link, and where that leads."""
    parent, name = open_path(root, path)
    try:
        found = os.lstat(name, dir_fd=parent)
        target = ""
        if stat.S_ISLNK(found.st_mode):
            target = "/" + os.path.relpath(resolve_inside(root, path), root).removeprefix(".")
    finally:
        os.close(parent)
    return {
        "name": _shown(path),
        "size": found.st_size,
        "mode": found.st_mode,
        "mtime_ns": found.st_mtime_ns,
        "link_target": target,
    }


def _shown(path: str) -> str:
    """The name under which ``path`` is in an archive. "DIR/." is ".": what is in it, wherever it is
    unpacked (``docker cp`` documents it so)."""
    if split(path)[1] == "." and path.endswith("."):
        return "."
    return posixpath.basename(posixpath.normpath("/" + path.lstrip("/"))) or "/"


def archive_out(root: Path, path: str) -> Iterator[bytes]:
    """``path`` and all below it as a tar, in chunks; names begin with its last component."""
    parent, name = open_path(root, path)
    try:
        yield from gather(_members(parent, name, _shown(path), {}))
        yield bytes(2 * BLOCK)
    finally:
        os.close(parent)


def archive_all(root: Path) -> Iterator[bytes]:
    """What ``root`` holds as a tar, names relative to it: ``docker export``."""
    fd = open_in(root, "/", os.O_RDONLY | os.O_DIRECTORY)
    links: dict[tuple[int, int], bytes] = {}
    device = os.fstat(fd).st_dev
    try:
        for member in sorted(os.listdir(fd)):
            yield from gather(_members(fd, member, member, links, device))
        yield bytes(2 * BLOCK)
    finally:
        os.close(fd)


def gather(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Small pieces joined, so that nothing is made of headers of 512 bytes."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _members(
    parent: int,
    name: str,
    shown: str,
    links: dict[tuple[int, int], bytes],
    device: int | None = None,
) -> Iterator[bytes]:
    """``device``: stay on this file system; a directory of another one is shown empty."""
    try:
        found = os.lstat(name, dir_fd=parent)
        kind = KINDS.get(stat.S_IFMT(found.st_mode))
        fd = os.open(name, _READ, dir_fd=parent) if kind in (REGULAR, DIRECTORY) else -1
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return  # removed or replaced by the container since its directory was read
        raise
    if kind is None:
        return  # a socket has no place in a tar
    if fd < 0:
        yield from _bodiless(parent, name, shown, kind, found)
        return
    try:
        found = os.fstat(fd)
        kind = KINDS.get(stat.S_IFMT(found.st_mode))
        if kind == DIRECTORY:
            yield from _directory(fd, shown, found, links, device)
        elif kind == REGULAR:
            yield from _file(fd, shown, found, links)
    finally:
        os.close(fd)


def _bodiless(
    parent: int, name: str, shown: str, kind: bytes, found: os.stat_result
) -> Iterator[bytes]:
    entry = _entry(shown, kind, found)
    if kind == SYMLINK:
        try:
            entry.link = os.fsencode(os.readlink(name, dir_fd=parent))
        except OSError:
            return  # replaced meanwhile
    elif kind in (CHAR, DEVICE):
        entry.major, entry.minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    yield header(entry)


def _file(
    fd: int, shown: str, found: os.stat_result, links: dict[tuple[int, int], bytes]
) -> Iterator[bytes]:
    entry = _entry(shown, REGULAR, found)
    if found.st_nlink > 1:
        first = links.setdefault((found.st_dev, found.st_ino), entry.name)
        if first is not entry.name:
            entry.type, entry.link = LINK, first
            yield header(entry)
            return
    entry.size, entry.xattrs = found.st_size, _xattrs(fd)
    yield header(entry)
    if entry.size:
        yield from _contents(fd, entry.size)


def _directory(
    fd: int,
    shown: str,
    found: os.stat_result,
    links: dict[tuple[int, int], bytes],
    device: int | None,
) -> Iterator[bytes]:
    prefix = shown.rstrip("/") + "/"
    entry = _entry(prefix, DIRECTORY, found)
    entry.xattrs = _xattrs(fd)
    yield header(entry)
    if device is None or found.st_dev == device:
        for member in sorted(os.listdir(fd)):
            yield from _members(fd, member, prefix + member, links, device)


def _entry(shown: str, kind: bytes, found: os.stat_result) -> Entry:
    return Entry(
        os.fsencode(shown),
        kind,
        mode=stat.S_IMODE(found.st_mode),
        uid=found.st_uid,
        gid=found.st_gid,
        mtime_ns=found.st_mtime_ns,
    )


def _xattrs(fd: int) -> dict[bytes, bytes]:
    try:
        return {
            key.encode(): os.getxattr(fd, key)
            for key in os.listxattr(fd)
            if key == "security.capability"
            or (key.startswith("user.") and not key.startswith("user.overlay."))
        }
    except OSError:
        return {}  # the file system (procfs, an old NFS) has none


def _contents(fd: int, size: int) -> Iterator[bytes]:
    """Exactly the size that the header promises: a file that shrinks meanwhile is filled up."""
    left = size
    while left:
        data = os.read(fd, min(left, _CHUNK)) or bytes(min(left, _CHUNK))
        left -= len(data)
        yield data
    yield bytes(padding(size))
