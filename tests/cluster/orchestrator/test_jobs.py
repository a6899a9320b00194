"""Jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from sampan.cluster.records import JobStatus, Service, Task
from sampan.cluster.spec import (
    ContainerSpec,
    GlobalJobMode,
    ReplicatedJobMode,
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


def completed(world: LoopWorld, id: str) -> int:
    return sum(task.status.state == S.COMPLETE for task in world.tasks(id))


async def test_a_replicated_job_runs_so_many_at_a_time_until_all_are_done(
    world: LoopWorld,
) -> None:
    world.puppets.fate = lambda task: Fate(end="complete", after_s=1.0)
    mode = ServiceMode(replicated_job=ReplicatedJobMode(max_concurrent=2, total_completions=5))
    job = await world.serve("job", mode=mode)
    most = 0

    def watch() -> bool:
        nonlocal most
        most = max(most, world.running(job))
        return completed(world, job) == 5

    took = await world.until(watch)
    assert most == 2
    assert 3.0 < took < 4.5
    await world.clock.advance(30)
    assert sorted(task.slot for task in world.tasks(job)) == [0, 1, 2, 3, 4]


async def test_a_failed_task_of_a_job_runs_again_and_a_lost_one_elsewhere(world: LoopWorld) -> None:
    first: set[str] = set()

    def fate(task: Task) -> Fate:
        if not first or task.id in first:
            first.add(task.id)
            return Fate(end="fail", after_s=0.2)
        return Fate(end="complete", after_s=5.0)

    world.puppets.fate = fate
    mode = ServiceMode(replicated_job=ReplicatedJobMode(max_concurrent=3))
    job = await world.serve(
        "job",
        mode=mode,
        task=TaskSpec(
            container_spec=ContainerSpec(image="x"), restart_policy=RestartPolicy(delay=0)
        ),
    )
    await world.until(lambda: world.running(job) == 3)
    await world.lose("n1")
    await world.until(lambda: completed(world, job) == 3)
    assert Counter(t.slot for t in world.tasks(job) if t.status.state == S.COMPLETE) == {
        0: 1,
        1: 1,
        2: 1,
    }


async def test_a_job_gives_up_when_its_policy_says_so(world: LoopWorld) -> None:
    world.puppets.fate = lambda task: Fate(end="fail", after_s=0.1)
    spec = TaskSpec(
        container_spec=ContainerSpec(image="x"), restart_policy=RestartPolicy(condition="none")
    )
    job = await world.serve("job", task=spec, mode=ServiceMode(replicated_job=ReplicatedJobMode()))
    await world.clock.advance(20)
    assert [t.status.state for t in world.tasks(job)] == [S.FAILED]


async def test_a_global_job_completes_once_on_every_node_also_a_new_one(world: LoopWorld) -> None:
    world.puppets.fate = lambda task: Fate(end="complete", after_s=0.5)
    job = await world.serve("job", mode=ServiceMode(global_job=GlobalJobMode()))
    await world.until(lambda: completed(world, job) == 3)
    await world.nodes(1)
    await world.until(lambda: completed(world, job) == 4)
    assert {task.node_id for task in world.tasks(job)} == {"n1", "n2", "n3", "n4"}


async def test_a_new_iteration_starts_over(world: LoopWorld) -> None:
    world.puppets.fate = lambda task: Fate(end="complete", after_s=0.5)
    mode = ServiceMode(replicated_job=ReplicatedJobMode(max_concurrent=2))
    job = await world.serve("job", mode=mode)
    await world.until(lambda: completed(world, job) == 2)
    old = {task.id for task in world.tasks(job)}
    await world.change(Service, job, job_status=JobStatus(iteration=1), spec_version=2)
    await world.until(
        lambda: completed(world, job) == 2 and old.isdisjoint(t.id for t in world.tasks(job))
    )
    assert {task.job_iteration for task in world.tasks(job)} == {1}
