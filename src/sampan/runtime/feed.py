"""What one of several readers has still to take of a stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from sampan.runtime.contract import Stream


class Feed:
    """A reader's own queue. One consumer."""

    def __init__(self, took: Callable[[], None]) -> None:
        """``took`` is called whenever the reader has taken something."""
        self._took = took
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[Stream, bytes]] = deque()
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self.size = 0
        """Bytes that wait."""
        self.taken = 0
        """Bytes that the reader has had."""

    def put(self, stream: Stream, data: bytes) -> None:
        """Never waits: who puts looks at ``size``."""
        if not self._ended:
            self._queue.append((stream, data))
            self.size += len(data)
            self._wake()

    def end(self, *, dropped: bool = False) -> None:
        """Nothing more comes. ``dropped``: and what waits is given up."""
        self._ended = True
        if dropped:
            self._queue.clear()
            self.size = 0
        self._wake()

    async def __aiter__(self) -> AsyncIterator[tuple[Stream, bytes]]:
        while True:
            while self._queue:
                item = self._queue.popleft()
                self.size -= len(item[1])
                self.taken += len(item[1])
                self._took()
                yield item
            if self._ended:
                return
            self._waiter = self._loop.create_future()
            await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
