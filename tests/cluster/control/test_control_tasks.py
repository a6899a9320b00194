"""What users are told of tasks."""

from __future__ import annotations

import pytest

from sampan.cluster.control.tasks import wanted_state
from sampan.cluster.records import Task
from sampan.cluster.spec import TaskSpec
from sampan.cluster.states import TaskState


@pytest.mark.parametrize(
    ("iteration", "desired", "told"),
    [
        (None, TaskState.RUNNING, TaskState.RUNNING),
        (0, TaskState.RUNNING, TaskState.COMPLETE),
        (2, TaskState.SHUTDOWN, TaskState.SHUTDOWN),
    ],
)
def test_a_jobs_task_is_wanted_to_be_completed(
    iteration: int | None, desired: TaskState, told: TaskState
) -> None:
    task = Task(
        id="t",
        service_id="s",
        service_name="job",
        spec=TaskSpec(),
        spec_version=1,
        desired=desired,
        job_iteration=iteration,
    )
    assert wanted_state(task) is told
