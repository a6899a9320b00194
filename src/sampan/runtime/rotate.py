"""Log rotation that loses nothing: rename first, then tell the monitor to open the name again.

The monitor's own option for a maximum size throws the old file away. It can also be told (over
its control pipe) to open its log anew: until it does, it goes on writing into the renamed file,
so that not a byte is lost. Nobody rotates while the daemon is down; a log may be larger than
asked for by what was written then, and by what a container writes between two looks.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sampan.aio import Clock, Tasks, in_thread
from sampan.runtime.log_drivers.contract import FileRule
from sampan.runtime.logarchive import compress, number, packed

log = logging.getLogger(__name__)

PERIOD_S = 1.0
_REOPEN = b"2 0 0\n"


def rotate(path: Path, ctl: Path, rule: FileRule) -> bool:
    """Rotate ``path`` if it is due; says whether anything was done.

    Renaming goes from the oldest to the newest, so that a crash in between leaves a hole in the
    numbering at worst, never two files of one name.
    """
    try:
        if os.stat(path).st_size < rule.max_bytes:
            return False
    except FileNotFoundError:
        # A daemon died between the rename and the order: give the order again.
        return _reopen(ctl)
    if rule.max_files < 2:
        path.unlink()
    for n in range(rule.max_files - 1, 0, -1):
        _move(number(path, n - 1), number(path, n))
    return _reopen(ctl)


def _move(newer: Path, older: Path) -> None:
    """Give what is at ``newer``, compressed or not, the name ``older``, where nothing is left of
    what was there: of two files in one place the archive counts."""
    archive = packed(newer)
    is_archive = archive.exists()
    if not is_archive and not newer.exists():
        return
    if is_archive:
        newer.unlink(missing_ok=True)  # a daemon died before it could
        archive.rename(packed(older))
        older.unlink(missing_ok=True)
    else:
        packed(older).unlink(missing_ok=True)
        newer.rename(older)


def _reopen(ctl: Path) -> bool:
    try:
        fd = os.open(ctl, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO):
            return False  # the monitor has gone; so has the writer
        raise
    try:
        os.write(fd, _REOPEN)
    finally:
        os.close(fd)
    return True


@dataclass(frozen=True, slots=True)
class Rotated:
    """A log that is looked at."""

    path: Path
    ctl: Path
    rule: FileRule


async def watch(logs: Mapping[str, Rotated], clock: Clock) -> None:
    """Look at every log of ``logs`` (which changes as runs come and go), forever.

    A look is one stat a log, and two where logs are compressed: an inotify watch would wake us at
    every line of every container.
    """
    tasks, busy = Tasks(), set[Path]()
    given_up: dict[Path, int] = {}
    """Path -> inode of a file that cannot be compressed: the next one is tried again."""

    async def pack(path: Path, name: str, inode: int) -> None:
        try:
            await in_thread(compress, path)
            given_up.pop(path, None)
        except OSError as error:
            given_up[path] = inode
            log.warning("cannot compress the log of %s: %s", name[:12], error)
        finally:
            busy.discard(path)

    try:
        while True:
            await clock.sleep(PERIOD_S)
            if not logs:
                continue
            for name, complete, inode in await in_thread(_look, dict(logs), frozenset(busy)):
                if given_up.get(complete) != inode:
                    busy.add(complete)
                    tasks.spawn(pack(complete, name, inode), name=f"compress {complete.name}")
    finally:
        await tasks.close()


def _look(logs: Mapping[str, Rotated], busy: frozenset[Path]) -> list[tuple[str, Path, int]]:
    """Rotate what is due. Returns what can be compressed: whose it is, path, inode. Blocks."""
    found = []
    for name, entry in logs.items():
        complete = number(entry.path, 1)
        if complete in busy:
            continue  # it must keep its name until it is an archive
        try:
            if rotate(entry.path, entry.ctl, entry.rule) or not entry.rule.compress:
                continue
            # The monitor has opened the next one, so it has left this one.
            inode = _inode(complete) if _inode(entry.path) else 0
        except OSError as error:
            log.warning("cannot rotate the log of %s: %s", name[:12], error)
            continue
        if inode:
            found.append((name, complete, inode))
    return found


def _inode(path: Path) -> int:
    """0: there is no such file."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
