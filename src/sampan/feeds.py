"""A bounded queue between who publishes on the event loop and one reader."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class BoundedFeed(Generic[T]):
    """Items in the order in which they were offered. Async-iterate it; ``close`` (or leaving
    ``with``) ends it once what is waiting has been given out.

    A reader that falls ``limit`` items behind is cut off: the rest would have a gap before it.
    It gets what was queued, and then ``lagged`` is raised.
    """

    def __init__(self, limit: int, lagged: type[Exception], ended: Callable[[Any], None]) -> None:
        """``ended`` is called with the feed when it needs no more changes."""
        self._limit, self._error, self._ended = limit, lagged, ended
        self._queue: deque[T] = deque()
        self._ready = asyncio.Event()
        self._lagged = False
        self._closed = False

    def __enter__(self) -> BoundedFeed[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; what is waiting is still given out."""
        self._closed = True
        self._ended(self)
        self._ready.set()

    def offer(self, item: T) -> None:
        """Queue ``item``; never waits."""
        if len(self._queue) >= self._limit:
            self._lagged = True
            self._ended(self)
        else:
            self._queue.append(item)
        self._ready.set()

    def waiting(self) -> Iterator[T]:
        """What has come and was not given out yet, without awaiting more."""
        while self._queue:
            yield self._queue.popleft()
        if self._lagged:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            for item in self.waiting():
                yield item
            if self._closed:
                return
            self._ready.clear()
            await self._ready.wait()
