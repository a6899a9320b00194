"""Reading a run's log while the monitor writes it, across rotation, from either end.

    LOG.2.gz  LOG.1  LOG        oldest to newest; only LOG is written to

Every block is read and parsed in a thread, and one block is held at a time: a log of any size
neither stops the loop nor fills the memory, however much is asked for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from sampan.aio import Clock, SystemClock, Tasks, in_thread, shielded
from sampan.kernel.inotify import IN_CREATE, IN_MODIFY, IN_MOVED_TO, Inotify
from sampan.runtime.contract import LogEntry, LogPlace, Stream
from sampan.runtime.logarchive import LogFile, packed, rotated
from sampan.runtime.logblocks import BLOCK, LineCutter, TailScan, Wanted

P = ParamSpec("P")
T = TypeVar("T")

BLOCKS_AT_ONCE = 8
"""How many blocks one visit of a thread looks at before it comes back, when none has what is
wanted: a caller who goes away waits for no more than these."""
_BOTH: frozenset[Stream] = frozenset(("stdout", "stderr"))
VISIT_DEADLINE_S = 600.0
"""For a disk that no longer answers."""


class LogFiles:
    """``LogReader`` on the monitor's files."""

    def __init__(self, clock: Clock | None = None, block: int = BLOCK) -> None:
        self._clock = clock or SystemClock()
        self._block = block

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
        wanted = Wanted(streams, since_ns, until_ns)
        cursor = _Cursor(path, wanted, self._block)
        try:
            if tail is None:
                await _visit(cursor.open_oldest, follow is None)
            else:
                scan = _Scan(path, tail, wanted, self._block)
                try:
                    while not await _visit(scan.look):
                        pass
                    scan.hand_over(cursor, bounded=follow is None)
                finally:
                    scan.close()
            async for entries in self._batches(cursor, until_ns, follow):
                yield entries
        finally:
            cursor.close()

    async def forward(
        self, path: Path, place: LogPlace | None, follow: AsyncIterator[None]
    ) -> AsyncIterator[tuple[list[LogEntry], LogPlace]]:
        cursor = _Cursor(path, Wanted(), self._block)
        try:
            await _visit(cursor.resume, place)
            async for entries in self._batches(cursor, 0, follow):
                yield entries, await _visit(cursor.place)
        finally:
            cursor.close()

    async def behind(self, path: Path, place: LogPlace | None) -> bool:
        return await in_thread(_behind, path, place)

    async def _batches(
        self, cursor: _Cursor, until_ns: int, follow: AsyncIterator[None] | None
    ) -> AsyncIterator[list[LogEntry]]:
        if follow is None:
            while (entries := await _visit(cursor.entries)) is not None:
                if entries:
                    yield entries
            return
        async with _Changes(cursor.path, follow) as changes:
            while True:
                over = changes.over()
                while (entries := await _visit(cursor.entries)) is not None:
                    if entries:
                        yield entries
                # Asked before the last read: what was written until the end is read by now.
                if over or (until_ns and self._clock.now() * 1e9 > until_ns):
                    return
                left = until_ns / 1e9 - self._clock.now() if until_ns else None
                await changes.wait(left)


