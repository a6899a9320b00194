"""A store that forgets everything, for tests of what stands on it."""

from __future__ import annotations

from sampan.errors import Exhausted
from sampan.store.model import ModelStore, ModelTable
from sampan.store.records import Record


class MemoryStore(ModelStore):
    """``Store`` without a disk. ``full = True`` makes every commit fail like a full disk."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.commits = 0
        """Transactions that changed something so far."""

    def commit(self, tables: tuple[ModelTable[Record], ...]) -> None:
        if not any(table.undo for table in tables):
            return
        if self.full:
            raise Exhausted("no space left on the disk: free some and try again")
        self.commits += 1
