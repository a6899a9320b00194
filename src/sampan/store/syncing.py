"""Group commit: one thread that syncs the redo log for all who wait for the disk.

The loop appends and says so; the thread syncs whatever has been appended since, again and again,
until there is nothing new. So a sync under way is never joined too late, and as many transactions
share the next one as were made during it. It begins at once and not when somebody waits: an
operation that has other things to do first finds its record durable when it comes to wait.

A sync that fails is the end: the kernel has forgotten which pages it could not write, and a second
sync would report success (PostgreSQL learned it in 2018). Nobody is told "durable" any more.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from sampan.store.contract import StoreFailed
from sampan.store.redo import BrokenLog, LogSegment

Sync = Callable[[int], None]
"""Makes durable what was written to a descriptor, as ``os.fdatasync`` does."""


class GroupCommit:
    """Owns the segment that is written, and the next one, which it makes ahead.

    ``append``, ``rotate`` and ``durable`` are the loop's; ``close`` comes last and from anywhere.
    """

    def __init__(self, database: Path, committed: int, sync: Sync) -> None:
        """Raises OSError: no segment can be made."""
        self._database, self._sync = database, sync
        self._current = LogSegment.create(database, committed + 1)
        self._spare: LogSegment | None = None
        self._wants_spare = False
        self._unsynced = [self._current]
        """Segments that may hold something unsynced, oldest first."""
        self._appended = self._synced = committed
        self._waiting: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._failed: StoreFailed | None = None
        self._closing = False
        self._changed = threading.Condition()
        """Guards everything above; held for moments only, as the loop takes it, too."""
        self._thread = threading.Thread(target=self._run, name="store-sync", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> StoreFailed | None:
        """Why nothing may change any more."""
        return self._failed

    @property
    def size(self) -> int:
        """Bytes of the segment that is written."""
        return self._current.size

    def append(self, number: int, record: bytes) -> None:
        """Append transaction ``number``.

        Raises:
            OSError: it is not in the log.
            StoreFailed: nor will any other be.
        """
        try:
            self._current.append(record)
        except BrokenLog as error:
            raise self._fail(error) from error
        with self._changed:
            self._appended = number
            self._changed.notify_all()

    def rotate(self) -> LogSegment | None:
        """Go on in the next segment. Returns the one that is full, whose owner the caller is from
        now on; None when there is no next one yet (ask again later)."""
        with self._changed:
            if self._spare is None:
                self._wants_spare = True
                self._changed.notify_all()
                return None
            full, self._current, self._spare = self._current, self._spare, None
            self._unsynced.append(self._current)
        return full

    async def durable(self, number: int) -> None:
        """Wait until transaction ``number`` is synced. Raises StoreFailed."""
        with self._changed:
            if number <= self._synced:
                return
            if self._failed is not None:
                raise self._failed
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            self._waiting.append((number, loop, future))
        await future

    def wait_synced(self, number: int) -> bool:
        """Block until transaction ``number`` is synced; False: it never will be. For threads."""
        with self._changed:
            self._changed.wait_for(lambda: number <= self._synced or self._failed is not None)
            return number <= self._synced

    def close(self) -> list[LogSegment]:
        """Sync what is left and stop. Returns the segments still open. Blocks."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        return [self._current, *([self._spare] if self._spare is not None else [])]

    # -- the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work)
                if self._failed is not None or (self._closing and self._appended == self._synced):
                    return
                target, wants_spare = self._appended, self._wants_spare
                unsynced, current = tuple(self._unsynced), self._current
            if target > self._synced:
                try:
                    for segment in unsynced:
                        self._sync(segment.descriptor)
                except OSError as error:
                    self._fail(error)
                    return
                self._release(target, [one for one in unsynced if one is not current])
            if wants_spare:
                self._make_spare(target)

    def _has_work(self) -> bool:
        return (
            self._closing
            or self._wants_spare
            or self._failed is not None
            or self._appended > self._synced
        )

    def _release(self, target: int, whole: list[LogSegment]) -> None:
        """Everything up to ``target`` is synced, and all that ``whole`` will ever hold."""
        with self._changed:
            self._synced = target
            for segment in whole:
                self._unsynced.remove(segment)
            due = [entry for entry in self._waiting if entry[0] <= target]
            self._waiting = [entry for entry in self._waiting if entry[0] > target]
            self._changed.notify_all()
        _tell(due, None)

    def _make_spare(self, appended: int) -> None:
        try:
            spare = LogSegment.create(self._database, appended + 1)
        except OSError:
            spare = None  # a full disk: the current segment goes on growing while it can
        with self._changed:
            self._spare, self._wants_spare = spare, False

    def _fail(self, error: OSError) -> StoreFailed:
        failed = StoreFailed(
            f"{self._database}: the disk did not store what was written to it ({error}): nothing "
            "can be changed until sampand is restarted; look at the kernel's log for what the disk "
            "has"
        )
        with self._changed:
            self._failed = failed
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
        _tell(waiting, failed)
        return failed


def _tell(
    waiting: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]],
    failed: StoreFailed | None,
) -> None:
    """Wake those who wait, each on its own loop: one call a loop, however many they are."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for _, loop, future in waiting:
        by_loop.setdefault(loop, []).append(future)
    for loop, futures in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, futures, failed)


def _settle(futures: list[asyncio.Future[None]], failed: StoreFailed | None) -> None:
    for future in futures:
        if future.done():  # cancelled meanwhile
            continue
        if failed is None:
            future.set_result(None)
        else:
            future.set_exception(StoreFailed(str(failed)))
