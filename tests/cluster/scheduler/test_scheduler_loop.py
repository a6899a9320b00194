"""The scheduler's loop, in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from sampan.cluster.records import Node, Service
from sampan.cluster.spec import (
    ContainerSpec,
    NodeSpec,
    Placement,
    ResourceRequirements,
    Resources,
    RestartPolicy,
    TaskSpec,
)
from sampan.cluster.states import TaskState as S
from sampan.testing.loops import Fate, LoopWorld


@pytest.fixture
async def world() -> AsyncIterator[LoopWorld]:
    async with LoopWorld() as world:
        await world.manager("m1")
        yield world


async def test_nobody_fulfils_the_constraint_until_somebody_does(world: LoopWorld) -> None:
    await world.nodes(2)
    spec = TaskSpec(
        container_spec=ContainerSpec(image="x"),
        placement=Placement(constraints=("node.labels.disk==ssd",)),
    )
    web = await world.serve("web", replicas=2, task=spec)
    await world.clock.advance(1)
    for task in world.tasks(web):
        assert task.status.state == S.PENDING
        assert task.status.message == "pending task scheduling"
        assert task.status.err == (
            "no suitable node (scheduling constraints not satisfied on 2 nodes)"
        )
    await world.change(Node, "n2", spec=NodeSpec(labels={"disk": "ssd"}))
    await world.until(lambda: world.running(web) == 2)
    assert {task.node_id for task in world.tasks(web)} == {"n2"}


async def test_room_that_is_freed_is_used(world: LoopWorld) -> None:
    await world.nodes(1)
    need = ResourceRequirements(reservations=Resources(nano_cpus=3_000_000_000))
    spec = TaskSpec(container_spec=ContainerSpec(image="x"), resources=need)
    one = await world.serve("one", task=spec)
    await world.until(lambda: world.running(one) == 1)
    two = await world.serve("two", task=spec)
    await world.clock.advance(1)
    assert world.running(two) == 0
    await world.delete(Service, one)
    await world.until(lambda: world.running(two) == 1)


async def test_a_node_that_joins_takes_what_waits(world: LoopWorld) -> None:
    web = await world.serve("web", replicas=2)
    await world.clock.advance(1)
    assert [task.status.err for task in world.tasks(web)] == ["no suitable node"] * 2
    await world.nodes(1)
    await world.until(lambda: world.running(web) == 2)


async def test_where_it_fails_again_and_again_is_tried_last(world: LoopWorld) -> None:
    await world.nodes(2)
    world.puppets.fate = lambda t: Fate(end="fail", after_s=0.1) if t.node_id == "n1" else Fate()
    spec = TaskSpec(container_spec=ContainerSpec(image="x"), restart_policy=RestartPolicy(delay=0))
    web = await world.serve("web", replicas=2, task=spec)
    await world.until(lambda: Counter(t.node_id for t in world.live(web)) == {"n2": 2})
    failed = [t for t in world.tasks(web) if t.status.state == S.FAILED]
    assert len(failed) <= 5
    await world.clock.advance(10)
    assert world.running(web) == 2


async def test_the_messages_are_dockers(world: LoopWorld) -> None:
    await world.nodes(1)
    world.puppets.silent.add("n1")
    web = await world.serve("web")
    await world.clock.advance(1)
    (task,) = world.tasks(web)
    assert task.status.message == "scheduler assigned task to node"