async def _visit(step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """One step in a thread, to its end: the files may not be closed under its hands."""
    return await shielded(in_thread(step, *args, **kwargs), deadline_s=VISIT_DEADLINE_S)


class _Cursor:
    """A place in the sequence of files; moves on to the next when one has been rotated away.
    Every method blocks."""

    def __init__(self, path: Path, wanted: Wanted, block: int) -> None:
        self.path = path
        self._wanted, self._block = wanted, block
        self._file: LogFile | None = None
        self._lines = LineCutter()
        self._end: tuple[int, int] | None = None
        """(inode, size) of the newest file as it was at first: reading ends there, or a container
        that writes as fast as its log is read would keep its reader for ever."""

    def open_oldest(self, bounded: bool) -> None:
        """Begin with the oldest file that has something from ``since_ns`` on."""
        if bounded:
            with suppress(FileNotFoundError):
                status = self.path.stat()
                self._end = (status.st_ino, status.st_size)
        for candidate in reversed(rotated(self.path)):
            with suppress(FileNotFoundError):
                if _written_at(candidate) >= self._wanted.since_ns:
                    self._file = LogFile(candidate)
                    return

    def adopt(self, file: LogFile, offset: int, end: tuple[int, int] | None) -> None:
        """Begin at ``offset`` of ``file``, which is closed here."""
        file.seek(offset)
        self._file, self._lines, self._end = file, LineCutter(offset), end

    def resume(self, place: LogPlace | None) -> None:
        """Begin behind what was read before; with the oldest there is where that has gone."""
        if place is not None:
            for candidate in rotated(self.path):
                with suppress(FileNotFoundError):
                    file = LogFile(candidate)
                    if _is(file, place):
                        return self.adopt(file, place.offset, None)
                    file.close()
        self.open_oldest(bounded=False)

    def place(self) -> LogPlace:
        """Behind the last line that was read."""
        assert self._file is not None
        head = self._file.head.decode("latin-1")
        return LogPlace(self._file.inode, self._lines.offset, head)

    def entries(self) -> list[LogEntry] | None:
        """What the next block has, or the next that has any; None: no more for now."""
        for _ in range(BLOCKS_AT_ONCE):
            lines = self._next()
            if lines is None:
                return None
            if entries := self._wanted.of(lines):
                return entries
        return []

    def _next(self) -> list[bytes] | None:
        while True:
            if self._file is None:
                try:
                    self._file = LogFile(self.path)
                except FileNotFoundError:
                    return None
            if self._at_the_end():
                return None
            # Looked at before the read: once the next file exists, this one is complete.
            complete = self._is_complete()
            if block := self._file.read(self._block):
                return self._lines.feed(block)
            successor = self._successor() if complete else None
            if successor is None:
                return None
            self._file.close()
            self._file, self._lines = successor, LineCutter()

    def _at_the_end(self) -> bool:
        if self._end is None or self._file is None:
            return False
        inode, size = self._end
        return self._file.inode == inode and self._file.tell() >= size

    def _is_complete(self) -> bool:
        """Whether ours has been rotated away, and the monitor has left it."""
        assert self._file is not None
        if self._file.archived:
            return True
        try:
            # An inode that we hold is given to no other file.
            return os.stat(self.path).st_ino != self._file.inode
        except FileNotFoundError:
            return False  # renamed just now; the monitor has not opened the next one yet

    def _successor(self) -> LogFile | None:
        """The file after ours, which is complete."""
        assert self._file is not None
        inode, head, after = self._file.inode, self._file.head, self.path
        for candidate in rotated(self.path)[1:]:
            with suppress(FileNotFoundError), closing(LogFile(candidate)) as other:
                if other.is_same(inode, head):
                    break
                after = candidate
        # Not found at all: ours fell off the end, and the oldest there is comes next.
        try:
            return LogFile(after)
        except FileNotFoundError:
            return None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _Scan:
    """The search for the last lines, a few blocks a visit."""

    def __init__(self, path: Path, count: int, wanted: Wanted, block: int) -> None:
        self._path, self._wanted, self._block = path, wanted, block
        self._scan = TailScan(count, wanted)
        self._files: list[LogFile] | None = None
        """Newest first, each once, though it may be renamed while the others are opened."""
        self._at = self._position = 0

    def look(self) -> bool:
        """True: it is found, or there is no more. Blocks."""
        if self._files is None:
            self._files = self._open_all()
            self._begin()
        for _ in range(BLOCKS_AT_ONCE):
            while self._position == 0:
                self._at += 1
                if self._at >= len(self._files):
                    return True
                self._begin()
            size = min(self._block, self._position)
            self._position -= size
            block = os.pread(self._files[self._at].fileno(), size, self._position)
            if self._scan.feed(block, self._position):
                return True
        return False

    def hand_over(self, cursor: _Cursor, *, bounded: bool) -> None:
        """Have ``cursor`` begin where the last lines do. ``bounded``: and end where they do."""
        if not self._files:
            return
        file, offset = self._scan.begin
        end = (self._files[0].inode, self._scan.end(0)) if bounded else None
        cursor.adopt(self._files.pop(file), offset, end)

    def close(self) -> None:
        for file in self._files or ():
            file.close()

    def _begin(self) -> None:
        if self._files and self._at < len(self._files):
            self._position = self._files[self._at].size()
            self._scan.start_file(self._at)

    def _open_all(self) -> list[LogFile]:
        opened: list[LogFile] = []
        for candidate in rotated(self._path):
            try:
                if opened and _written_at(candidate) < self._wanted.since_ns:
                    break
                file = LogFile(candidate)
            except FileNotFoundError:
                continue
            if any(one.is_same(file.inode, file.head) for one in opened):
                file.close()
            else:
                opened.append(file)
        return opened


class _Changes:
    """Tells when the log may have grown, or will not grow again."""

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


def _written_at(path: Path) -> int:
    """When it was last written to, in nanoseconds. Raises FileNotFoundError."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return packed(path).stat().st_mtime_ns  # it was compressed just now


def _is(file: LogFile, place: LogPlace) -> bool:
    """Whether it is the file of ``place``, and not another that was given its inode since."""
    return file.is_same(place.inode, place.head.encode("latin-1")) and file.size() >= place.offset


def _behind(path: Path, place: LogPlace | None) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    if place is None:
        return status.st_size > 0
    return status.st_ino != place.inode or status.st_size > place.offset
