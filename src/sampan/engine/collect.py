"""Parts of a container's file system as a tar, and what ``docker cp`` must know of a path.

Everything here blocks and works on a descriptor of the container's root; paths are resolved by the
kernel as if that root were ``/`` (``sampan.kernel.inroot``), so no link leads to the host.
"""

from __future__ import annotations

import base64
import os
import posixpath
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sampan.api.moments import rfc3339_ns
from sampan.errors import NotFound
from sampan.image.pack import entry_of
from sampan.image.tar import (
    BLOCK,
    CHAR,
    DEVICE,
    DIRECTORY,
    FIFO,
    LINK,
    REGULAR,
    SYMLINK,
    header,
    padding,
)
from sampan.kernel.inroot import open_in

_CHUNK = 1 << 20
_KINDS = {
    stat.S_IFREG: REGULAR,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHAR,
    stat.S_IFBLK: DEVICE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFIFO: FIFO,
}
_GO_KINDS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}


class PathStat(msgspec.Struct, rename="camel"):
    """``X-Docker-Container-Path-Stat``."""

    name: str
    size: int
    mode: int
    mtime: str
    link_target: str


class NoSuchPath(NotFound):
    def __init__(self, path: str, container_id: str) -> None:
        super().__init__(f"Could not find the file {path} in container {container_id}")
        self.path = path


def go_mode(mode: int) -> int:
    """``st_mode`` as Go's ``os.FileMode``."""
    out = stat.S_IMODE(mode) & 0o777 | _GO_KINDS.get(stat.S_IFMT(mode), 0)
    for bit, go_bit in ((stat.S_ISUID, 23), (stat.S_ISGID, 22), (stat.S_ISVTX, 20)):
        if mode & bit:
            out |= 1 << go_bit
    return out


def where(root: int) -> Path:
    """A path to the directory that a descriptor stands for."""
    return Path(f"/proc/self/fd/{root}")


def _split(path: str) -> tuple[str, str]:
    """Directory and last component; ``.`` when the path means a directory's inside."""
    absolute = "/" + path.lstrip("/")
    if absolute.endswith(("/", "/.")):
        return posixpath.normpath(absolute), "."
    directory, name = posixpath.split(absolute)
    return directory, name


def open_path(root: int, path: str, container_id: str) -> tuple[int, str]:
    """The directory that ``path`` lies in (a descriptor) and its name there.

    Raises:
        NoSuchPath
    """
    directory, name = _split(path)
    try:
        parent = open_in(where(root), directory, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoSuchPath(path, container_id) from error
    try:
        os.lstat(name, dir_fd=parent)
    except (FileNotFoundError, NotADirectoryError) as error:
        os.close(parent)
        raise NoSuchPath(path, container_id) from error
    return parent, name


def path_stat(root: int, path: str, container_id: str) -> PathStat:
    """What ``docker cp`` asks first. A link is described itself, with where it leads."""
    parent, name = open_path(root, path, container_id)
    try:
        found = os.lstat(name, dir_fd=parent)
        target = ""
        if stat.S_ISLNK(found.st_mode):
            target = _target(root, path, os.readlink(name, dir_fd=parent))
    finally:
        os.close(parent)
    shown = posixpath.basename(posixpath.normpath("/" + path.lstrip("/"))) or "/"
    return PathStat(
        name=shown,
        size=found.st_size,
        mode=go_mode(found.st_mode),
        mtime=rfc3339_ns(found.st_mtime_ns),
        link_target=target,
    )


def _target(root: int, path: str, written: str) -> str:
    """Where a link leads, as an absolute path of the container."""
    try:
        fd = open_in(where(root), path, os.O_PATH)
    except OSError:
        # Into nowhere, or in circles: as written.
        return posixpath.normpath(posixpath.join("/", posixpath.dirname(path), written))
    try:
        full, base = os.readlink(f"/proc/self/fd/{fd}"), os.readlink(where(root))
    finally:
        os.close(fd)
    if base != "/" and full.startswith(base):
        return full[len(base) :] or "/"
    return full


def encoded(found: PathStat) -> str:
    """For the header."""
    return base64.b64encode(msgspec.json.encode(found)).decode()


def pack(root: int, path: str, container_id: str) -> Iterator[bytes]:
    """``path`` and all below it as a tar, in chunks; names begin with its last component."""
    parent, name = open_path(root, path, container_id)
    try:
        yield from _gather(_members(parent, name, name, {}))
        yield bytes(2 * BLOCK)
    finally:
        os.close(parent)


def _gather(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Small pieces joined, so that no response is made of headers of 512 bytes."""
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
    parent: int, name: str, shown: str, links: dict[tuple[int, int], bytes]
) -> Iterator[bytes]:
    try:
        found = os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return  # removed by the container since its directory was read
    kind = _KINDS.get(stat.S_IFMT(found.st_mode))
    if kind is None:
        return  # a socket has no place in a tar
    path = os.fsencode(f"/proc/self/fd/{parent}/{name}")
    entry = entry_of(path, os.fsencode(shown), kind, found)
    if kind == DIRECTORY:
        entry.name += b"/"
        yield header(entry)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=parent)
        try:
            for member in sorted(os.listdir(fd)):
                yield from _members(fd, member, f"{shown}/{member}", links)
        finally:
            os.close(fd)
        return
    if found.st_nlink > 1:
        first = links.setdefault((found.st_dev, found.st_ino), entry.name)
        if first is not entry.name:
            entry.type, entry.link, entry.size, entry.xattrs = LINK, first, 0, {}
    yield header(entry)
    if entry.type == REGULAR and entry.size:
        yield from _contents(parent, name, entry.size)


def _contents(parent: int, name: str, size: int) -> Iterator[bytes]:
    """Exactly the size that the header promises: a file that shrinks meanwhile is filled up."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=parent)
    left = size
    try:
        while left:
            data = os.read(fd, min(left, _CHUNK)) or bytes(min(left, _CHUNK))
            left -= len(data)
            yield data
    finally:
        os.close(fd)
    yield bytes(padding(size))
