"""Copying a tree as ``cp -a`` does: contents, owner, mode, times, xattrs, hard links, devices.

``shutil.copytree`` keeps neither owners nor hard links nor special files, so this is our own. All
of it blocks: call it in a thread.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

_CHUNK = 64 * 1024 * 1024
_NO_RANGE = {errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


def copy_tree(source: Path, target: Path) -> None:
    """Copy the directory ``source`` onto the existing directory ``target``, attributes included.

    Raises:
        OSError: as the file system says it (ENOSPC ...); ``target`` is then half full.
    """
    _copy_directory(os.fspath(source), os.fspath(target), {})


def _copy_directory(source: str, target: str, links: dict[tuple[int, int], str]) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            _copy_entry(entry, os.path.join(target, entry.name), links)
    # Last: writing the entries above changes the times, and a mode without w would forbid it.
    copy_attributes(source, target)


def _copy_entry(entry: os.DirEntry[str], target: str, links: dict[tuple[int, int], str]) -> None:
    info = entry.stat(follow_symlinks=False)
    if stat.S_ISDIR(info.st_mode):
        os.mkdir(target, 0o700)
        _copy_directory(entry.path, target, links)
        return
    if info.st_nlink > 1:
        if (first := links.get((info.st_dev, info.st_ino))) is not None:
            os.link(first, target, follow_symlinks=False)
            return
        links[info.st_dev, info.st_ino] = target
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(entry.path), target)
    elif stat.S_ISREG(info.st_mode):
        _copy_file(entry.path, target)
    else:
        os.mknod(target, info.st_mode, info.st_rdev)
    copy_attributes(entry.path, target)


def _copy_file(source: str, target: str) -> None:
    with open(source, "rb") as reader, open(target, "xb") as writer:
        try:
            while os.copy_file_range(reader.fileno(), writer.fileno(), _CHUNK):
                pass
        except OSError as error:
            if error.errno not in _NO_RANGE:
                raise
            shutil.copyfileobj(reader, writer)


def copy_attributes(source: str, target: str) -> None:
    """Owner, xattrs, mode, times; of a symbolic link, its own."""
    info = os.lstat(source)
    os.chown(target, info.st_uid, info.st_gid, follow_symlinks=False)
    for name in os.listxattr(source, follow_symlinks=False):
        try:
            value = os.getxattr(source, name, follow_symlinks=False)
            os.setxattr(target, name, value, follow_symlinks=False)
        except OSError as error:
            # The target's file system may know fewer kinds, and overlay keeps some to itself.
            if error.errno not in (errno.EOPNOTSUPP, errno.ENODATA, errno.EPERM):
                raise
    if not stat.S_ISLNK(info.st_mode):
        # After chown, which clears the setuid bits.
        os.chmod(target, stat.S_IMODE(info.st_mode))
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)
