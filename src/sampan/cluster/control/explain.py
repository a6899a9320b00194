"""What a service waits for, in one look: for each place that should have a running task, who has
to do what next, and what keeps them.

Everything is read off the copy of the cluster's state; nothing is asked of anybody. The sentences
are for people, the words in ``waits_for`` for programs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Literal

import msgspec

from sampan.cluster.control import services
from sampan.cluster.control.tasks import wanted_state
from sampan.cluster.control.validate import mode_name
from sampan.cluster.find import node_name
from sampan.cluster.model import State
from sampan.cluster.records import Service, Task, UpdateStatus
from sampan.cluster.states import TaskState

WaitsFor = Literal[
    "",
    "allocator",
    "scheduler",
    "node",
    "image",
    "predecessor",
    "restart-delay",
    "health",
    "orchestrator",
    "user",
]
"""Who has to move next; empty: nobody, it is as it should be."""


class TaskWhy(msgspec.Struct, frozen=True, kw_only=True):
    """One place (a slot, or a node of a global service) and why it is not running, if it is not."""

    name: str
    """``web.2``, of a global service ``web.HOST``."""
    slot: int = 0
    task_id: str = ""
    """Empty: nobody has made one."""
    node_id: str = ""
    node: str = ""
    """Its host's name."""
    state: str = ""
    desired: str = ""
    since_s: float = 0.0
    """How long it has been in this state."""
    ok: bool = False
    waits_for: WaitsFor = ""
    reason: str = ""
    placement: str = ""
    """Why the scheduler chose this node: its strategy, and what the node was like then."""
    error: str = ""
    """The last failure in this place, also when the one that is there now does well."""
    failures: int = 0
    """Dead tasks of this place that history still has."""


class RolloutWhy(msgspec.Struct, frozen=True, kw_only=True):
    state: str
    message: str
    updated: int
    """Tasks that are as the specification says now."""
    outdated: int
    since_s: float


