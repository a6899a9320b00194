"""Reaching into a directory tree that someone else wrote, without being led out of it.

A container's root file system may hold any symbolic link: ``/etc/passwd -> /etc/shadow`` must mean
the image's shadow file, never the host's. openat2(2) with RESOLVE_IN_ROOT resolves a path as if
the tree were ``/``; nobody can swap a component in between.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import Path

from sampan.kernel._libc import check, libc

_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 2
_RESOLVE_IN_ROOT = 16
_MAX_READ = 8 << 20


class _OpenHow(ctypes.Structure):
    _fields_ = [
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    ]


def open_in(root: Path, path: str, flags: int = os.O_RDONLY) -> int:
    """Open ``path`` (absolute, as a process in ``root`` would write it).

    Raises:
        OSError: as open(2) does.
    """
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
        return check(
            libc.syscall(
                _SYS_OPENAT2, root_fd, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how)
            ),
            f"open {path} in {root}",
        )
    finally:
        os.close(root_fd)


def read_in(root: Path, path: str) -> bytes | None:
    """Contents of a regular file of at most 8 MiB in ``root``; None when there is none."""
    try:
        # Not blocking: it could be a named pipe that nobody writes to.
        fd = open_in(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return None
        raise
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return file.read(_MAX_READ)


def make_directories_in(root: Path, path: str) -> None:
    """``mkdir -p path`` inside ``root``, mode 755, owner root.

    Raises:
        NotADirectoryError: a component exists and is something else.
    """
    done = ""
    for part in [p for p in path.split("/") if p not in ("", ".")]:
        parent = open_in(root, done or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            os.mkdir(part, 0o755, dir_fd=parent)
        except FileExistsError:
            pass
        finally:
            os.close(parent)
        done += "/" + part
    os.close(open_in(root, done or "/", os.O_PATH | os.O_DIRECTORY))
