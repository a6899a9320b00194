"""The loop that forgets tasks, and gives up those that nobody will tell the end of.

It deletes tasks, and writes the state ORPHANED. The key is a service (or ``-``: the tasks of none).
Nobody waits for it, so it lets marks come together for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from msgspec.structs import replace

from sampan.aio import breathe
from sampan.cluster.contract import Draft
from sampan.cluster.loop import Loop, Term, sliced
from sampan.cluster.model import Change, State
from sampan.cluster.orchestrator.plan import over
from sampan.cluster.records import Node, Service, Task, TaskStatus
from sampan.cluster.states import TaskState

SETTLE_S = 0.25
DEFAULT_HISTORY = 5
ORPHANED_AFTER_S = 24 * 3600.0
"""A node that has been down so long is believed never to report again."""
NO_SERVICE = "-"
AT_MOST = 4000
LOOKED_AT = 2000
"""Tasks of several services in one turn of the event loop: some milliseconds."""


@dataclass(slots=True)
class ExpiredTasks:
    delete: list[Task] = field(default_factory=list)
    orphan: list[tuple[Task, str]] = field(default_factory=list)
    wake_at: float | None = None


def expired_tasks(
    service: Service | None,
    tasks: Iterable[Task],
    nodes: Mapping[str, Node],
    limit: int,
    now: float,
) -> ExpiredTasks:
    """What is to be done with the tasks of one service (None: it is gone, or they have none). Pure.

    Args:
        limit: tasks kept for each place, the one that lives included; negative: all.
    """
    found = ExpiredTasks()
    places: dict[object, list[Task]] = {}
    for task in tasks:
        if not over(task) and (why := _lost(task, nodes, now, found)):
            found.orphan.append((task, why))
        elif task.desired >= TaskState.REMOVE or not task.service_id:
            if over(task):
                found.delete.append(task)
        elif service is not None:
            key = task.node_id if service.spec.mode.is_global else task.slot
            places.setdefault(key, []).append(task)
    if service is None or limit < 0:
        return found
    status = service.update_status
    since = status.started_at if status is not None and not status.completed_at else now
    for place in places.values():
        surplus = len(place) - max(limit, 1)
        if surplus <= 0:
            continue
        place.sort(key=lambda task: task.created_at)
        # the youngest says what became of the place
        for task in place[:-1]:
            if surplus <= 0:
                break
            done = over(task) and task.desired > TaskState.RUNNING
            if done and not _is_try(task, service, since):
                found.delete.append(task)
                surplus -= 1
    return found


def _is_try(task: Task, service: Service, since: float) -> bool:
    """What a rollout under way remembers its progress and its failures by."""
    return (
        task.spec_version == service.spec_version
        and not task.restart_of
        and task.created_at >= since
    )


def _lost(task: Task, nodes: Mapping[str, Node], now: float, found: ExpiredTasks) -> str:
    if not task.node_id or task.status.state < TaskState.ASSIGNED:
        return ""
    node = nodes.get(task.node_id)
    if node is None:
        return "its node has left the cluster"
    if node.status.state == "down":
        at = node.status.since + ORPHANED_AFTER_S
        if at <= now:
            return "its node has been down for a day"
        found.wake_at = at if found.wake_at is None else min(at, found.wake_at)
    return ""


class TaskReaper(Loop):
    name: ClassVar[str] = "reaper"
    kinds: ClassVar[tuple[str, ...]] = ("service", "task", "node", "cluster")
    settle_s: ClassVar[float] = SETTLE_S

    def __init__(self, term: Term) -> None:
        super().__init__(term)
        self._loose: set[str] = set()
        """Ids of the tasks of no service."""

    def everything(self) -> Iterator[Iterable[str]]:
        tasks = self.state.every_task()
        self._loose = set()
        for some in sliced(tasks):
            self._loose.update(task.id for task in some if not task.service_id)
            yield {task.service_id or NO_SERVICE for task in some}

    def touched(self, change: Change) -> Iterable[str]:
        after = change.after
        if change.kind == "task":
            if after is None:
                self._loose.discard(change.id)
            elif not after.service_id:
                self._loose.add(change.id)
        match change.kind:
            case "task":
                # the end of a task, or a new one that makes the history of its place longer
                if after is None or not (change.before is None or over(after)):
                    return ()
                return (after.service_id or NO_SERVICE,)
            case "service":
                return (change.id,)
            case "node":
                if after is not None and after.status.state != "down":
                    return ()
                on = self.state.tasks_on(change.id).values()
                return {task.service_id or NO_SERVICE for task in on}
            case _:
                return self.state.services if _limit_changed(change) else ()

    async def act(self, keys: frozenset[str]) -> None:
        now = self.term.clock.now()
        # many in one: hundreds of services may end at once, and nobody waits for any of them
        for some in self._together(keys):
            wakes = await self.term.update(partial(self._write, keys=some, now=now))
            for key, at in wakes.items():
                self.later(key, at - now)
            await breathe()

    def _together(self, keys: Iterable[str]) -> Iterator[list[str]]:
        """The keys of one transaction: with as many tasks as may be looked at in one turn."""
        some: list[str] = []
        tasks = 0
        for key in keys:
            some.append(key)
            tasks += len(self._loose) if key == NO_SERVICE else len(self.state.tasks_of(key))
            if tasks >= LOOKED_AT:
                yield some
                some, tasks = [], 0
        if some:
            yield some

    def _write(self, draft: Draft, keys: Sequence[str], now: float) -> dict[str, float]:
        state = draft.state
        wakes: dict[str, float] = {}
        written = 0
        for key in keys:
            service = state.services.get(key)
            found = expired_tasks(
                service, self._tasks_of(state, key), state.nodes, _limit(state), now
            )
            for task in found.delete:
                draft.delete(task)
            for task, why in found.orphan:
                status = TaskStatus(
                    state=TaskState.ORPHANED,
                    timestamp=now,
                    message="orphaned",
                    err=why,
                    container_id=task.status.container_id,
                )
                draft.put(replace(task, status=status))
            written += len(found.delete) + len(found.orphan)
            if found.wake_at is not None:
                wakes[key] = found.wake_at
            if written >= AT_MOST:
                wakes.update(dict.fromkeys(keys, now))
                break
        return wakes

    def _tasks_of(self, state: State, key: str) -> Iterable[Task]:
        if key == NO_SERVICE:
            return [task for id in self._loose if (task := state.tasks.get(id)) is not None]
        return state.tasks_of(key).values()


def _limit(state: State) -> int:
    cluster = state.cluster
    limit = cluster.spec.orchestration.task_history_retention_limit if cluster else None
    return DEFAULT_HISTORY if limit is None else limit


def _limit_changed(change: Change) -> bool:
    if change.before is None or change.after is None:
        return True
    before, after = change.before.spec.orchestration, change.after.spec.orchestration
    return bool(before != after)
