"""Paths inside someone else's root: symbolic links are followed, but never out of it.

Whoever wrote the Dockerfile or the image chose every link here, and the daemon walks them as root
on the host. No path from a build may be opened in any other way than through ``resolve``.
"""

from __future__ import annotations

import errno
import os

MAX_LINKS = 255


def resolve(root: str, path: str, *, follow_last: bool = True) -> str:
    """The host path that ``path`` (absolute or relative to ``root``) means inside ``root``.

    ``..`` stops at the root, an absolute link starts there. Missing parts are taken as written,
    so the result need not exist. Nothing may change the tree at the same time.

    Raises:
        OSError: ELOOP.
    """
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            if done:
                done.pop()
            continue
        done.append(part)
        if not todo and not follow_last:
            break
        try:
            target = os.readlink("/".join((root, *done)))
        except OSError as error:
            # EINVAL: exists and is no link. ENOENT, ENOTDIR: from here on nothing exists.
            if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
                continue
            raise
        if (links := links + 1) > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        done.pop()
        if target.startswith("/"):
            done.clear()
        todo.extend(p for p in reversed(target.split("/")) if p not in ("", "."))
    return "/".join((root, *done))
