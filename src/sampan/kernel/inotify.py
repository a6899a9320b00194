"""inotify on the event loop, through the C library: one descriptor, many watches.

Python has no binding of its own, and the packages that have one bring threads or select loops.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from sampan.kernel._libc import check, libc

IN_MODIFY = 0x2
IN_CLOSE_WRITE = 0x8
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_Q_OVERFLOW = 0x4000

_HEADER = struct.Struct("iIII")


@dataclass(frozen=True, slots=True)
class Event:
    watch: int
    """What ``add`` returned; -1 with IN_Q_OVERFLOW: events were lost, look at everything."""
    mask: int
    name: str
    """The entry's name when a directory is watched."""


def parse(data: bytes) -> list[Event]:
    """Events out of what one read(2) of an inotify descriptor gave."""
    events = []
    at = 0
    while at < len(data):
        watch, mask, _cookie, length = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        name = data[at : at + length].rstrip(b"\0")
        at += length
        events.append(Event(watch, mask, os.fsdecode(name)))
    return events


class Inotify:
    """``async with Inotify() as watcher: watcher.add(...); async for event in watcher: ...``

    One consumer at a time. Must be made while the event loop runs.
    """

    def __init__(self) -> None:
        self._fd = check(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify")
        self._loop = asyncio.get_running_loop()
        self._events: deque[Event] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._loop.add_reader(self._fd, self._readable)

    def add(self, path: Path, mask: int) -> int:
        """Watch ``path``; returns the watch's number (the same one for the same inode).

        Raises:
            OSError: ENOSPC when fs.inotify.max_user_watches is reached, ENOENT ...
        """
        return check(
            libc.inotify_add_watch(self._fd, os.fsencode(path), mask), f"inotify watch on {path}"
        )

    def remove(self, watch: int) -> None:
        """Stop watching. A watch whose file is gone has been removed by the kernel already."""
        libc.inotify_rm_watch(self._fd, watch)

    def close(self) -> None:
        """End the watcher; a consumer's loop ends too."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            # The kernel waits until nothing can look at its watches: 20 ms.
            self._loop.run_in_executor(None, os.close, self._fd)
            self._fd = -1
            self._wake()

    def _readable(self) -> None:
        try:
            self._events.extend(parse(os.read(self._fd, 65536)))
        except BlockingIOError:
            return
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Inotify:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._fd < 0:
                raise StopAsyncIteration
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._events.popleft()

    async def __aenter__(self) -> Inotify:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
