"""Members of a tar on their way to a tree of files: what every extractor does alike.

There are three, because what they may believe and where they write differ: a layer (chroot, every
kind of member, whiteouts), a copy into a container (seen as its processes see it, kinds may clash)
and a build's context (an ordinary directory of the host, no devices). The names of members and what
is written of them are checked and made here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress

from sampan.image.tar import (
    CHAR,
    DEVICE,
    DIRECTORY,
    FIFO,
    REGULAR,
    BadTar,
    ByteSource,
    Entry,
    Reader,
    padding,
)

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
SUBDIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NODES = {CHAR: stat.S_IFCHR, DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}
_PRIVATE_XATTRS = (b"trusted.overlay.", b"user.overlay.")
"""overlayfs obeys these (redirect, metacopy): no archive may bring its own."""


def inside(name: bytes) -> bytes:
    """``./a//b/`` -> ``a/b``; the root is empty.

    Raises:
        BadTar: it has ``..``.
    """
    if b".." in name.split(b"/"):
        raise BadTar(f"{os.fsdecode(name)!r} leads out of the archive")
    return clean(name)


def clean(name: bytes) -> bytes:
    """The same of a name that is resolved in a chroot: ``..`` cannot climb above the root."""
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if parts:
                parts.pop()
        elif part and part != b".":
            parts.append(part)
    return b"/".join(parts)


def link_target(entry: Entry) -> bytes:
    """What a hard link leads to, inside of the archive.

    Raises:
        BadTar: nothing, or something outside.
    """
    target = inside(entry.link)
    if not target:
        raise BadTar(f"{os.fsdecode(entry.name)!r} is a link to nothing")
    return target


def extract(reader: Reader, member: Callable[[bytes, Entry], None], stamp: Stamp) -> None:
    """Hand every member to ``member`` with its checked name, and at last every directory's time
    to ``stamp``: making a child changes its parent's. The root is left as it is.

    Raises:
        BadTar: a name leads outside, or a file is in place of the root.
    """
    times: dict[bytes, int] = {}
    for name, entry in _named(reader):
        member(name, entry)
        if entry.type == DIRECTORY:
            times[name] = entry.mtime_ns
    for name, mtime_ns in reversed(times.items()):
        with suppress(FileNotFoundError, NotADirectoryError):  # a later member took its place
            stamp(name, mtime_ns)


Stamp = Callable[[bytes, int], None]


def _named(reader: Reader) -> Iterator[tuple[bytes, Entry]]:
    while (entry := reader.next()) is not None:
        name = inside(entry.name)
        if name:
            yield name, entry
        else:
            no_file(entry)


def no_file(entry: Entry) -> None:
    """Raises BadTar: the root would be a file."""
    if entry.type == REGULAR:
        raise BadTar("a file in place of the root directory")


def pour(source: ByteSource, fd: int, entry: Entry) -> bytes:
    """Write a file's contents; returns the padding behind them in the tar."""
    source.copy(fd, entry.size)
    return source.exactly(padding(entry.size))


def finish(fd: int, entry: Entry, owner: tuple[int, int] | None = None) -> None:
    """Owner (None: the entry's), mode and times of an open file or directory. Owner before mode:
    chown clears the set-user-ID bits."""
    os.fchown(fd, *(owner or (entry.uid, entry.gid)))
    os.fchmod(fd, entry.mode)


def stamp(fd: int, mtime_ns: int) -> None:
    os.utime(fd, ns=(mtime_ns, mtime_ns))


def stamp_at(parent: int, name: bytes, mtime_ns: int) -> None:
    """The same of a name below the directory ``parent``; of a link, the link's own."""
    os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)


def xattrs(entry: Entry) -> Iterator[tuple[bytes, bytes]]:
    """The extended attributes that an archive may bring."""
    for key, value in entry.xattrs.items():
        if not key.startswith(_PRIVATE_XATTRS):
            yield key, value


def remove_tree(parent: int, name: bytes) -> None:
    """Remove the directory ``name`` below ``parent`` with all that is in it."""
    fd = os.open(name, SUBDIRECTORY, dir_fd=parent)
    try:
        for member in os.listdir(fd):
            if stat.S_ISDIR(os.lstat(member, dir_fd=fd).st_mode):
                remove_tree(fd, os.fsencode(member))
            else:
                os.unlink(member, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)
