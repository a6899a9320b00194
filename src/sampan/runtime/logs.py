"""Reading a run's log while the monitor writes it, across rotation, from either end.

    LOG.2  LOG.1  LOG        oldest to newest; only LOG is written to

Reading happens on the loop in blocks of 128 KiB (2 ms of work): the files are in the page cache,
and a thread would fight for the interpreter with the loop it is meant to spare.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from sampan.aio import Clock, SystemClock, Tasks
from sampan.kernel.inotify import IN_CREATE, IN_MODIFY, IN_MOVED_TO, Inotify
from sampan.runtime.contract import LogEntry, Stream
from sampan.runtime.logformat import parse

_BLOCK = 128 * 1024
_BOTH: frozenset[Stream] = frozenset(("stdout", "stderr"))


class LogFiles:
    """``LogReader`` on the monitor's files."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    async def read(
        self,
        path: Path,
        *,
        tail: int | None = None,
        since_ns: int = 0,
        until_ns: int = 0,
        streams: frozenset[Stream] = _BOTH,
        follow: AsyncIterator[None] | None = None,
    ) -> AsyncIterator[list[LogEntry]]:
        cursor = _Cursor(path)
        try:
            if tail is None:
                cursor.open_oldest(since_ns)
            else:
                entries = _tail(path, tail, streams, since_ns, until_ns, cursor)
                if entries:
                    yield entries
            if follow is None:
                while lines := cursor.lines():
                    if entries := parse(lines, streams, since_ns, until_ns):
                        yield entries
                    await asyncio.sleep(0)
                return
            async with _Changes(path, follow) as changes:
                while True:
                    over = changes.over()
                    while lines := cursor.lines():
                        if entries := parse(lines, streams, since_ns, until_ns):
                            yield entries
                        await asyncio.sleep(0)
                    # Asked before the last read: what was written until the end is read by now.
                    if over or (until_ns and self._clock.now() * 1e9 > until_ns):
                        return
                    left = until_ns / 1e9 - self._clock.now() if until_ns else None
                    await changes.wait(left)
        finally:
            cursor.close()


class _Cursor:
    """A place in the sequence of files; moves on to the next when one has been rotated away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def open_oldest(self, since_ns: int) -> None:
        """Begin with the oldest file that was written to after ``since_ns``."""
        for candidate in reversed(rotated(self._path)):
            with suppress(FileNotFoundError):
                if candidate.stat().st_mtime_ns >= since_ns:
                    self._file = candidate.open("rb", buffering=0)
                    return

    def adopt(self, file: BinaryIO, position: int) -> None:
        file.seek(position)
        self._file = file

    def lines(self) -> list[bytes]:
        """The next complete lines; empty when there are none for now."""
        while True:
            if self._file is None:
                try:
                    self._file = self._path.open("rb", buffering=0)
                except FileNotFoundError:
                    return []
            # Looked at before the read: once the next file exists, this one is complete.
            successor = self._successor()
            block = self._file.read(_BLOCK)
            if block:
                lines = (self._rest + block).split(b"\n")
                self._rest = lines.pop()
                if lines:
                    return lines
            elif successor is not None:
                self._file.close()
                self._file = successor
                self._rest = b""
            else:
                return []

    def _successor(self) -> BinaryIO | None:
        """The file after ours, if ours has been rotated away."""
        assert self._file is not None
        ours = os.fstat(self._file.fileno())
        try:
            newest = os.stat(self._path)
        except FileNotFoundError:
            return None  # renamed just now; the monitor has not opened the next one yet
        if (newest.st_ino, newest.st_dev) == (ours.st_ino, ours.st_dev):
            return None
        after = self._path
        for candidate in rotated(self._path)[1:]:
            with suppress(FileNotFoundError):
                status = os.stat(candidate)
                if (status.st_ino, status.st_dev) == (ours.st_ino, ours.st_dev):
                    break
                after = candidate
        # Not found at all: ours fell off the end, and the oldest there is comes next.
        try:
            return after.open("rb", buffering=0)
        except FileNotFoundError:
            return None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _Changes:
    """Tells when the log may have grown, or will not grow any more."""

    def __init__(self, path: Path, follow: AsyncIterator[None]) -> None:
        self._path = path
        self._follow = follow
        self._changed = asyncio.Event()
        self._over = False
        self._tasks = Tasks()
        self._inotify = Inotify()

    def over(self) -> bool:
        return self._over

    async def wait(self, timeout_s: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        self._changed.clear()

    async def _watch(self) -> None:
        # The directory tells of writes to the file in it, and of its successors.
        async for event in self._inotify:
            if event.name == self._path.name or not event.name:
                self._changed.set()

    async def _until_the_end(self) -> None:
        try:
            async for _ in self._follow:
                self._changed.set()
        finally:
            self._over = True
            self._changed.set()

    async def __aenter__(self) -> _Changes:
        self._inotify.add(self._path.parent, IN_MODIFY | IN_CREATE | IN_MOVED_TO)
        self._tasks.spawn(self._watch(), name=f"log {self._path.name}")
        self._tasks.spawn(self._until_the_end(), name=f"log end {self._path.name}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._inotify.close()
        await self._tasks.close()


def rotated(path: Path) -> list[Path]:
    """``path``, then what was rotated away from it, newest first."""
    found = [path]
    while True:
        candidate = path.with_name(f"{path.name}.{len(found)}")
        if not candidate.exists():
            return found
        found.append(candidate)


def _tail(
    path: Path,
    count: int,
    streams: frozenset[Stream],
    since_ns: int,
    until_ns: int,
    cursor: _Cursor,
) -> list[LogEntry]:
    """The last ``count`` lines, read from the end; leaves ``cursor`` behind them."""
    newest_first: list[LogEntry] = []
    complete = 0
    for number, candidate in enumerate(rotated(path)):
        try:
            file = candidate.open("rb", buffering=0)
        except FileNotFoundError:
            continue
        try:
            end = file.seek(0, os.SEEK_END)
            fragment = b""
            first = True
            position = end
            while position > 0 and (complete <= count or first):
                size = min(_BLOCK, position)
                position -= size
                file.seek(position)
                data = file.read(size) + fragment
                if first:
                    # What the monitor is writing just now belongs to whoever follows.
                    cut = data.rfind(b"\n") + 1
                    if not cut:
                        fragment = data
                        continue
                    end -= len(data) - cut
                    data = data[: cut - 1]
                    first = False
                lines = data.split(b"\n")
                fragment = lines.pop(0) if position else b""
                entries = parse(lines, streams, since_ns, until_ns)
                newest_first.extend(reversed(entries))
                complete += sum(not entry.partial for entry in entries)
            if first:
                end = 0
        finally:
            if number == 0:
                cursor.adopt(file, end)
            else:
                file.close()
        if complete > count:
            break
    return _last(newest_first, count)


def _last(newest_first: list[LogEntry], count: int) -> list[LogEntry]:
    """The newest ``count`` whole lines with all their parts, oldest first."""
    taken: list[LogEntry] = []
    for at, entry in enumerate(newest_first):
        if not entry.partial or at == 0:
            count -= 1
            if count < 0:
                break
        taken.append(entry)
    taken.reverse()
    return taken
