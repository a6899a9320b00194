"""One feed of events for everyone: the API's ``/events``, health, compose, the cluster.

Events are what users and clients see, in Docker's words (``container`` ``start`` ...). The bus
keeps the newest ``HISTORY`` of them so that ``events --since`` has something to say; they are not
durable, as they are not with Docker.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sampan.feeds import BoundedFeed

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


class EventBus:
    """Publish from anywhere on the loop; never blocks, never fails."""

    def __init__(self) -> None:
        self._feeds: dict[BoundedFeed[Event], Callable[[Event], bool]] = {}
        self._history: deque[Event] = deque(maxlen=HISTORY)

    @property
    def listeners(self) -> int:
        """How many feeds are open."""
        return len(self._feeds)

    def publish(self, event: Event) -> None:
        self._history.append(event)
        for feed, wants in tuple(self._feeds.items()):
            if wants(event):
                feed.offer(event)

    def feed(
        self, wants: Callable[[Event], bool] = lambda _: True, *, since_ns: int | None = None
    ) -> BoundedFeed[Event]:
        """Listen from now on, after the kept events from ``since_ns`` on when it is given.

        History and feed are joined in one turn of the loop: no gap, no repeat.
        """
        feed = BoundedFeed[Event](FEED_LIMIT, FeedLagged, self._forget)
        self._feeds[feed] = wants
        if since_ns is not None:
            for event in self._history:
                if event.time_ns >= since_ns and wants(event):
                    feed.offer(event)
        return feed

    def _forget(self, feed: BoundedFeed[Event]) -> None:
        self._feeds.pop(feed, None)
