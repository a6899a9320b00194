"""The two names that programs look for in a container's root, made when it starts.

``/.dockerenv`` tells that it is a container, and ``/etc/mtab`` is where old programs read what is
mounted. Neither is a part of the image or of what the container wrote.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from sampan.kernel.inroot import make_directories_in, open_in

MARK = "/.dockerenv"
MTAB = "/etc/mtab"
MOUNTS = "/proc/mounts"
"""Where ``MTAB`` leads."""
NAMES = frozenset((MARK, MTAB))


def mark(rootfs: Path) -> None:
    """Make what is missing; what is there stays as it is. Blocks.

    Raises:
        OSError.
    """
    with suppress(FileExistsError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(rootfs / MARK.lstrip("/"), flags, 0o755))
    directory, _, name = MTAB.rpartition("/")
    try:
        make_directories_in(rootfs, directory)
        etc = open_in(rootfs, directory, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return  # a file, or a link to nowhere: what an image has there is its own affair
    try:
        with suppress(FileExistsError):
            os.symlink(MOUNTS, name, dir_fd=etc)
    finally:
        os.close(etc)


def is_mark(path: str | bytes) -> bool:
    """Whether what is at ``path`` is a link as ``mark`` makes it."""
    try:
        return os.readlink(os.fsencode(path)) == MOUNTS.encode()
    except OSError:
        return False
