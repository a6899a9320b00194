"""Replicated and global services on puppets, in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from sampan.cluster.orchestrator.reaper import DEFAULT_HISTORY, SETTLE_S
from sampan.cluster.records import Node, Service, Task
from sampan.cluster.spec import (
    ContainerSpec,
    GlobalMode,
    NodeSpec,
    Placement,
    RestartPolicy,
    ServiceMode,
    TaskSpec,
)
from sampan.cluster.states import TaskState as S
from sampan.testing.loops import Fate, LoopWorld


@pytest.fixture
async def world() -> AsyncIterator[LoopWorld]:
    async with LoopWorld() as world:
        await world.manager("m1")
        await world.nodes(3)
        yield world


async def test_replicas_run_spread_over_the_nodes(world: LoopWorld) -> None:
    web = await world.serve("web", replicas=6)
    took = await world.until(lambda: world.running(web) == 6)
    assert took < 0.3
    assert Counter(task.node_id for task in world.live(web)) == {"n1": 2, "n2": 2, "n3": 2}
    assert sorted(task.slot for task in world.live(web)) == [1, 2, 3, 4, 5, 6]


async def test_scaling_up_and_down_keeps_who_runs_and_the_balance(world: LoopWorld) -> None:
    web = await world.serve("web", replicas=3)
    await world.until(lambda: world.running(web) == 3)
    first = {task.id for task in world.live(web)}
    await world.scale(web, 9)
    await world.until(lambda: world.running(web) == 9)
    assert first <= {task.id for task in world.live(web)}
    await world.scale(web, 3)
    await world.until(lambda: len(world.tasks(web)) == 3)
    assert Counter(task.node_id for task in world.live(web)) == {"n1": 1, "n2": 1, "n3": 1}


async def test_a_scale_of_nothing_but_numbers_restarts_nobody(world: LoopWorld) -> None:
    web = await world.serve("web", replicas=2)
    await world.until(lambda: world.running(web) == 2)
    before = {task.id for task in world.tasks(web)}
    await world.respecify(web, labels={"a": "b"})
    await world.clock.advance(10)
    assert {task.id for task in world.tasks(web)} == before
    assert world.service(web).update_status is None


async def test_scaled_up_again_at_once_nobody_waits_for_those_that_stop(world: LoopWorld) -> None:
    world.puppets.fate = lambda task: Fate(stop_s=8.0)
    web = await world.serve("web", replicas=4)
    await world.until(lambda: world.running(web) == 4)
    await world.scale(web, 1)
    await world.scale(web, 4)
    await world.until(lambda: world.running(web) == 4, limit_s=2)
    slots = Counter(t.slot for t in world.tasks(web) if not t.status.state.ended)
    assert max(slots.values()) == 1


async def test_a_removed_service_leaves_no_task(world: LoopWorld) -> None:
    web = await world.serve("web", replicas=5)
    await world.until(lambda: world.running(web) == 5)
    await world.delete(Service, web)
    took = await world.until(lambda: not world.tasks(web))
    assert took < 1.0


async def test_a_task_that_fails_is_replaced_after_the_delay(world: LoopWorld) -> None:
    failed: set[str] = set()

    def fate(task: Task) -> Fate:
        if not failed or task.id in failed:
            failed.add(task.id)
            return Fate(end="fail", after_s=1.0)
        return Fate()

    world.puppets.fate = fate
    spec = TaskSpec(
        container_spec=ContainerSpec(image="x"), restart_policy=RestartPolicy(delay=2_000_000_000)
    )
    web = await world.serve("web", task=spec)
    await world.until(lambda: any(t.status.state == S.FAILED for t in world.tasks(web)))
    await world.until(lambda: len(world.tasks(web)) == 2)
    dead, new = world.tasks(web)
    assert dead.desired == S.SHUTDOWN
    assert (new.desired, new.restart_of, new.slot) == (S.READY, dead.id, dead.slot)
    took = await world.until(lambda: world.running(web) == 1)
    assert 1.8 < took < 2.3


@pytest.mark.parametrize(
    ("condition", "end", "again"),
    [
        ("none", "fail", False),
        ("on-failure", "fail", True),
        ("on-failure", "complete", False),
        ("any", "complete", True),
    ],
)
async def test_the_restart_condition(
    world: LoopWorld, condition: str, end: str, again: bool
) -> None:
    world.puppets.fate = lambda task: Fate(end=end, after_s=0.5)  # type: ignore[arg-type]
    spec = TaskSpec(
        container_spec=ContainerSpec(image="x"),
        restart_policy=RestartPolicy(condition=condition, delay=0),
    )
    web = await world.serve("web", task=spec)
    await world.clock.advance(5)
    assert (len(world.tasks(web)) > 1) is again


async def test_attempts_are_counted_across_leaders(world: LoopWorld) -> None:
    world.puppets.fate = lambda task: Fate(end="fail", after_s=0.1)
    spec = TaskSpec(
        container_spec=ContainerSpec(image="x"),
        restart_policy=RestartPolicy(delay=500_000_000, max_attempts=3),
    )
    web = await world.serve("web", task=spec)
    await world.until(lambda: len(world.tasks(web)) == 3)
    await world.manager("m2")
    await world.kill("m1")
    await world.clock.advance(20)
    assert world.leader == "m2"
    assert len(world.tasks(web)) == 4
    assert world.running(web) == 0


async def test_tasks_of_a_lost_node_run_elsewhere_and_are_not_doubled(world: LoopWorld) -> None:
    web = await world.serve("web", replicas=6)
    await world.until(lambda: world.running(web) == 6)
    await world.lose("n1")

    def elsewhere() -> bool:
        return sum(t.node_id != "n1" for t in world.live(web)) == 6

    took = await world.until(elsewhere)
    assert took < 0.5
    await world.find("n1")
    await world.until(
        lambda: not [t for t in world.tasks(web) if t.node_id == "n1" and not t.status.state.ended]
    )
    assert world.running(web) == 6


async def test_a_drained_node_is_left_a_paused_one_is_not(world: LoopWorld) -> None:
    web = await world.serve("web", replicas=6)
    await world.until(lambda: world.running(web) == 6)
    await world.change(Node, "n2", spec=NodeSpec(availability="pause"))
    await world.change(Node, "n1", spec=NodeSpec(availability="drain"))
    await world.until(lambda: Counter(t.node_id for t in world.live(web)) == {"n2": 2, "n3": 4})
    one_slot = Counter(t.slot for t in world.tasks(web) if not t.status.state.ended)
    assert set(one_slot.values()) == {1}


async def test_tasks_of_a_removed_node_are_orphaned(world: LoopWorld) -> None:
    web = await world.serve("web", replicas=3)
    await world.until(lambda: world.running(web) == 3)
    await world.lose("n1")
    await world.delete(Node, "n1")
    await world.until(lambda: any(t.status.state == S.ORPHANED for t in world.tasks(web)))
    await world.until(lambda: world.running(web) == 3)


async def test_a_node_that_no_longer_fits_is_left(world: LoopWorld) -> None:
    for node in ("n1", "n2"):
        await world.change(Node, node, spec=NodeSpec(labels={"disk": "ssd"}))
    spec = TaskSpec(
        container_spec=ContainerSpec(image="x"),
        placement=Placement(constraints=("node.labels.disk==ssd",)),
    )
    web = await world.serve("web", replicas=4, task=spec)
    await world.until(lambda: Counter(t.node_id for t in world.live(web)) == {"n1": 2, "n2": 2})
    await world.change(Node, "n1", spec=NodeSpec())
    await world.until(lambda: Counter(t.node_id for t in world.live(web)) == {"n2": 4})


async def test_a_global_service_is_on_every_node(world: LoopWorld) -> None:
    web = await world.serve("agent", mode=ServiceMode(global_=GlobalMode()))
    await world.until(lambda: world.running(web) == 3)
    await world.nodes(1)
    await world.until(lambda: world.running(web) == 4)
    await world.change(Node, "n2", spec=NodeSpec(availability="drain"))
    await world.until(lambda: {t.node_id for t in world.live(web)} == {"n1", "n3", "n4"})
    await world.change(Node, "n2", spec=NodeSpec())
    await world.until(lambda: world.running(web) == 4)
    (lost,) = [t for t in world.live(web) if t.node_id == "n3"]
    await world.lose("n3")
    await world.until(lambda: world.store.state.tasks[lost.id].desired == S.SHUTDOWN)
    assert {t.node_id for t in world.live(web)} == {"n1", "n2", "n4"}  # and no more anywhere
    assert [t.id for t in world.tasks(web) if t.node_id == "n3" and t.desired <= S.RUNNING] == []
    await world.find("n3")
    await world.until(lambda: world.running(web) == 4)
    assert lost.id not in {t.id for t in world.live(web)}
    assert Counter(t.node_id for t in world.live(web)) == {"n1": 1, "n2": 1, "n3": 1, "n4": 1}


async def test_history_is_kept_as_far_as_asked(world: LoopWorld) -> None:
    world.puppets.fate = lambda task: Fate(end="fail", after_s=0.1)
    spec = TaskSpec(container_spec=ContainerSpec(image="x"), restart_policy=RestartPolicy(delay=0))
    web = await world.serve("web", task=spec)
    await world.clock.advance(10)
    tasks = world.tasks(web)
    # what the reaper has not come to yet is younger than the time that it lets marks come together
    kept = [t for t in tasks if t.created_at < world.clock.now() - SETTLE_S]
    assert len(kept) <= DEFAULT_HISTORY <= len(tasks)
    world.puppets.fate = lambda task: Fate()  # it runs at last
    await world.until(lambda: world.running(web) == 1)
    await world.clock.advance(1)
    assert len(world.tasks(web)) == DEFAULT_HISTORY
    assert world.tasks(web)[-1].status.state == S.RUNNING


async def test_a_task_that_is_refused_is_not_tried_again_before_its_delay(world: LoopWorld) -> None:
    """It is prepared while it waits: without the delay before its birth, a missing image would be
    looked for as fast as the nodes can."""
    world.puppets.fate = lambda task: Fate(end="reject")
    web = await world.serve("web", replicas=1)
    await world.until(lambda: len(world.tasks(web)) == 1)
    await world.clock.advance(14)
    assert len(world.tasks(web)) == 3
