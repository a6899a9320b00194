"""What a step made the last time: ``build_cache`` rows, key -> image.

A row is a hint: it counts only while its image is there, so removing images needs no care for the
cache, and a crash between the image's row and this one costs one repeated step.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from sampan.aio import Clock
from sampan.store.contract import Store, Transaction
from sampan.store.records import BuildCacheEntry, Image


class Cache:
    """One build's view. ``enabled`` False (``--no-cache``): finds nothing, still remembers."""

    def __init__(self, store: Store, clock: Clock, *, enabled: bool) -> None:
        self._store, self._clock, self._enabled = store, clock, enabled
        self._used: set[str] = set()

    def find(self, key: str) -> Image | None:
        if not self._enabled or (entry := self._store.build_cache.get(key)) is None:
            return None
        image = self._store.images.get(entry.image_id)
        if image is not None:
            self._used.add(key)
        return image

    def put(self, keys: Iterable[str], image_id: str) -> None:
        """Written when it returns: a build that is killed finds it again."""
        now = self._clock.now()
        entries = [
            BuildCacheEntry(key=key, image_id=image_id, created_at=now, last_used_at=now)
            for key in keys
        ]

        def change(tx: Transaction) -> None:
            for entry in entries:
                tx.build_cache.put(entry)

        self._store.transact(change)

    def touch(self) -> None:
        """Note the use of everything found: once a build, not once a step."""
        now = self._clock.now()

        def change(tx: Transaction) -> None:
            for key in self._used:
                if (entry := tx.build_cache.get(key)) is not None:
                    tx.build_cache.put(replace(entry, last_used_at=now))

        if self._used:
            self._store.transact(change)
            self._used.clear()
