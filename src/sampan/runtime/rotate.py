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

from sampan.aio import Clock
from sampan.runtime.log_drivers.contract import FileRule

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
    numbered = [path.with_name(f"{path.name}.{n}") for n in range(1, rule.max_files)]
    if not numbered:
        path.unlink()
    for older, newer in zip(reversed(numbered), [*reversed(numbered[:-1]), path], strict=True):
        try:
            newer.rename(older)
        except FileNotFoundError:
            continue
    return _reopen(ctl)


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

    A look is one stat a log: an inotify watch would wake us at every line of every container.
    """
    while True:
        await clock.sleep(PERIOD_S)
        for name, entry in list(logs.items()):
            try:
                rotate(entry.path, entry.ctl, entry.rule)
            except OSError as error:
                log.warning("cannot rotate the log of %s: %s", name[:12], error)
