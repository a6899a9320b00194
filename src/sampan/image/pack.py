"""The way back: an overlay's writable directory becomes a layer's tar.

Entries are sorted, so that equal directories make equal layers. Light imports: it runs in the
worker process as well as in a thread.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator

from sampan.image.tar import (
    BLOCK,
    CHAR,
    DEVICE,
    DIRECTORY,
    KINDS,
    LINK,
    REGULAR,
    SYMLINK,
    BadTar,
    Entry,
    header,
    padding,
)
from sampan.image.unpack import OPAQUE, OPAQUE_XATTR, WHITEOUT

_CHUNK = 1 << 20


def pack(
    root: str,
    record: Callable[[bytes], None] = lambda _: None,
    skip: frozenset[bytes] = frozenset(),
) -> Iterator[bytes]:
    """The layer tar of the overlay directory ``root``, in chunks.

    Args:
        record: gets what is not a file's contents (see ``tar_split.py``).
        skip: names (no slash before) that are left out when they are empty files or directories.

    Raises:
        BadTar: a file shrank while it was read.
    """
    links: dict[tuple[int, int], bytes] = {}
    waiting: list[bytes] = []
    size = 0
    for entry, path in _walk(os.fsencode(root), b"", links, skip):
        head = header(entry)
        record(head)
        waiting.append(head)
        size += len(head)
        if entry.type == REGULAR and entry.size:
            for chunk in _contents(path, entry.size):
                waiting.append(chunk)
                size += len(chunk)
                if size >= _CHUNK:
                    yield b"".join(waiting)
                    waiting, size = [], 0
            pad = bytes(padding(entry.size))
            record(pad)
            waiting.append(pad)
    end = bytes(2 * BLOCK)
    record(end)
    waiting.append(end)
    yield b"".join(waiting)


def _contents(path: bytes, size: int) -> Iterator[bytes]:
    # Exactly the size that the header promises, also when a running container appends.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while size:
            chunk = os.read(fd, min(size, _CHUNK))
            if not chunk:
                raise BadTar(f"{os.fsdecode(path)} shrank while it was read: try again")
            size -= len(chunk)
            yield chunk
    finally:
        os.close(fd)


def _walk(
    root: bytes, below: bytes, links: dict[tuple[int, int], bytes], skip: frozenset[bytes]
) -> Iterator[tuple[Entry, bytes]]:
    with os.scandir(root) as found:
        members = sorted(found, key=lambda member: member.name)
    for member in members:
        name = below + member.name
        status = member.stat(follow_symlinks=False)
        kind = KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            continue  # a socket has no place in a tar
        if kind == CHAR and status.st_rdev == 0:
            yield Entry(below + WHITEOUT + member.name, REGULAR, mode=0), b""
            continue
        if name in skip and _is_empty(member.path, name, status, skip):
            continue
        entry = entry_of(member.path, name, kind, status)
        if kind == DIRECTORY:
            entry.name += b"/"
            yield entry, member.path
            if _is_opaque(member.path):
                yield Entry(name + b"/" + OPAQUE, REGULAR, mode=0), b""
            yield from _walk(member.path, name + b"/", links, skip)
            continue
        if status.st_nlink > 1:
            first = links.setdefault((status.st_dev, status.st_ino), name)
            if first is not name:
                entry.type, entry.link, entry.size, entry.xattrs = LINK, first, 0, {}
        yield entry, member.path


def _is_empty(path: bytes, name: bytes, status: os.stat_result, skip: frozenset[bytes]) -> bool:
    if not stat.S_ISDIR(status.st_mode):
        return stat.S_ISREG(status.st_mode) and not status.st_size
    return all(name + b"/" + inside in skip for inside in os.listdir(path))


def entry_of(path: bytes, name: bytes, kind: bytes, status: os.stat_result) -> Entry:
    """The tar member for what is at ``path``."""
    entry = Entry(
        name,
        kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if kind == REGULAR else 0,
        mtime_ns=status.st_mtime_ns,
    )
    if kind == SYMLINK:
        entry.link = os.readlink(path)
    elif kind in (CHAR, DEVICE):
        entry.major, entry.minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    if kind != SYMLINK:
        for key in os.listxattr(path, follow_symlinks=False):
            if key == "security.capability" or (
                key.startswith("user.") and not key.startswith("user.overlay.")
            ):
                value = os.getxattr(path, key, follow_symlinks=False)
                entry.xattrs[key.encode()] = value
    return entry


def _is_opaque(path: bytes) -> bool:
    try:
        return os.getxattr(path, OPAQUE_XATTR, follow_symlinks=False) == b"y"
    except OSError:
        return False


def digest(chunks: Iterator[bytes]) -> tuple[str, int]:
    """("sha256:...", bytes) of a stream."""
    total = hashlib.sha256()
    size = 0
    for chunk in chunks:
        total.update(chunk)
        size += len(chunk)
    return f"sha256:{total.hexdigest()}", size


def usage(root: str) -> int:
    """Bytes of the files below ``root`` (each hard-linked file once)."""
    total = 0
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        with os.scandir(waiting.pop()) as found:
            for member in found:
                if member.is_dir(follow_symlinks=False):
                    waiting.append(member.path)
                    continue
                status = member.stat(follow_symlinks=False)
                if status.st_nlink > 1:
                    if status.st_ino in seen:
                        continue
                    seen.add(status.st_ino)
                if stat.S_ISREG(status.st_mode):
                    total += status.st_size
    return total
