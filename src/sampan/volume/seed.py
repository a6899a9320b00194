"""Filling an empty volume from the image, so that a crash never leaves half of it.

    copy into NAME/_seed.part ──rename──> NAME/_seed ──move each entry──> NAME/_data ──> rmdir _seed
         a crash here: thrown away            a crash here: moved on at the next start

Replacing ``_data`` as a whole would be simpler, but another container may have it mounted already.
A volume whose data directory is a mount (nfs, tmpfs, a plugin's) is copied to directly: a rename
cannot reach it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sampan.volume.copy import copy_attributes, copy_tree


def seed_mounted(data: Path, source: Path) -> bool:
    """Fill the mounted directory ``data`` from ``source``. Blocks. See ``seed``."""
    if not source.is_dir() or _has_content(data):
        return False
    copy_tree(source, data)
    return True


def seed(volume: Path, source: Path) -> bool:
    """Fill ``volume/_data`` from ``source``. Blocks.

    Returns:
        False when there was nothing to do: the volume has content, or the image has no directory
        there.
    """
    if not source.is_dir() or _has_content(volume / "_data"):
        return False
    part, whole = volume / "_seed.part", volume / "_seed"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    try:
        copy_tree(source, part)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    part.rename(whole)
    finish(volume)
    return True


def finish(volume: Path) -> bool:
    """Do what is left of an interrupted ``seed``; True when it had been complete."""
    data, part, whole = volume / "_data", volume / "_seed.part", volume / "_seed"
    if part.exists():
        shutil.rmtree(part)
    if not whole.exists():
        return False
    for entry in list(whole.iterdir()):
        target = data / entry.name
        if not os.path.lexists(target):
            entry.rename(target)
    copy_attributes(os.fspath(whole), os.fspath(data))
    shutil.rmtree(whole)
    return True


def _has_content(data: Path) -> bool:
    with os.scandir(data) as entries:
        return next(entries, None) is not None
