"""Paths of a container, resolved on the host without ever leaving its root."""

from __future__ import annotations

import os
from pathlib import Path

from sampan.errors import InvalidArgument

_LINKS = 40


def resolve_inside(root: Path, path: str) -> Path:
    """Where ``path`` leads inside ``root``: symbolic links are followed as if ``root`` were ``/``,
    and ``..`` stops there. What does not exist is taken literally.

    Only for a root that no process runs in: it looks first and uses the answer later.

    Raises:
        InvalidArgument: the links go in circles.
    """
    todo = [part for part in path.split("/") if part]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop(0)
        if part == ".":
            continue
        if part == "..":
            done = done[:-1]
            continue
        here = root.joinpath(*done, part)
        if not here.is_symlink():
            done.append(part)
            continue
        links += 1
        if links > _LINKS:
            raise InvalidArgument(f"{path}: too many levels of symbolic links")
        target = os.readlink(here)
        if target.startswith("/"):
            done = []
        todo = [p for p in target.split("/") if p] + todo
    return root.joinpath(*done)
