"""Numbers that would keep a cluster busy for ever."""

from __future__ import annotations

import pytest

from sampan.cluster.control.validate import MOST_TASKS, check_mode
from sampan.cluster.errors import Refused
from sampan.cluster.loop import SLICE
from sampan.cluster.spec import ReplicatedJobMode, ReplicatedMode, ServiceMode
from sampan.testing.loops import LoopWorld

TOO_MANY = [
    ServiceMode(replicated=ReplicatedMode(replicas=MOST_TASKS + 1)),
    ServiceMode(replicated_job=ReplicatedJobMode(max_concurrent=2**64 - 1)),
    ServiceMode(replicated_job=ReplicatedJobMode(total_completions=MOST_TASKS + 1)),
]


@pytest.mark.parametrize("mode", TOO_MANY)
def test_more_tasks_than_a_cluster_can_have_are_refused(mode: ServiceMode) -> None:
    with pytest.raises(Refused, match=f"cannot be more than {MOST_TASKS}"):
        check_mode(mode)


async def test_very_many_replicas_come_some_at_a_time() -> None:
    async with LoopWorld() as world:
        await world.manager("m1")
        service = await world.serve("web", replicas=2 * SLICE + 10)
        await world.until(
            lambda: len(world.store.state.tasks_of(service)) == 2 * SLICE + 10, limit_s=30
        )
