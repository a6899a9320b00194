"""A store that forgets everything, for tests of what stands on it."""

from __future__ import annotations

import asyncio

from sampan.errors import Exhausted
from sampan.store.contract import StoreFailed
from sampan.store.model import ModelRows, ModelStore
from sampan.store.records import Record


class MemoryStore(ModelStore):
    """``Store`` without a disk. ``full = True`` makes every commit fail like a full disk, and
    ``failed = True`` everything like a broken one; while ``disk`` is cleared nothing gets durable.
    """

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.failed = False
        self.disk = asyncio.Event()
        self.disk.set()
        self.waiting = 0
        """How many wait for the disk."""

    @property
    def commits(self) -> int:
        """Transactions that changed something so far."""
        return self.committed

    def commit(self, number: int, changed: list[ModelRows[Record]], *, frees: bool) -> None:
        if self.full:
            raise Exhausted("no space left on the disk: free some and try again")
        if self.failed:
            raise StoreFailed("the disk failed: restart sampand")

    async def durable(self, number: int | None = None) -> None:
        self.waiting += 1
        try:
            await self.disk.wait()
        finally:
            self.waiting -= 1
        if self.failed:
            raise StoreFailed("the disk failed: restart sampand")
