"""Tasks, as users look for them. They are made and ended by the orchestrators alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sampan.cluster.model import State
from sampan.cluster.records import Task
from sampan.cluster.states import TaskState


def wanted_state(task: Task) -> TaskState:
    """What users are told that is desired. Of a job's task it is its completion: that it keeps the
    desire to run tells the orchestrators a completion from a stop."""
    if task.job_iteration is not None and task.desired is TaskState.RUNNING:
        return TaskState.COMPLETE
    return task.desired


def matching(
    state: State,
    wants: Callable[[Task], bool],
    *,
    services: Iterable[str] | None = None,
    nodes: Iterable[str] | None = None,
) -> list[Task]:
    """Tasks that ``wants`` says yes to, by the indexes where ids of services or nodes are known;
    in the order that they were made."""
    if services is not None:
        candidates = [task for id in set(services) for task in state.tasks_of(id).values()]
        if nodes is not None:
            here = frozenset(nodes)
            candidates = [task for task in candidates if task.node_id in here]
    elif nodes is not None:
        candidates = [task for id in set(nodes) for task in state.tasks_on(id).values()]
    else:
        candidates = list(state.tasks.values())
    found = [task for task in candidates if wants(task)]
    return sorted(found, key=lambda task: (task.created_at, task.id))
