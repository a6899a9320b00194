"""Whether, and when, a task that ended by itself is replaced. Pure."""

from __future__ import annotations

from sampan.cluster.records import Task
from sampan.cluster.spec import RestartPolicy
from sampan.cluster.states import TaskState

DEFAULT_DELAY_S = 5.0

BY_ITSELF = frozenset((TaskState.COMPLETE, TaskState.FAILED, TaskState.REJECTED))
"""Ends that nobody asked for. SHUTDOWN and ORPHANED were not the task's doing."""


def ended_by_itself(task: Task) -> bool:
    return task.status.state in BY_ITSELF


def should_restart(task: Task, now: float, *, job: bool = False) -> bool:
    """``task`` ended by itself."""
    policy = task.spec.restart_policy or RestartPolicy()
    if policy.condition == "none":
        return False
    if task.status.state == TaskState.COMPLETE and (job or policy.condition == "on-failure"):
        return False
    if not policy.max_attempts:
        return True
    return len(_counted(task, policy, now)) < policy.max_attempts


def delay_s(task: Task) -> float:
    policy = task.spec.restart_policy
    if policy is None or policy.delay is None:
        return DEFAULT_DELAY_S
    return policy.delay / 1e9


def restarts_with(task: Task, now: float) -> tuple[float, ...]:
    """The list that its replacement carries on: no longer than the policy can ask for."""
    policy = task.spec.restart_policy
    if policy is None or not policy.max_attempts:
        return ()
    return (*task.restarts, now)[-policy.max_attempts :]


def _counted(task: Task, policy: RestartPolicy, now: float) -> tuple[float, ...]:
    if not policy.window:
        return task.restarts
    since = now - policy.window / 1e9
    return tuple(at for at in task.restarts if at >= since)
