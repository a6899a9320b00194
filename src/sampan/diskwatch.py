"""Tells which operations of the loop's thread go to a disk.

A disk answers within microseconds, and on a busy day within seconds: whether a directory or a file
is touched on the loop must not be left to the moment at which somebody looks (``watchdog``). Python
raises an audit event for what opens, makes, lists, moves and removes files, and each one that the
loop's thread raises for something beneath the given directory is told, whatever time it takes.

There is no event for ``stat`` and for what is done with a descriptor (read, write, sync), nor is it
told that one is made longer. A descriptor has been opened, and that is seen.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType

from sampan.watchdog import HELD_UP

log = logging.getLogger(__name__)

_DIRECTORY: dict[str, int] = {
    "os.chmod": 2,
    "os.chown": 3,
    "os.link": 2,
    "os.mkdir": 2,
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.symlink": 2,
    "os.utime": 3,
}
"""Events, and which of their arguments is the descriptor that a relative path begins at."""
_EVENTS = frozenset(
    {
        *_DIRECTORY,
        *("open", "sqlite3.connect"),
        *("os.listdir", "os.scandir", "os.truncate"),
        *("os.getxattr", "os.listxattr", "os.removexattr", "os.setxattr"),
    }
)


class _Watch:
    """The operations of one thread beneath one directory."""

    def __init__(self, root: Path, tell: Callable[[str], None]) -> None:
        self._thread = threading.get_ident()
        self._roots = {str(root), os.path.realpath(root)}
        self._beneath = tuple(f"{each}/" for each in self._roots)
        self._tell = tell
        self._told: set[tuple[CodeType, int]] = set()
        self._looking = False
        self.over = False

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if event not in _EVENTS or self.over or self._looking:
            return
        if threading.get_ident() != self._thread:
            return
        self._looking = True  # what is done here raises events, too
        try:
            path = _path(event, arguments)
            if path in self._roots or path.startswith(self._beneath):
                self._report(event, path)
        finally:
            self._looking = False

    def _report(self, event: str, path: str) -> None:
        caller = sys._getframe(2)  # of the hook
        place = caller.f_code, caller.f_lineno
        if place not in self._told:
            self._told.add(place)
            stack = "".join(traceback.format_stack(caller))
            self._tell(f"{HELD_UP} by a disk: {event} of {path}, which is here:\n{stack}")


@contextmanager
def off_the_disk(
    root: Path, tell: Callable[[str], None] = lambda report: log.warning("%s", report)
) -> Iterator[None]:
    """While inside, tell of each place at which the calling thread, which is the loop's, does
    something beneath ``root``."""
    watch = _Watch(root, tell)
    sys.addaudithook(watch.hook)  # for good, as hooks are
    try:
        yield
    finally:
        watch.over = True


def _path(event: str, arguments: tuple[object, ...]) -> str:
    """What it is about; empty: it is not known, or no matter."""
    what = arguments[0]
    if isinstance(what, int):
        # A file object for a descriptor opens nothing; to make a file longer is to write to it.
        return "" if event in ("open", "os.truncate") else _of_descriptor(what)
    if not isinstance(what, (str, bytes, os.PathLike)):
        return ""
    if event == "open" and isinstance(flags := arguments[2], int) and flags & os.O_PATH:
        return ""  # a name is looked up, and nothing read
    path = os.fsdecode(what)
    if not os.path.isabs(path) and event in _DIRECTORY:
        directory = arguments[_DIRECTORY[event]]
        if isinstance(directory, int) and directory >= 0:
            path = os.path.join(_of_descriptor(directory), path)
    return path


def _of_descriptor(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")
