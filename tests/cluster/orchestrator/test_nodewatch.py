"""Nodes whose manager is gone, history, and what the reaper forgets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from sampan.cluster.orchestrator.reaper import ORPHANED_AFTER_S
from sampan.cluster.records import ManagerPart, Node, NodeStatus, Service, Task, TaskStatus
from sampan.cluster.states import TaskState as S
from sampan.testing.loops import LoopWorld, ready_node


@pytest.fixture
async def world() -> AsyncIterator[LoopWorld]:
    async with LoopWorld() as world:
        await world.manager("m1")
        await world.manager("m2")
        yield world


def held_by(manager: str, session: str) -> NodeStatus:
    return NodeStatus(state="ready", address="10.1.0.1", manager=manager, session=session)


def state(world: LoopWorld, id: str) -> str:
    return world.store.state.nodes[id].status.state


async def test_who_does_not_come_to_another_manager_is_down(world: LoopWorld) -> None:
    await world.put(
        ready_node("n1", status=held_by("m2", "s1")), ready_node("n2", status=held_by("m2", "s2"))
    )
    await world.kill("m2")
    await world.clock.advance(3.5)
    assert state(world, "n1") == "ready"
    await world.change(Node, "n1", status=held_by("m1", "s3"))
    await world.until(lambda: state(world, "n2") == "down", limit_s=5)
    assert world.store.state.nodes["n2"].status.message == "heartbeat failure"
    await world.clock.advance(30)
    assert state(world, "n1") == "ready"


async def test_the_nodes_of_a_leader_that_died_are_watched_by_the_next(world: LoopWorld) -> None:
    first = world.leader
    await world.put(ready_node("n1", status=held_by(first, "s1")))
    await world.kill(first)
    await world.until(lambda: state(world, "n1") == "down", limit_s=10)


async def test_a_manager_that_is_back_in_time_keeps_its_nodes(world: LoopWorld) -> None:
    await world.put(ready_node("n1", status=held_by("m2", "s1")))
    store = world.managers["m2"].store
    world.hub.member(store).cut()
    await world.clock.advance(3.0)
    assert "m2" not in world.store.state.present
    world.hub.member(store).heal()
    await world.clock.advance(10)
    assert state(world, "n1") == "ready"


async def test_when_all_hosts_start_the_slow_ones_are_waited_for(world: LoopWorld) -> None:
    for id in ("m1", "m2", "m3"):
        await world.put(
            replace(ready_node(id), role="manager", manager=ManagerPart(), status=held_by(id, id))
        )
    await world.kill("m1")
    await world.kill("m2")
    await world.clock.advance(10)
    await world.manager("m1")
    await world.until(lambda: world.leader)
    await world.clock.advance(10)
    assert state(world, "m2") == "ready"
    await world.manager("m2")
    await world.until(lambda: state(world, "m3") == "down")
    await world.clock.advance(10)
    assert state(world, "m2") == "ready"


async def test_after_a_day_nobody_waits_for_a_node(world: LoopWorld) -> None:
    await world.nodes(2)
    web = await world.serve("web", replicas=2)
    await world.until(lambda: world.running(web) == 2)
    await world.lose("n1")
    await world.delete(Service, web)
    await world.until(lambda: len(world.tasks(web)) == 1)
    (waiting,) = world.tasks(web)
    assert (waiting.desired, waiting.status.state) == (S.REMOVE, S.RUNNING)
    long_ago = world.clock.now() - ORPHANED_AFTER_S + 30
    status = replace(world.store.state.nodes["n1"].status, since=long_ago)
    await world.change(Node, "n1", status=status)
    await world.until(lambda: not world.tasks(web), limit_s=200, step_s=1)


async def test_ended_tasks_of_no_service_are_forgotten(world: LoopWorld) -> None:
    await world.nodes(1)
    ended = Task(id="t1", node_id="n1", desired=S.RUNNING, status=TaskStatus(state=S.COMPLETE))
    going = Task(id="t2", node_id="n1", desired=S.RUNNING, status=TaskStatus(state=S.RUNNING))
    await world.put(ended, going)
    await world.until(lambda: "t1" not in world.store.state.tasks)
    await world.delete(Node, "n1")
    await world.until(lambda: not world.store.state.tasks)
