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
    standing = RoleLookup(Tasks())
    assert standing.role_of("anybody") == "manager"  # nothing was heard yet: the certificate counts
    standing.managers = frozenset({"m"})
    assert standing.role_of("m") == "manager"
    assert standing.role_of("w") == "worker"


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
        standing = RoleLookup(tasks)
        standing.store = store
        assert [standing.role_of(i) for i in ("m", "w", "next", "former")] == [
            "manager",
            "worker",
            "manager",
            "manager",
        ]
        assert standing.role_of("stranger") == "worker"  # it may just not be known here yet
        await settle()
        assert standing.role_of("stranger") is None
        await tasks.close()


async def test_who_joined_through_another_manager_is_no_stranger() -> None:
    clock, tasks = FakeClock(), Tasks()
    async with MemoryCluster(clock) as hub:
        here, there = await hub.store(), await hub.store()
        await there.update(lambda draft: draft.put(Cluster(id="c")))
        await here.barrier()
        standing = RoleLookup(tasks)
        standing.store = here
        here.member.delay_s = 1.0
        await there.update(lambda draft: draft.put(Node(id="new")))
        assert standing.role_of("new") == "worker"
        await clock.advance(2.0)
        assert standing.role_of("new") == "worker"
        assert "new" in here.state.nodes
        await tasks.close()
