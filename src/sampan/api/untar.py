"""A tar that someone sent becomes files below a directory, whatever it tries.

Every component of every name is opened relative to its parent's descriptor and never through a
symbolic link: a member cannot land outside of the directory. A name with ``..``, or one that leads
through a link, makes the whole tar an error.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from sampan.image.members import NEW_FILE, SUBDIRECTORY, extract, link_target, pour, stamp_at
from sampan.image.members import stamp as stamp_fd
from sampan.image.tar import DIRECTORY, LINK, REGULAR, SYMLINK, BadTar, ByteSource, Entry, Reader
from sampan.image.worker import inflate


def _open_parent(root: int, parts: list[bytes]) -> int:
    fd = os.dup(root)
    for part in parts:
        try:
            below = _enter(fd, part)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                path = os.fsdecode(b"/".join(parts))
                raise BadTar(f"{path!r} leads through something that is not a directory") from error
            raise
        finally:
            os.close(fd)
        fd = below
    return fd


def _enter(fd: int, part: bytes) -> int:
    try:
        return os.open(part, SUBDIRECTORY, dir_fd=fd)
    except FileNotFoundError:
        os.mkdir(part, 0o755, dir_fd=fd)
        return os.open(part, SUBDIRECTORY, dir_fd=fd)


def unpack(chunks: Iterator[bytes], root: int) -> None:
    """Unpack a tar of any compression into the directory ``root`` (a descriptor). Blocking.

    Devices and pipes are left out: a later step could read them.

    Raises:
        BadTar, OSError
    """
    source = ByteSource(inflate(chunks))

    def member(name: bytes, entry: Entry) -> None:
        *above, last = name.split(b"/")
        parent = _open_parent(root, above)
        try:
            _member(source, root, parent, last, entry)
        finally:
            os.close(parent)

    def stamp(name: bytes, mtime_ns: int) -> None:
        *above, last = name.split(b"/")
        parent = _open_parent(root, above)
        try:
            stamp_at(parent, last, mtime_ns)
        finally:
            os.close(parent)

    extract(Reader(source), member, stamp)


def _member(source: ByteSource, root: int, parent: int, name: bytes, entry: Entry) -> None:
    if entry.type == DIRECTORY:
        _directory(parent, name, entry)
    elif entry.type == SYMLINK:
        _clear(parent, name)
        os.symlink(entry.link, name, dir_fd=parent)
        stamp_at(parent, name, entry.mtime_ns)
    elif entry.type == LINK:
        *above, linked = link_target(entry).split(b"/")
        origin = _open_parent(root, above)
        try:
            _clear(parent, name)
            os.link(linked, name, src_dir_fd=origin, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError as error:
            raise BadTar(f"{os.fsdecode(name)!r} is a link to a missing file") from error
        finally:
            os.close(origin)
    elif entry.type == REGULAR:
        _file(source, parent, name, entry)


def _directory(parent: int, name: bytes, entry: Entry) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, 0o700, dir_fd=parent)
    fd = os.open(name, SUBDIRECTORY, dir_fd=parent)
    try:
        os.fchmod(fd, entry.mode & 0o7777)
    finally:
        os.close(fd)


def _file(source: ByteSource, parent: int, name: bytes, entry: Entry) -> None:
    try:
        fd = os.open(name, NEW_FILE, 0o600, dir_fd=parent)
    except FileExistsError:
        _clear(parent, name)
        fd = os.open(name, NEW_FILE, 0o600, dir_fd=parent)
    try:
        pour(source, fd, entry)
        os.fchmod(fd, entry.mode & 0o7777)
        stamp_fd(fd, entry.mtime_ns)
    finally:
        os.close(fd)


def _clear(parent: int, name: bytes) -> None:
    """Make way for a member: a later one of the same name replaces the earlier."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError as error:
            raise BadTar(f"{os.fsdecode(name)!r} replaces a directory with contents") from error
