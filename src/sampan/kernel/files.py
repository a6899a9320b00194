"""File system calls that ``os`` does not have."""

from __future__ import annotations

import os
from pathlib import Path

from sampan.kernel._libc import check, libc


def syncfs(path: Path) -> None:
    """Write out everything of the file system that ``path`` (a directory) is on. Blocks.

    Raises:
        OSError
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        check(libc.syncfs(fd), f"syncfs {path}")
    finally:
        os.close(fd)
