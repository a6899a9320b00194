"""Group commit: one thread that syncs the redo log for all who wait for the disk.

The loop appends and says so; the thread syncs whatever has been appended since, again and again,
until there is nothing new. So a sync under way is never joined too late, and as many transactions
share the next one as were made during it. It begins at once and not when somebody waits: an
operation that has other things to do first finds its record durable when it comes to wait.

The loop takes no lock here: the thread that has one may itself be waiting for a processor or for
the interpreter, and the loop would wait with it. Each side writes words of its own (the loop how
far it has appended, the thread how far it has synced), tells the other, and only then looks at what
the other wrote: whoever comes second sees it. Futures are the loop's alone.

A sync that fails is the end: the kernel has forgotten which pages it could not write, and a second
sync would report success (PostgreSQL learned it in 2018). Nobody is told "durable" any more.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from sampan.store.contract import StoreFailed
from sampan.store.redo import BrokenLog, LogSegment

Sync = Callable[[int], None]
"""Makes durable what was written to a descriptor, as ``os.fdatasync`` does."""


@dataclass(frozen=True, slots=True)
class _Waiters:
    """Those of one loop, which alone changes ``entries``."""

    loop: asyncio.AbstractEventLoop
    entries: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)


class GroupCommit:
    """Owns the segment that is written, and the next one, which it makes ahead.

    ``append``, ``rotate`` and ``durable`` are the loop's; ``close`` comes last and from anywhere.
    """

    def __init__(
        self, database: Path, identity: bytes, committed: int, sync: Sync, segment_bytes: int
    ) -> None:
        """``segment_bytes``: how large a segment gets, usually.

        Raises:
            OSError: none can be made.
        """
        self._database, self._identity, self._sync = database, identity, sync
        self._segment_bytes = segment_bytes
        self._current = self._create(committed + 1)
        self._spare: LogSegment | None = None
        self._wants_spare = False
        self._unsynced = [self._current]
        """Segments that may hold something unsynced, oldest first: the loop appends, the thread
        removes."""
        self._appended = self._synced = committed
        self._waiting: list[_Waiters] = []
        self._failed: StoreFailed | None = None
        self._closing = False
        self._signals: SimpleQueue[None] = SimpleQueue()
        self._signalled = False
        """A signal is on its way, after which the thread looks at everything."""
        self._progress = threading.Condition()
        """For threads that wait for a sync; the loop does not take it."""
        self._thread = threading.Thread(target=self._run, name="store-sync", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> StoreFailed | None:
        """Why nothing may change from here on."""
        return self._failed

    @property
    def size(self) -> int:
        """Bytes of the segment that is written."""
        return self._current.size

    def _create(self, first: int) -> LogSegment:
        return LogSegment.create(self._database, self._identity, first, self._segment_bytes)

    def append(self, number: int, record: bytes, *, frees: bool = False) -> None:
        """Append transaction ``number``. ``frees``: as in ``LogSegment.append``.

        Raises:
            OSError: it is not in the log.
            StoreFailed: nor will any other be.
        """
        try:
            self._current.append(record, frees=frees)
        except BrokenLog as error:
            raise self._fail(error) from error
        self._appended = number
        self._wake()

    def rotate(self) -> LogSegment | None:
        """Go on in the next segment. Returns the one that is full, whose owner the caller is from
        now on; None when there is no next one yet (ask again later)."""
        if (spare := self._spare) is None:
            self._wants_spare = True
            self._wake()
            return None
        self._spare = None
        # In this order: the thread never sees a segment written to that it does not sync.
        self._unsynced.append(spare)
        full, self._current = self._current, spare
        return full

    async def durable(self, number: int) -> None:
        """Wait until transaction ``number`` is synced. Raises StoreFailed."""
        if number <= self._synced:
            return
        loop = asyncio.get_running_loop()
        waiters = next((one for one in self._waiting if one.loop is loop), None)
        if waiters is None:
            waiters = _Waiters(loop)
            self._waiting.append(waiters)
        future: asyncio.Future[None] = loop.create_future()
        waiters.entries.append((number, future))
        # Again: the thread may have looked for waiters a moment before there was one.
        if number <= self._synced or self._failed is not None:
            self._settle(waiters)
        await future

    def wait_synced(self, number: int) -> bool:
        """Block until transaction ``number`` is synced; False: it never will be. For threads."""
        with self._progress:
            self._progress.wait_for(lambda: number <= self._synced or self._failed is not None)
            return number <= self._synced

    def close(self) -> list[LogSegment]:
        """Sync what is left and stop. Returns the segments still open. Blocks."""
        self._closing = True
        self._wake()
        self._thread.join()
        return [self._current, *([self._spare] if self._spare is not None else [])]

    def _wake(self) -> None:
        """Have the thread look at what was changed before this call. Never blocks."""
        if not self._signalled:
            self._signalled = True
            self._signals.put(None)

    # -- the thread

    def _run(self) -> None:
        while True:
            self._signals.get()
            self._signalled = False  # from here on, changes signal again
            closing, target = self._closing, self._appended
            if self._failed is not None:
                return
            if target > self._synced:
                unsynced, current = tuple(self._unsynced), self._current
                try:
                    for segment in unsynced:
                        self._sync(segment.descriptor)
                except OSError as error:
                    self._fail(error)
                    return
                self._release(target, [one for one in unsynced if one is not current])
            if self._wants_spare:
                self._make_spare(target)
            if closing:
                return

    def _release(self, target: int, whole: list[LogSegment]) -> None:
        """Everything up to ``target`` is synced, and all that ``whole`` will ever hold."""
        for segment in whole:
            self._unsynced.remove(segment)
        with self._progress:
            self._synced = target
            self._progress.notify_all()
        self._tell()

    def _make_spare(self, appended: int) -> None:
        if self._spare is None:
            # A full disk: the current segment goes on growing while it can.
            with suppress(OSError):
                spare = self._create(appended + 1)
                if spare.has_reserve:
                    self._spare = spare
                else:
                    spare.discard()
        self._wants_spare = False

    def _fail(self, error: OSError) -> StoreFailed:
        failed = StoreFailed(
            f"{self._database}: the disk did not store what was written to it ({error}): nothing "
            "can be changed until sampand is restarted; look at the kernel's log for what the disk "
            "has"
        )
        with self._progress:
            self._failed = failed
            self._progress.notify_all()
        self._tell()
        return failed

    def _tell(self) -> None:
        """Have those who wait look, each on its own loop: one call a loop, however many."""
        for waiters in tuple(self._waiting):
            if waiters.entries and not waiters.loop.is_closed():
                waiters.loop.call_soon_threadsafe(self._settle, waiters)

    # -- the loop again

    def _settle(self, waiters: _Waiters) -> None:
        synced, failed = self._synced, self._failed
        entries = waiters.entries[:]
        waiters.entries.clear()
        for number, future in entries:
            if future.done():  # cancelled meanwhile
                continue
            if number <= synced:
                future.set_result(None)
            elif failed is not None:
                future.set_exception(StoreFailed(str(failed)))
            else:
                waiters.entries.append((number, future))
