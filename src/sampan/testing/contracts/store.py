"""What every ``Store`` keeps to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sampan.errors import SampanError
from sampan.store.contract import Store, Transaction
from sampan.store.records import Network, Volume


def volume(name: str, mountpoint: str = "/data") -> Volume:
    return Volume(name=name, driver="local", created_at=1.0, mountpoint=mountpoint)


class Boom(Exception):
    pass


class StoreContract:
    """Subclass it as ``TestX`` and override the fixture ``store``."""

    @pytest.fixture
    def store(self) -> Iterator[Store] | Store:
        raise NotImplementedError

    def test_what_is_put_is_there_when_transact_returns(self, store: Store) -> None:
        store.transact(lambda tx: tx.volumes.put(volume("a")))
        assert store.volumes["a"] == volume("a")

    def test_transact_returns_what_the_change_returns(self, store: Store) -> None:
        assert store.transact(lambda tx: tx.volumes.get("nobody")) is None

    def test_a_later_put_replaces(self, store: Store) -> None:
        store.transact(lambda tx: tx.volumes.put(volume("a")))
        store.transact(lambda tx: tx.volumes.put(volume("a", "/other")))
        assert store.volumes["a"].mountpoint == "/other"
        assert len(store.volumes) == 1

    def test_deleting_what_is_not_there_is_nothing(self, store: Store) -> None:
        store.transact(lambda tx: tx.volumes.delete("a"))
        assert not store.volumes

    def test_a_transaction_sees_its_own_changes(self, store: Store) -> None:
        def change(tx: Transaction) -> list[str]:
            tx.volumes.put(volume("a"))
            tx.volumes.put(volume("b"))
            tx.volumes.delete("a")
            return [row.name for row in tx.volumes]

        assert store.transact(change) == ["b"]

    def test_a_failed_change_leaves_everything_as_it_was(self, store: Store) -> None:
        network = Network(id="n", name="n", driver="bridge", created_at=0.0)
        store.transact(lambda tx: tx.volumes.put(volume("kept")))
        store.transact(lambda tx: tx.volumes.put(volume("gone")))

        def change(tx: Transaction) -> None:
            tx.volumes.put(volume("new"))
            tx.volumes.put(volume("kept", "/a"))
            tx.volumes.put(volume("kept", "/b"))
            tx.volumes.delete("gone")
            tx.networks.put(network)
            raise Boom

        with pytest.raises(Boom):
            store.transact(change)
        assert dict(store.volumes) == {"kept": volume("kept"), "gone": volume("gone")}
        assert not store.networks

    def test_the_store_works_after_a_failure(self, store: Store) -> None:
        def change(tx: Transaction) -> None:
            tx.volumes.put(volume("a"))
            raise Boom

        with pytest.raises(Boom):
            store.transact(change)
        store.transact(lambda tx: tx.volumes.put(volume("b")))
        assert list(store.volumes) == ["b"]

    def test_transactions_do_not_nest(self, store: Store) -> None:
        def change(tx: Transaction) -> None:
            tx.volumes.put(volume("outer"))
            store.transact(lambda inner: inner.volumes.put(volume("inner")))

        with pytest.raises(SampanError):
            store.transact(change)
        assert not store.volumes

    def test_mappings_are_live_and_read_only(self, store: Store) -> None:
        seen = store.volumes
        store.transact(lambda tx: tx.volumes.put(volume("a")))
        assert "a" in seen
        with pytest.raises(TypeError):
            seen["b"] = volume("b")  # type: ignore[index]

    def test_a_table_may_be_changed_while_it_is_walked(self, store: Store) -> None:
        def change(tx: Transaction) -> None:
            for name in "abc":
                tx.volumes.put(volume(name))
            for row in tx.volumes:
                tx.volumes.delete(row.name)

        store.transact(change)
        assert not store.volumes
