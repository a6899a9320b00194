"""A tar that someone sent becomes files below a directory, whatever it tries.

Every member is made relative to its parent's descriptor, which a function of the caller opens:
``inside`` never follows a symbolic link (a build context), ``in_root`` follows them as a process of
a container would (``docker cp``). Neither leads out. A name with ``..`` makes the tar an error.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
from sampan.kernel.inroot import open_in

OpenParent = Callable[[list[bytes]], int]
"""Directory components -> a descriptor of that directory, made where it is missing."""

_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def inside(root: int) -> OpenParent:
    """Below the directory ``root``, through real directories only."""

    def open_parent(parts: list[bytes]) -> int:
        fd = os.dup(root)
        for part in parts:
            try:
                below = _enter(fd, part)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    path = os.fsdecode(b"/".join(parts))
                    raise BadTar(
                        f"{path!r} leads through something that is no directory"
                    ) from error
                raise
            finally:
                os.close(fd)
            fd = below
        return fd

    return open_parent


def _enter(fd: int, part: bytes) -> int:
    try:
        return os.open(part, _DIR, dir_fd=fd)
    except FileNotFoundError:
        os.mkdir(part, 0o755, dir_fd=fd)
        return os.open(part, _DIR, dir_fd=fd)


def in_root(root: int, base: str) -> OpenParent:
    """Below the directory ``base`` of the root file system ``root``, links resolved in it."""
    where = Path(f"/proc/self/fd/{root}")

    def open_parent(parts: list[bytes]) -> int:
        fd = open_in(where, base, os.O_RDONLY | os.O_DIRECTORY)
        path = base.rstrip("/")
        for part in parts:
            path += "/" + os.fsdecode(part)
            try:
                below = open_in(where, path, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                os.mkdir(part, 0o755, dir_fd=fd)
                below = os.open(part, _DIR, dir_fd=fd)
            except NotADirectoryError as error:
                raise BadTar(f"{path!r} is not a directory") from error
            finally:
                os.close(fd)
            fd = below
        return fd

    return open_parent


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    owners: bool = False
    """Owners are as the tar says; else everything is ours."""
    keep_kinds: bool = False
    """A directory and what is none never replace each other: that is an error."""


def unpack(chunks: Iterator[bytes], open_parent: OpenParent, how: How | None = None) -> None:
    """Unpack a tar of any compression. Blocking. Devices and pipes are left out: a later step
    could read them.

    Raises:
        BadTar, OSError
    """
    how = how or How()
    source = Source(inflate(chunks))
    reader = Reader(source)
    times: list[tuple[list[bytes], int]] = []
    while (entry := reader.next()) is not None:
        parts = _parts(entry.name)
        if not parts:
            if entry.type == REGULAR:
                raise BadTar("a file in place of the root directory")
            continue
        parent = open_parent(parts[:-1])
        try:
            _member(source, open_parent, parent, parts[-1], entry, how)
        finally:
            os.close(parent)
        if entry.type == DIRECTORY:
            times.append((parts, entry.mtime_ns))
    for parts, mtime_ns in reversed(times):
        parent = open_parent(parts[:-1])
        try:
            os.utime(parts[-1], ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            pass  # a later member took its place
        finally:
            os.close(parent)


def _parts(name: bytes) -> list[bytes]:
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise BadTar(f"{os.fsdecode(name)!r} leads out of the archive")
    return parts


def _member(
    source: Source, open_parent: OpenParent, parent: int, name: bytes, entry: Entry, how: How
) -> None:
    if entry.type == DIRECTORY:
        _directory(parent, name, entry, how)
    elif entry.type == SYMLINK:
        _clear(parent, name, how)
        os.symlink(entry.link, name, dir_fd=parent)
        _own(parent, name, entry, how)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)
    elif entry.type == LINK:
        linked = _parts(entry.link)
        if not linked:
            raise BadTar(f"{os.fsdecode(name)!r} is a link to nothing")
        origin = open_parent(linked[:-1])
        try:
            _clear(parent, name, how)
            os.link(linked[-1], name, src_dir_fd=origin, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError as error:
            raise BadTar(f"{os.fsdecode(name)!r} is a link to a missing file") from error
        finally:
            os.close(origin)
    elif entry.type == REGULAR:
        _file(source, parent, name, entry, how)


def _directory(parent: int, name: bytes, entry: Entry, how: How) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            if how.keep_kinds:
                raise BadTar(
                    f"cannot overwrite non-directory {os.fsdecode(name)!r} with directory"
                ) from None
            os.unlink(name, dir_fd=parent)
            os.mkdir(name, 0o700, dir_fd=parent)
    fd = os.open(name, _DIR, dir_fd=parent)
    try:
        if how.owners:
            os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode & 0o7777)
    finally:
        os.close(fd)


def _file(source: Source, parent: int, name: bytes, entry: Entry, how: How) -> None:
    try:
        fd = os.open(name, _NEW, 0o600, dir_fd=parent)
    except FileExistsError:
        _clear(parent, name, how)
        fd = os.open(name, _NEW, 0o600, dir_fd=parent)
    try:
        source.copy(fd, entry.size)
        source.exactly(padding(entry.size))
        if how.owners:
            os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode & 0o7777)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
    finally:
        os.close(fd)


def _own(parent: int, name: bytes, entry: Entry, how: How) -> None:
    if how.owners:
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)


def _clear(parent: int, name: bytes, how: How) -> None:
    """Make way for a member: a later one of the same name replaces the earlier."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except IsADirectoryError as error:
        if how.keep_kinds:
            raise BadTar(
                f"cannot overwrite directory {os.fsdecode(name)!r} with non-directory"
            ) from error
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError:
            raise BadTar(f"{os.fsdecode(name)!r} replaces a directory with contents") from error
