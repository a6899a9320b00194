"""How much a directory holds, counted in a thread."""

from __future__ import annotations

import os

from sampan.aio import in_thread


async def disk_usage(path: str | os.PathLike[str]) -> int:
    """Bytes of all regular files under ``path``, hard links once; 0 when it is not there."""
    return await in_thread(_usage, os.fspath(path))


def _usage(path: str) -> int:
    total = 0
    seen: set[tuple[int, int]] = set()
    pending = [path]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    info = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif info.st_nlink == 1:
                        total += info.st_size
                    elif (key := (info.st_dev, info.st_ino)) not in seen:
                        seen.add(key)
                        total += info.st_size
        except FileNotFoundError:
            continue  # removed while we were counting
    return total
