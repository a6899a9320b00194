"""One feed of events for everyone: the API's ``/events``, health, compose, the cluster.

Events are what users and clients see, in Docker's words (``container`` ``start`` ...). The bus
keeps the newest ``HISTORY`` of them so that ``events --since`` has something to say; they are not
durable, as they are not with Docker.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

HISTORY = 1024
FEED_LIMIT = 4096
"""A reader that falls this far behind is cut off (``FeedLagged``) instead of eating memory."""


class FeedLagged(Exception):
    """The reader was too slow; what it missed is gone, it must start over."""


@dataclass(frozen=True, slots=True)
class Event:
    type: str
    """``container``, ``image``, ``network``, ``volume``, ``daemon``, ``builder``."""
    action: str
    """``create``, ``start``, ``die``, ``health_status: healthy`` ..."""
    actor_id: str
    attributes: dict[str, str] = field(default_factory=dict)
    time_ns: int = field(default_factory=time.time_ns)
    scope: str = "local"


class Feed:
    """A bounded queue of events. Async-iterate it; ``close`` (or leaving ``with``) ends it."""

    def __init__(self, bus: EventBus, wants: Callable[[Event], bool]) -> None:
        self._bus = bus
        self._wants = wants
        self._queue: deque[Event] = deque()
        self._ready = asyncio.Event()
        self._lagged = False
        self._closed = False

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; an iteration under way ends."""
        self._closed = True
        self._bus.forget(self)
        self._ready.set()

    def offer(self, event: Event) -> None:
        """Called by the bus."""
        if not self._wants(event):
            return
        if len(self._queue) >= FEED_LIMIT:
            self._lagged = True
        else:
            self._queue.append(event)
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._queue:
                yield self._queue.popleft()
            if self._lagged:
                raise FeedLagged
            if self._closed:
                return
            self._ready.clear()
            await self._ready.wait()


class EventBus:
    """Publish from anywhere on the loop; never blocks, never fails."""

    def __init__(self) -> None:
        self._feeds: set[Feed] = set()
        self._history: deque[Event] = deque(maxlen=HISTORY)

    def publish(self, event: Event) -> None:
        self._history.append(event)
        for feed in tuple(self._feeds):
            feed.offer(event)

    def feed(
        self, wants: Callable[[Event], bool] = lambda _: True, *, since_ns: int | None = None
    ) -> Feed:
        """Listen from now on, after the kept events from ``since_ns`` on when it is given.

        History and feed are joined in one turn of the loop: no gap, no repeat.
        """
        feed = Feed(self, wants)
        if since_ns is not None:
            for event in self._history:
                if event.time_ns >= since_ns:
                    feed.offer(event)
        self._feeds.add(feed)
        return feed

    def forget(self, feed: Feed) -> None:
        self._feeds.discard(feed)
