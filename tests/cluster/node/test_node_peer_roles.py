"""Who counts as what."""

from __future__ import annotations

from sampan.aio import Tasks
from sampan.cluster.contract import Draft
from sampan.cluster.node.peer_roles import RoleLookup
from sampan.cluster.records import Cluster, Node
from sampan.cluster.spec import NodeSpec
from sampan.testing.clock import FakeClock, settle
from sampan.testing.cluster_store import MemoryCluster


async def test_a_worker_believes_what_it_last_heard() -> None:
    peer_roles = RoleLookup(Tasks())
    assert (
        peer_roles.role_of("anybody") == "manager"
    )  # nothing was heard yet: the certificate counts
    peer_roles.managers = frozenset({"m"})
    assert peer_roles.role_of("m") == "manager"
    assert peer_roles.role_of("w") == "worker"


async def test_a_manager_looks_into_its_copy() -> None:
    clock, tasks = FakeClock(), Tasks()
    async with MemoryCluster(clock) as hub:
        store = await hub.store()

        def found(draft: Draft) -> None:
            draft.put(Cluster(id="c"))
            draft.put(Node(id="m", role="manager", spec=NodeSpec(role="manager")))
            draft.put(Node(id="w"))
            draft.put(Node(id="next", spec=NodeSpec(role="manager")))
            draft.put(Node(id="former", role="manager", spec=NodeSpec(role="worker")))

        await store.update(found)
        peer_roles = RoleLookup(tasks)
        peer_roles.store = store
        assert [peer_roles.role_of(i) for i in ("m", "w", "next", "former")] == [
            "manager",
            "worker",
            "manager",
            "manager",
        ]
        assert peer_roles.role_of("stranger") == "worker"  # it may just not be known here yet
        await settle()
        assert peer_roles.role_of("stranger") is None
        await tasks.close()


async def test_who_joined_through_another_manager_is_no_stranger() -> None:
    clock, tasks = FakeClock(), Tasks()
    async with MemoryCluster(clock) as hub:
        here, there = await hub.store(), await hub.store()
        await there.update(lambda draft: draft.put(Cluster(id="c")))
        await here.barrier()
        peer_roles = RoleLookup(tasks)
        peer_roles.store = here
        here.member.delay_s = 1.0
        await there.update(lambda draft: draft.put(Node(id="new")))
        assert peer_roles.role_of("new") == "worker"
        await clock.advance(2.0)
        assert peer_roles.role_of("new") == "worker"
        assert "new" in here.state.nodes
        await tasks.close()
