"""Bounded queues of changes, one a reader, filled in the turn in which the copy changes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from sampan.cluster.contract import Batch, StoreLagged


class ChangeFeed:
    """``Feed``."""

    def __init__(self, hub: FeedHub, kinds: frozenset[str], limit: int) -> None:
        self._hub, self._kinds, self._limit = hub, kinds, limit
        self._queue: deque[Batch] = deque()
        self._ready = asyncio.Event()
        self._lagged = False
        self._closed = False

    def __enter__(self) -> ChangeFeed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; what is waiting is still given out."""
        self._closed = True
        self._hub.forget(self)
        self._ready.set()

    def offer(self, batch: Batch) -> None:
        """Called by the hub."""
        if self._kinds:
            changes = tuple(c for c in batch.changes if c.kind in self._kinds)
            if not changes:
                return
            if len(changes) != len(batch.changes):
                batch = Batch(batch.revision, changes)
        if len(self._queue) >= self._limit:
            # The rest would have a gap before it: the reader has to start over anyway.
            self._lagged = True
            self._hub.forget(self)
        else:
            self._queue.append(batch)
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[Batch]:
        while True:
            while self._queue:
                yield self._queue.popleft()
            if self._lagged:
                raise StoreLagged
            if self._closed:
                return
            self._ready.clear()
            await self._ready.wait()


class FeedHub:
    """All feeds of one copy."""

    def __init__(self) -> None:
        self._feeds: dict[ChangeFeed, None] = {}  # in order of birth: runs repeat exactly

    def feed(self, kinds: frozenset[str], limit: int) -> ChangeFeed:
        feed = ChangeFeed(self, kinds, limit)
        self._feeds[feed] = None
        return feed

    def publish(self, batch: Batch) -> None:
        if batch.changes:
            for feed in tuple(self._feeds):
                feed.offer(batch)

    def forget(self, feed: ChangeFeed) -> None:
        self._feeds.pop(feed, None)

    def close(self) -> None:
        """End every iteration."""
        for feed in tuple(self._feeds):
            feed.close()
