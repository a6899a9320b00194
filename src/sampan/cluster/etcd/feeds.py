"""Feeds of changes, one a reader, filled in the turn in which the copy changes."""

from __future__ import annotations

from sampan.cluster.contract import Batch, StoreLagged
from sampan.feeds import BoundedFeed

ChangeFeed = BoundedFeed[Batch]
"""``Feed``."""


class FeedHub:
    """All feeds of one copy."""

    def __init__(self) -> None:
        # In order of creation: runs repeat exactly.
        self._feeds: dict[ChangeFeed, frozenset[str]] = {}

    def feed(self, kinds: frozenset[str], limit: int) -> ChangeFeed:
        """``kinds``: what the reader wants to hear of; empty: everything."""
        feed = ChangeFeed(limit, StoreLagged, self._forget)
        self._feeds[feed] = kinds
        return feed

    def publish(self, batch: Batch) -> None:
        for feed, kinds in tuple(self._feeds.items()):
            changes = tuple(c for c in batch.changes if not kinds or c.kind in kinds)
            if changes:
                whole = len(changes) == len(batch.changes)
                feed.offer(batch if whole else Batch(batch.revision, changes))

    def close(self) -> None:
        """End every iteration."""
        for feed in tuple(self._feeds):
            feed.close()

    def _forget(self, feed: ChangeFeed) -> None:
        self._feeds.pop(feed, None)
