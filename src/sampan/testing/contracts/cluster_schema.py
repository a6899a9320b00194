"""Managers of two versions at one store: what the older one does not know is never lost."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from sampan.cluster.contract import Draft, LeadershipLost, Presence
from sampan.cluster.records import Node, Service, new_id
from sampan.cluster.schema import Addition, Schema, SchemaNotRaised, SchemaTooOld
from sampan.cluster.spec import ServiceSpec
from sampan.testing.contracts.cluster_store import Stores, put, service

OLD = Schema(7)
NEW = Schema(8, (Addition(since=8, kind="service", path=("spec", "Labels")),))
"""As if services had got their labels in schema 8."""


def labelled(name: str) -> Service:
    return Service(id=new_id(), spec=ServiceSpec(name=name, labels={"a": "b"}))


def managers(*ids: str) -> object:
    def draft(tx: Draft) -> None:
        for id in ids:
            tx.put(Node(id=id, role="manager"))

    return draft


def sign(id: str) -> Presence:
    return Presence(node_id=id, address=f"{id}:2377")


class ClusterSchemaContract:
    """Subclass it as ``TestX`` and override the fixture ``stores``."""

    @pytest.fixture
    def stores(self) -> AsyncIterator[Stores] | Stores:
        raise NotImplementedError

    async def test_an_older_manager_changes_nothing_and_says_why(self, stores: Stores) -> None:
        new = await stores.store(NEW)
        record = labelled("web")
        await new.update(put(record))
        old = await stores.store(OLD)
        kept = old.state.services[record.id]
        before = old.state.revision
        with pytest.raises(SchemaTooOld, match="upgrade sampan on this host"):
            await old.update(put(replace(kept, spec_version=5)))
        with pytest.raises(SchemaTooOld):
            await old.update(lambda tx: tx.delete(kept))
        with pytest.raises(SchemaTooOld):
            await old.campaign("n1")
        await old.barrier()
        assert old.state.revision == before
        await new.update(put(service("more")))  # the others go on
        await old.barrier()
        assert old.state.named(Service, "more") is not None

    async def test_a_change_that_an_older_manager_has_under_way_is_refused(
        self, stores: Stores
    ) -> None:
        old, new = await stores.store(OLD), await stores.store(NEW)
        leads = await old.campaign("n1")
        await old.update(put(service("web")), fence=leads)
        await new.barrier()
        raised = labelled("new")

        def draft(tx: Draft) -> None:
            tx.put(raised)

        await new.update(draft)
        # Whether its copy has seen it or not.
        with pytest.raises(SchemaTooOld):
            await old.update(put(service("late")))
        with pytest.raises(LeadershipLost):
            await old.update(put(service("late")), fence=leads)
        assert leads.lost.is_set()
        await new.barrier()
        assert {s.name for s in new.state.services.values()} == {"web", "new"}

    async def test_managers_are_upgraded_one_after_the_other(self, stores: Stores) -> None:
        one, two = await stores.store(OLD), await stores.store(OLD)
        await one.announce(sign("n1"))
        await two.announce(sign("n2"))
        await one.update(managers("n1", "n2"))  # type: ignore[arg-type]
        await two.close()
        two = await stores.store(NEW)
        await two.announce(sign("n2"))
        # What both know, both write.
        record = service("web")
        await two.update(put(record))
        await one.barrier()
        await one.update(put(replace(one.state.services[record.id], spec_version=5)))
        await two.barrier()
        # What only the newer one knows, it does not write yet, and names who stands in the way.
        with pytest.raises(SchemaNotRaised, match=r"spec\.Labels .* n1"):
            await two.update(put(labelled("new")))
        await one.close()
        with pytest.raises(SchemaNotRaised, match="n1"):  # it is away, and may come back
            await two.update(put(labelled("new")))
        one = await stores.store(NEW)
        await one.announce(sign("n1"))
        await two.barrier()
        await two.update(put(labelled("new")))
        # There is no way back.
        back = await stores.store(OLD)
        with pytest.raises(SchemaTooOld):
            await back.update(put(service("late")))

    async def test_a_manager_that_was_removed_stands_in_nobodys_way(self, stores: Stores) -> None:
        old, new = await stores.store(OLD), await stores.store(NEW)
        await old.announce(sign("n1"))
        await new.announce(sign("n2"))
        await old.update(managers("n1", "n2"))  # type: ignore[arg-type]
        await new.barrier()
        with pytest.raises(SchemaNotRaised):
            await new.update(put(labelled("new")))
        await old.close()

        def draft(tx: Draft) -> None:
            node = tx.get(Node, "n1")
            assert node is not None
            tx.put(replace(node, role="worker"))

        await new.barrier()
        await new.update(draft)
        await new.update(put(labelled("new")))
