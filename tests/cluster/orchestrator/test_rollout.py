"""Rolling updates: order, parallelism, delay, failures, rollback, leaders that die meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sampan.cluster.records import Node, Task
from sampan.cluster.spec import (
    ContainerSpec,
    EndpointSpec,
    GlobalMode,
    NodeSpec,
    Placement,
    PortConfig,
    RestartPolicy,
    ServiceMode,
    TaskSpec,
    UpdateConfig,
)
from sampan.cluster.states import TaskState as S
from sampan.testing.loops import Fate, LoopWorld

SECOND = 1_000_000_000


@pytest.fixture
async def world() -> AsyncIterator[LoopWorld]:
    async with LoopWorld() as world:
        await world.manager("m1")
        await world.nodes(4)
        yield world


def image_of(task: Task) -> str:
    assert task.spec.container_spec is not None
    return task.spec.container_spec.image


def update_state(world: LoopWorld, id: str) -> str:
    status = world.service(id).update_status
    return "" if status is None else status.state


async def running(
    world: LoopWorld, replicas: int, update: UpdateConfig | None = None, **more: object
) -> str:
    id = await world.serve("web", replicas=replicas, update=update, **more)  # type: ignore[arg-type]
    await world.until(lambda: world.running(id) == replicas)
    return id


async def test_one_after_the_other_by_default(world: LoopWorld) -> None:
    web = await running(world, 4)
    await world.image(web, "two")
    fewest, most = 4, 0

    def watch() -> bool:
        nonlocal fewest, most
        fewest = min(fewest, world.running(web))
        most = max(most, sum(not t.status.state.ended for t in world.tasks(web)))
        return world.images(web) == ["two"] * 4

    took = await world.until(watch)
    assert fewest == 3
    assert most <= 5
    assert took < 4 * 0.3
    assert update_state(world, web) == "updating"
    took = await world.until(lambda: update_state(world, web) == "completed")
    assert 4.5 < took < 5.5
    status = world.service(web).update_status
    assert status is not None
    assert status.message == "update completed"
    assert status.completed_at > status.started_at


async def test_never_more_than_the_parallelism_is_away(world: LoopWorld) -> None:
    web = await running(world, 10, UpdateConfig(parallelism=3))
    await world.image(web, "two")
    fewest = 10

    def watch() -> bool:
        nonlocal fewest
        fewest = min(fewest, world.running(web))
        return world.images(web) == ["two"] * 10

    await world.until(watch)
    assert fewest == 7


async def test_start_first_never_has_fewer(world: LoopWorld) -> None:
    web = await running(world, 4, UpdateConfig(parallelism=2, order="start-first"))
    await world.image(web, "two")
    fewest = 4

    def watch() -> bool:
        nonlocal fewest
        fewest = min(fewest, world.running(web))
        return world.images(web) == ["two"] * 4

    await world.until(watch)
    assert fewest == 4


async def test_the_delay_is_between_the_batches(world: LoopWorld) -> None:
    web = await running(world, 3, UpdateConfig(parallelism=1, delay=10 * SECOND))
    await world.image(web, "two")
    took = await world.until(lambda: world.images(web) == ["two"] * 3)
    assert 20 < took < 21.5


async def test_a_failing_update_pauses_and_goes_on_when_corrected(world: LoopWorld) -> None:
    web = await running(world, 4)
    world.puppets.fate = lambda t: Fate(end="reject") if image_of(t) == "bad" else Fate()
    await world.image(web, "bad")
    await world.until(lambda: update_state(world, web) == "paused")
    status = world.service(web).update_status
    assert status is not None
    assert status.message.startswith("update paused due to failure or early termination of task ")
    await world.clock.advance(20)
    assert world.images(web).count("one") == 3
    await world.image(web, "three")
    await world.until(lambda: world.images(web) == ["three"] * 4)
    await world.until(lambda: update_state(world, web) == "completed")


async def test_a_failing_update_is_rolled_back(world: LoopWorld) -> None:
    update = UpdateConfig(parallelism=1, delay=SECOND, failure_action="rollback")
    web = await running(world, 4, update)
    before = {task.id for task in world.live(web)}
    world.puppets.fate = lambda t: Fate(end="fail", after_s=0.5) if image_of(t) == "bad" else Fate()
    await world.image(web, "bad")
    await world.until(lambda: update_state(world, web) == "rollback_completed")
    assert world.images(web) == ["one"] * 4
    assert len(before & {task.id for task in world.live(web)}) == 3
    assert world.service(web).previous_spec is None


async def test_a_rollback_that_fails_pauses(world: LoopWorld) -> None:
    web = await running(world, 2, UpdateConfig(parallelism=1, failure_action="rollback"))
    bad = {"bad"}
    world.puppets.fate = lambda t: Fate(end="fail", after_s=0.5) if image_of(t) in bad else Fate()
    await world.image(web, "bad")
    bad.add("one")
    await world.until(lambda: update_state(world, web) == "rollback_paused")


async def test_failures_up_to_the_ratio_are_borne(world: LoopWorld) -> None:
    doomed: list[str] = []

    def fate(task: Task) -> Fate:
        if image_of(task) == "two" and (not doomed or task.id in doomed):
            doomed.append(task.id)
            return Fate(end="fail", after_s=0.1)
        return Fate()

    world.puppets.fate = fate
    web = await running(world, 4, UpdateConfig(parallelism=1, max_failure_ratio=0.3))
    await world.image(web, "two")
    await world.until(lambda: world.images(web) == ["two"] * 4)
    await world.until(lambda: update_state(world, web) == "completed")


async def test_continue_goes_through_whatever_fails(world: LoopWorld) -> None:
    web = await running(world, 3, UpdateConfig(parallelism=1, failure_action="continue"))
    world.puppets.fate = lambda t: Fate(end="reject") if image_of(t) == "bad" else Fate()
    await world.image(web, "bad")
    await world.until(lambda: update_state(world, web) == "completed")
    assert world.running(web) == 0


async def test_an_end_after_the_watch_is_no_failure_of_the_update(world: LoopWorld) -> None:
    web = await running(world, 2, UpdateConfig(parallelism=1, monitor=SECOND, delay=8 * SECOND))
    world.puppets.fate = lambda t: (
        Fate(end="complete", after_s=3.0) if image_of(t) == "two" else Fate()
    )
    await world.image(web, "two")
    await world.until(lambda: update_state(world, web) == "completed")


async def test_the_next_leader_goes_on(world: LoopWorld) -> None:
    web = await running(world, 6, UpdateConfig(parallelism=1, delay=SECOND))
    await world.manager("m2")
    await world.image(web, "two")
    await world.until(lambda: world.images(web).count("two") == 2)
    born = {task.id for task in world.tasks(web)}
    await world.kill("m1")
    await world.until(lambda: world.images(web) == ["two"] * 6)
    assert world.leader == "m2"
    assert len({t.id for t in world.tasks(web)} - born) == 4 or len(world.tasks(web)) == 12
    await world.until(lambda: update_state(world, web) == "completed")


async def test_ports_restart_and_a_published_number_does_not(world: LoopWorld) -> None:
    endpoint = EndpointSpec(ports=(PortConfig(target_port=80, publish_mode="host"),))
    web = await running(world, 2, endpoint=endpoint)
    before = {task.id for task in world.tasks(web)}
    await world.respecify(web, labels={"x": "y"})
    await world.clock.advance(3)
    assert {task.id for task in world.tasks(web)} == before
    await world.respecify(web, endpoint_spec=EndpointSpec())
    await world.until(
        lambda: before.isdisjoint(t.id for t in world.live(web)) and world.running(web) == 2
    )


async def test_placement_alone_moves_only_who_does_not_fit(world: LoopWorld) -> None:
    for id in ("n1", "n2"):
        await world.change(Node, id, spec=NodeSpec(labels={"zone": "a"}))
    web = await running(world, 4)
    stays = {task.id for task in world.live(web) if task.node_id in ("n1", "n2")}
    template = TaskSpec(
        container_spec=ContainerSpec(image="one"),
        placement=Placement(constraints=("node.labels.zone==a",)),
    )
    await world.respecify(web, task_template=template)
    await world.until(
        lambda: {t.node_id for t in world.live(web)} <= {"n1", "n2"} and world.running(web) == 4
    )
    assert stays <= {task.id for task in world.live(web)}


async def test_force_update_replaces_all(world: LoopWorld) -> None:
    web = await running(world, 3)
    before = {task.id for task in world.tasks(web)}
    template = world.service(web).spec.task_template
    await world.respecify(
        web, task_template=TaskSpec(container_spec=template.container_spec, force_update=1)
    )
    await world.until(
        lambda: before.isdisjoint(t.id for t in world.live(web)) and world.running(web) == 3
    )


async def test_a_global_service_rolls_node_by_node(world: LoopWorld) -> None:
    web = await world.serve("web", mode=ServiceMode(global_=GlobalMode()))
    await world.until(lambda: world.running(web) == 4)
    await world.image(web, "two")
    fewest = 4

    def watch() -> bool:
        nonlocal fewest
        fewest = min(fewest, world.running(web))
        return world.images(web) == ["two"] * 4

    await world.until(watch)
    assert fewest == 3


async def test_update_and_scale_at_once(world: LoopWorld) -> None:
    web = await running(world, 6, UpdateConfig(parallelism=2))
    await world.image(web, "two")
    await world.scale(web, 3)
    await world.until(lambda: world.images(web) == ["two"] * 3)
    await world.until(
        lambda: all(t.slot in {x.slot for x in world.live(web)} for t in world.tasks(web))
    )


async def test_a_rested_task_is_updated_too(world: LoopWorld) -> None:
    world.puppets.fate = lambda t: (
        Fate(end="complete", after_s=0.1) if image_of(t) == "one" else Fate()
    )
    spec = TaskSpec(
        container_spec=ContainerSpec(image="one"),
        restart_policy=RestartPolicy(condition="on-failure"),
    )
    web = await world.serve("web", replicas=2, task=spec)
    await world.until(lambda: [t.status.state for t in world.tasks(web)] == [S.COMPLETE] * 2)
    await world.image(web, "two")
    await world.until(lambda: world.images(web) == ["two"] * 2)


async def test_the_history_of_a_paused_update_does_not_grow(world: LoopWorld) -> None:
    spec = TaskSpec(
        container_spec=ContainerSpec(image="one"), restart_policy=RestartPolicy(delay=0)
    )
    web = await running(world, 2, task=spec)
    world.puppets.fate = lambda t: Fate(end="fail", after_s=0.2) if image_of(t) == "bad" else Fate()
    await world.image(web, "bad")
    await world.until(lambda: update_state(world, web) == "paused")
    await world.clock.advance(60)
    assert len(world.tasks(web)) <= 20


async def test_what_never_ran_is_a_failure_however_long_it_took(world: LoopWorld) -> None:
    update = UpdateConfig(parallelism=1, monitor=SECOND // 2, failure_action="rollback")
    web = await running(world, 2, update)

    def fate(task: Task) -> Fate:
        return Fate(end="reject", prepare_s=3.0) if image_of(task) == "bad" else Fate()

    world.puppets.fate = fate
    await world.image(web, "bad")
    await world.until(lambda: update_state(world, web) == "rollback_completed")
    await world.until(lambda: world.running(web) == 2)
    assert world.images(web) == ["one"] * 2