class ServiceWhy(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    mode: str
    running: int
    desired: int
    completed: int
    converged: bool
    summary: str
    rollout: RolloutWhy | None
    tasks: tuple[TaskWhy, ...]


def explain(state: State, service: Service, *, now: float) -> ServiceWhy:
    """See above. ``now`` is in seconds since the epoch."""
    counts = services.counts(state, service)
    tasks = tuple(_places(state, service, now))
    rollout = _rollout(state, service, now)
    busy = rollout is not None and rollout.state in ("updating", "rollback_started")
    waiting = [task for task in tasks if not task.ok]
    converged = not waiting and not busy
    return ServiceWhy(
        id=service.id,
        name=service.name,
        mode=mode_name(service.spec.mode),
        running=counts.running,
        desired=_at_once(service, counts),
        completed=counts.completed,
        converged=converged,
        summary=_summary(state, service, waiting, rollout, len(tasks)),
        rollout=rollout,
        tasks=tasks,
    )


def _summary(
    state: State,
    service: Service,
    waiting: list[TaskWhy],
    rollout: RolloutWhy | None,
    places: int,
) -> str:
    if not state.leader:
        return "no manager leads: nothing new is decided until more than half of them are online"
    if rollout is not None and rollout.state in ("paused", "rollback_paused"):
        return (
            f"the update is paused: {rollout.message}. Go on with `service update --force`, or "
            "back with `service rollback`"
        )
    if waiting:
        return f"{places - len(waiting)} of {places} tasks are as they should be"
    if rollout is not None and rollout.state in ("updating", "rollback_started"):
        return f"{rollout.updated} of {places} tasks are up to date"
    if not places and (service.spec.mode.global_ or service.spec.mode.global_job) is not None:
        return "no node of the cluster fulfils what the service asks of it"
    return "everything is as it should be"


# ---------------------------------------------------------------- places


def _places(state: State, service: Service, now: float) -> Iterable[TaskWhy]:
    by_place: dict[int | str, list[Task]] = {}
    jobs = service.job_status
    mode = service.spec.mode
    counted = mode.replicated_job is not None  # its slots begin with 0
    for task in state.tasks_of(service.id).values():
        if jobs is not None and (task.job_iteration or 0) != jobs.iteration:
            continue
        place = task.slot if counted else task.slot or task.node_id
        by_place.setdefault(place, []).append(task)
    for place in sorted(by_place, key=lambda place: (isinstance(place, str), place)):
        tasks = sorted(by_place[place], key=lambda task: (task.created_at, task.id))
        wanted = [task for task in tasks if task.desired <= TaskState.COMPLETE]
        if wanted:
            yield _place(state, service, wanted[-1], tasks, now)
        elif _still_wanted(service, place):
            yield _given_up(state, service, tasks[-1], tasks, now)
    replicas = mode.replicated.replicas if mode.replicated is not None else 0
    if mode.replicated_job is not None:
        # Those that are done keep their places; as many more are due as may run at once.
        counts = services.counts(state, service)
        replicas = _at_once(service, counts) + counts.completed
    taken = {place for place in by_place if isinstance(place, int)}
    for slot in _missing(taken, replicas or 0, first=0 if counted else 1):
        yield TaskWhy(
            name=f"{service.name}.{slot}",
            slot=slot,
            waits_for="orchestrator",
            reason=_no_leader(state) or "nobody has made this task yet",
        )


def _at_once(service: Service, counts: services.Counts) -> int:
    """How many tasks should run now; of a job no more than are left."""
    job = service.spec.mode.replicated_job
    if job is None:
        return counts.desired
    return max(0, min(counts.desired, (job.total_completions or 0) - counts.completed))


def _missing(taken: set[int], replicas: int, *, first: int) -> Iterable[int]:
    """The lowest free slots that are still to be filled."""
    free = (slot for slot in itertools.count(first) if slot not in taken)
    return itertools.islice(free, max(0, replicas - len(taken)))


def _still_wanted(service: Service, place: int | str) -> bool:
    """A place whose tasks are all dead counts only while the service is of a size for it."""
    mode = service.spec.mode.replicated
    return isinstance(place, int) and mode is not None and place <= (mode.replicas or 0)


def _place(state: State, service: Service, task: Task, history: list[Task], now: float) -> TaskWhy:
    waits_for, reason = _waits(state, service, task, now)
    return _row(state, service, task, history, now, waits_for, reason)


def _given_up(
    state: State, service: Service, task: Task, history: list[Task], now: float
) -> TaskWhy:
    policy = service.spec.task_template.restart_policy
    condition = policy.condition if policy is not None else ""
    if condition == "none" or (
        condition == "on-failure" and task.status.state == TaskState.COMPLETE
    ):
        reason = f"it has ended, and the restart condition {condition} leaves it at that"
    elif policy is not None and policy.max_attempts:
        reason = f"it has ended, and was restarted {policy.max_attempts} times already"
    else:
        reason = _no_leader(state) or "it has ended, and nobody has made the next one yet"
        return _row(state, service, task, history, now, "orchestrator", reason)
    return _row(state, service, task, history, now, "user", reason)


def _row(
    state: State,
    service: Service,
    task: Task,
    history: list[Task],
    now: float,
    waits_for: WaitsFor,
    reason: str,
) -> TaskWhy:
    node = state.nodes.get(task.node_id)
    host = node_name(node) if node is not None else ""
    failed = [
        one
        for one in history
        if one.status.state in (TaskState.FAILED, TaskState.REJECTED, TaskState.ORPHANED)
    ]
    error = task.status.err or (failed[-1].status.err if failed else "")
    since = task.status.timestamp or task.created_at or now
    return TaskWhy(
        name=f"{service.name}.{task.slot or host or task.node_id}",
        slot=task.slot,
        task_id=task.id,
        node_id=task.node_id,
        node=host,
        state=task.status.state.word,
        desired=wanted_state(task).word,
        since_s=round(max(0.0, now - since), 3),
        ok=not waits_for,
        waits_for=waits_for,
        reason=reason,
        placement=task.placement_reason,
        error=error,
        failures=len(failed),
    )


def _waits(state: State, service: Service, task: Task, now: float) -> tuple[WaitsFor, str]:
    """Who has to move next, and what keeps them."""
    observed, said = task.status.state, task.status.message
    if observed == TaskState.COMPLETE and wanted_state(task) == TaskState.COMPLETE:
        return "", "done"
    if observed.ended:
        return "orchestrator", _no_leader(state) or "it has ended and is about to be replaced"
    if observed == TaskState.NEW:
        return "allocator", _no_leader(state) or _allocation(state, task)
    if observed == TaskState.PENDING and not task.node_id:
        waits = task.status.err or said or "it is about to be placed"
        return "scheduler", _no_leader(state) or waits
    if (trouble := _node_trouble(state, task)) is not None:
        return "node", trouble
    host = _host(state, task)
    if observed < TaskState.ACCEPTED:
        return "node", f"node {host} has not taken it yet"
    if observed <= TaskState.PREPARING:
        container = task.spec.container_spec
        image = container.image if container is not None else ""
        return "image", f"node {host} makes it ready ({image}): {said or 'preparing'}"
    if observed == TaskState.READY and task.desired <= TaskState.READY:
        if task.start_after > now:
            return "restart-delay", f"starts in {task.start_after - now:.1f} s (restart delay)"
        return "predecessor", "waits for the task that it replaces to end"
    if observed == TaskState.READY:
        return "node", f"node {host} is about to start it"
    if observed == TaskState.STARTING:
        return "health", f"{_until_running(task)} on node {host}: {said or 'starting'}"
    chosen = f" ({task.placement_reason})" if task.placement_reason else ""
    return "", f"runs on node {host}{chosen}"


def _allocation(state: State, task: Task) -> str:
    errors = []
    for wanted in task.spec.networks:
        network = state.networks.get(wanted.target)
        if network is not None and network.error:
            errors.append(f"network {network.name}: {network.error}")
    return "; ".join(errors) or "waits for its addresses"


def _node_trouble(state: State, task: Task) -> str | None:
    node = state.nodes.get(task.node_id)
    if node is None:
        return "its node was removed"
    if node.status.state == "ready":
        return None
    said = f" ({node.status.message})" if node.status.message else ""
    return f"node {node_name(node)} is {node.status.state}{said}"


def _until_running(task: Task) -> str:
    container = task.spec.container_spec
    health = container.healthcheck if container is not None else None
    if health is not None and health.test and health.test[0] != "NONE":
        return "waits for its health check to succeed"
    if any(port.publish_mode != "host" for port in task.endpoint.ports):
        ports = ", ".join(
            str(port.target_port) for port in task.endpoint.ports if port.publish_mode != "host"
        )
        return f"waits for something to listen on port {ports}"
    return "is being started"


def _host(state: State, task: Task) -> str:
    node = state.nodes.get(task.node_id)
    return node_name(node) if node is not None else task.node_id


def _no_leader(state: State) -> str:
    return "" if state.leader else "no manager leads: too few of them are online"


# ---------------------------------------------------------------- the rollout


def _rollout(state: State, service: Service, now: float) -> RolloutWhy | None:
    status: UpdateStatus | None = service.update_status
    if status is None:
        return None
    tasks = [
        task
        for task in state.tasks_of(service.id).values()
        if task.desired <= TaskState.RUNNING and not task.status.state.ended
    ]
    updated = sum(1 for task in tasks if services.up_to_date(service, task))
    return RolloutWhy(
        state=status.state,
        message=status.message,
        updated=updated,
        outdated=len(tasks) - updated,
        since_s=round(max(0.0, now - (status.completed_at or status.started_at or now)), 3),
    )
