"""What joins that broke off have left, and how the leader clears it away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from sampan.cluster.contract import Draft
from sampan.cluster.loop import Term
from sampan.cluster.node.roles import JOIN_WITHIN_S, LEARNER_AWAY_S, STRAY_S, RoleKeeper
from sampan.cluster.records import ManagerPart, Node, NodeStatus
from sampan.cluster.spec import NodeSpec
from sampan.testing.loops import LoopWorld, ready_node


class StoreMembers:
    """Learners by id; a node's own one goes when it is dismissed."""

    def __init__(self, world: LoopWorld, *learners: str) -> None:
        self._world = world
        self.there = set(learners)

    async def dismiss(self, node_id: str) -> None:
        def draft(draft: Draft) -> None:
            node = draft.get(Node, node_id)
            if node is not None and node.manager is not None:
                self.there.discard(node.manager.member_id)
                draft.put(replace(node, role="worker", manager=None))

        await self._world.store.update(draft)

    async def learners(self) -> set[str]:
        return set(self.there)

    async def discard(self, member_id: str) -> None:
        self.there.discard(member_id)


@asynccontextmanager
async def keeping(*learners: str) -> AsyncIterator[tuple[LoopWorld, StoreMembers]]:
    def roles(term: Term) -> RoleKeeper:
        return RoleKeeper(term, members, "m1")

    async with LoopWorld(parts=(roles,)) as world:
        members = StoreMembers(world, *learners)
        await world.manager("m1")
        yield world, members


def learner(id: str, state: str, since: float) -> Node:
    return replace(
        ready_node(id),
        spec=NodeSpec(role="manager"),
        status=NodeStatus(state=state, since=since, session="s"),  # type: ignore[arg-type]
        manager=ManagerPart(member_id="aa", etcd_url="https://10.0.0.9:2378", learner=True),
    )


async def test_a_learner_that_went_away_makes_room_and_stays_a_node() -> None:
    async with keeping("aa") as (world, members):
        await world.put(learner("n1", "down", world.clock.now()))
        await world.clock.advance(LEARNER_AWAY_S - 5)
        assert members.there == {"aa"}
        await world.until(lambda: not members.there, limit_s=10)
        await world.until(lambda: world.store.state.nodes["n1"].manager is None, limit_s=1)
        assert world.store.state.nodes["n1"].spec.role == "manager"


async def test_a_learner_that_is_there_has_time() -> None:
    async with keeping("aa") as (world, members):
        await world.put(learner("n1", "ready", world.clock.now()))
        await world.clock.advance(10 * LEARNER_AWAY_S)
        assert members.there == {"aa"}


async def test_a_learner_that_was_never_written_down_goes() -> None:
    async with keeping("aa", "bb") as (world, members):
        await world.put(learner("n1", "ready", world.clock.now()))
        await world.clock.advance(STRAY_S / 2)
        assert members.there == {"aa", "bb"}
        await world.until(lambda: members.there == {"aa"}, limit_s=2 * STRAY_S)


async def test_a_node_that_never_came_is_forgotten() -> None:
    async with keeping() as (world, _):
        fresh = replace(ready_node("n1"), status=NodeStatus(message="joining"), joining=True)
        await world.put(fresh)
        await world.clock.advance(JOIN_WITHIN_S - 5)
        assert "n1" in world.store.state.nodes
        await world.until(lambda: "n1" not in world.store.state.nodes, limit_s=10)


async def test_a_node_that_came_and_took_joining_back_is_forgotten() -> None:
    async with keeping("aa") as (world, members):
        went = replace(learner("n1", "down", world.clock.now()), joining=True)
        await world.put(went, replace(ready_node("n2"), joining=True))
        await world.put(replace(ready_node("n3"), status=NodeStatus(state="down", session="s")))
        await world.until(
            lambda: "n1" not in world.store.state.nodes, limit_s=JOIN_WITHIN_S + LEARNER_AWAY_S
        )
        assert not members.there
        await world.clock.advance(JOIN_WITHIN_S)
        # one is there and at it still, the other has joined long ago
        assert set(world.store.state.nodes) >= {"n2", "n3"}
