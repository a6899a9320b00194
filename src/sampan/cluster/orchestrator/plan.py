"""What is to be done for one service, as data: tasks born, tasks changed, each with its reason.

A plan follows from the service, its tasks, the nodes and the time, and from nothing else; so it can
be made again at any moment, by any leader. It is written in one transaction: a task never stops
without its replacement being there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from sampan.cluster.orchestrator.task_factory import is_outdated, new_task
from sampan.cluster.placement import fulfils
from sampan.cluster.records import Cluster, Node, Service, Task, TaskStatus
from sampan.cluster.states import TaskState

STOP_SLACK_S = 60.0
"""Beyond its grace period: a task that has not stopped by then does not hold up its successor."""
DEFAULT_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """For the log, and for tests."""

    verb: str
    task_id: str
    why: str

    def __str__(self) -> str:
        return f"{self.verb} {self.task_id}: {self.why}"


class Observed:
    """When this leader saw tasks begin to run and end, on its own clock.

    Agents' clocks may differ. Of what happened before its term only agents' times are known.
    """

    def __init__(self) -> None:
        self._running: dict[str, float] = {}
        self._ended: dict[str, float] = {}

    def note(self, before: Task | None, after: Task, now: float) -> None:
        state = after.status.state
        if before is not None and before.status.state == state:
            return
        if state == TaskState.RUNNING:
            self._running[after.id] = now
        elif state.ended and (before is None or not before.status.state.ended):
            self._ended[after.id] = now

    def forget(self, task_id: str) -> None:
        self._running.pop(task_id, None)
        self._ended.pop(task_id, None)

    def running_since(self, task: Task, now: float) -> float | None:
        """None: it was not seen to run."""
        if task.id in self._running:
            return self._running[task.id]
        if task.status.started_at:
            return min(max(task.status.started_at, task.created_at), now)
        if task.status.state == TaskState.RUNNING:
            return min(max(task.status.timestamp, task.created_at), now)
        return None

    def ended_at(self, task: Task, now: float) -> float:
        return self._ended.get(task.id, min(max(task.status.timestamp, task.created_at), now))


def over(task: Task) -> bool:
    """Nothing of it runs, or ever will."""
    state = task.status.state
    return state.ended or (state < TaskState.ASSIGNED and task.desired > TaskState.RUNNING)


def live(task: Task) -> bool:
    """It runs or is on its way there, and shall."""
    return task.desired <= TaskState.RUNNING and not task.status.state.ended


def down(node: Node | None) -> bool:
    """Nothing is heard of it: what runs there cannot be waited for."""
    return node is None or node.status.state == "down"


@dataclass(slots=True)
class ServicePlan:
    """Under construction; the planners call the verbs."""

    service: Service
    cluster: Cluster | None
    nodes: Mapping[str, Node]
    now: float
    observed: Observed
    created: list[Task] = field(default_factory=list)
    changes: dict[str, Task] = field(default_factory=dict)
    steps: list[PlannedChange] = field(default_factory=list)
    new_service: Service | None = None
    wake_at: float | None = None
    """Look again then, if nothing happens before."""
    _outdated: dict[str, bool] = field(default_factory=dict)

    # -- questions

    def outdated(self, task: Task) -> bool:
        known = self._outdated.get(task.id)
        if known is None:
            known = is_outdated(self.service, task, self.nodes.get(task.node_id))
            self._outdated[task.id] = known
        return known

    def lost(self, task: Task) -> str:
        """Why a live task cannot stay where it is; empty: it can."""
        if not task.node_id:
            return ""
        node = self.nodes.get(task.node_id)
        if node is None:
            return "its node has left the cluster"
        if node.status.state == "down":
            return "its node is down"
        if node.spec.availability == "drain":
            return "its node is drained"
        if not fulfils(node, task.spec.placement):
            return "its node no longer meets its constraints"
        return ""

    def in_the_way(self, task: Task) -> bool:
        """A task that shall stop has not yet, and can be waited for."""
        if over(task) or task.desired <= TaskState.RUNNING or down(self.nodes.get(task.node_id)):
            return False
        container = task.spec.container_spec
        grace = container.stop_grace_period if container is not None else None
        patience = (grace / 1e9 if grace is not None else DEFAULT_GRACE_S) + STOP_SLACK_S
        until = task.updated_at + patience if task.id not in self.changes else self.now + patience
        if until <= self.now:
            return False
        self.wake(until)
        return True

    # -- verbs

    def wake(self, at: float) -> None:
        self.wake_at = at if self.wake_at is None else min(at, self.wake_at)

    def change(self, task: Task, verb: str, why: str) -> Task:
        self.changes[task.id] = task
        self.steps.append(PlannedChange(verb, task.id, why))
        return task

    def stop(self, task: Task, why: str, *, desired: TaskState = TaskState.SHUTDOWN) -> Task:
        """Ask ``task`` to stop; one that no node has been given is over at once."""
        if task.desired >= desired:
            return task
        status = task.status
        if status.state < TaskState.ASSIGNED:
            status = TaskStatus(state=TaskState.SHUTDOWN, timestamp=self.now, message="shutdown")
        verb = "remove" if desired == TaskState.REMOVE else "stop"
        return self.change(replace(task, desired=desired, status=status), verb, why)

    def remove(self, task: Task, why: str) -> Task:
        """Ask ``task`` to stop and be forgotten."""
        return self.stop(task, why, desired=TaskState.REMOVE)

    def start(self, task: Task, why: str) -> Task:
        """Let a task that was held in READY run."""
        return self.change(replace(task, desired=TaskState.RUNNING), "start", why)

    def create_task(
        self,
        why: str,
        *,
        slot: int = 0,
        node_id: str = "",
        wait: bool = False,
        replaces: Task | None = None,
        delay_s: float = 0.0,
        restarts: tuple[float, ...] = (),
    ) -> Task:
        """A new task.

        Args:
            wait: it may get ready, but not run yet: for whom it replaces to end, for ``delay_s``.
        """
        held = wait or delay_s > 0
        task = new_task(
            self.service,
            self.cluster,
            self.now,
            slot=slot,
            node_id=node_id,
            desired=TaskState.READY if held else TaskState.RUNNING,
            restart_of=replaces.id if replaces is not None else "",
            start_after=self.now + delay_s if delay_s > 0 else 0.0,
            restarts=restarts,
        )
        if delay_s > 0:
            self.wake(task.start_after)
        self.created.append(task)
        self.steps.append(PlannedChange("create", task.id, why))
        return task
