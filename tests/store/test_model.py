from __future__ import annotations

import pytest

from sampan.errors import Exhausted
from sampan.store.contract import Store
from sampan.testing.contracts.store import StoreContract, volume
from sampan.testing.store import MemoryStore


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


def test_a_full_disk_changes_nothing() -> None:
    store = MemoryStore()
    store.full = True
    with pytest.raises(Exhausted):
        store.transact(lambda tx: tx.volumes.put(volume("a")))
    assert not store.volumes
