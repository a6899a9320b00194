"""What a writable layer says against the layers below it: ``docker diff``. Blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from sampan.image.contract import Change
from sampan.image.unpack import OPAQUE_XATTR


def changes(upper: Path, lower: Sequence[Path], skip: frozenset[str]) -> list[Change]:
    """Paths that ``upper`` (an overlay directory) adds, modifies or deletes; sorted.

    Args:
        lower: the layers below, topmost first.
        skip: paths that do not count when they were added and are empty.
    """
    found = list(_directory(str(upper), [str(path) for path in lower], "", skip))
    return sorted(found, key=lambda change: change.path)


def _directory(upper: str, lower: list[str], below: str, skip: frozenset[str]) -> Iterator[Change]:
    """``lower``: the directories that this one covers; none when it is new."""
    here = {entry.name: entry for entry in os.scandir(upper)}
    if lower and _opaque(upper):
        for name in _visible(lower) - here.keys():
            yield Change("deleted", f"{below}/{name}")
    for name, entry in here.items():
        path = f"{below}/{name}"
        found = entry.stat(follow_symlinks=False)
        covered, before = _below(lower, name)
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
            if before is not None:
                yield Change("deleted", path)
            continue
        if not stat.S_ISDIR(found.st_mode):
            if before is not None:
                yield Change("modified", path)
            elif found.st_size or path not in skip:
                yield Change("added", path)
            continue
        inner = list(_directory(entry.path, covered, path, skip))
        touched = not covered or before is None or _facts(before) != _facts(found)
        # Only what the runtime made lies in it: it has been copied up for that alone.
        if not inner and (path in skip or not touched) and _only_skipped(entry.path, path, skip):
            if before is not None and touched:
                yield Change("modified", path)
            continue
        yield Change("added" if before is None else "modified", path)
        yield from inner


def _only_skipped(directory: str, path: str, skip: frozenset[str]) -> bool:
    names = os.listdir(directory)
    if not names:
        return path in skip
    return all(
        f"{path}/{name}" in skip or any(s.startswith(f"{path}/{name}/") for s in skip)
        for name in names
    )


def _below(lower: list[str], name: str) -> tuple[list[str], os.stat_result | None]:
    """Directories that one called ``name`` covers, and what was to be seen there."""
    covered: list[str] = []
    before: os.stat_result | None = None
    for directory in lower:
        path = f"{directory}/{name}"
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            continue
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
            break
        before = before or found
        if not stat.S_ISDIR(found.st_mode):
            break
        covered.append(path)
        if _opaque(path):
            break
    return covered, before


def _visible(lower: list[str]) -> set[str]:
    names = {name for directory in lower for name in os.listdir(directory)}
    return {name for name in names if _below(lower, name)[1] is not None}


def _facts(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_mode, found.st_uid, found.st_gid


def _opaque(path: str) -> bool:
    try:
        return os.getxattr(path, OPAQUE_XATTR, follow_symlinks=False) == b"y"
    except OSError:
        return False
