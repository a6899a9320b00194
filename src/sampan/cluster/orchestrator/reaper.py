"""The loop that forgets tasks, and gives up those that nobody will tell the end of.

It deletes tasks, and writes the state ORPHANED. The key is a service (or ``-``: the tasks of none).
Nobody waits for it, so it lets marks come together for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from msgspec.structs import replace

from sampan.cluster.contract import Draft
from sampan.cluster.loop import Loop
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


@dataclass(slots=True)
class Harvest:
    delete: list[Task] = field(default_factory=list)
    orphan: list[tuple[Task, str]] = field(default_factory=list)
    wake_at: float | None = None


def harvest(
    service: Service | None,
    tasks: Iterable[Task],
    nodes: Mapping[str, Node],
    limit: int,
    now: float,
) -> Harvest:
    """What is to be done with the tasks of one service (None: it is gone, or they have none). Pure.

    Args:
        limit: tasks kept for each place, the one that lives included; negative: all.
    """
    found = Harvest()
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


def _lost(task: Task, nodes: Mapping[str, Node], now: float, found: Harvest) -> str:
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


class Reaper(Loop):
    name: ClassVar[str] = "reaper"
    kinds: ClassVar[tuple[str, ...]] = ("service", "task", "node", "cluster")
    settle_s: ClassVar[float] = SETTLE_S

    def everything(self) -> Iterable[str]:
        return {task.service_id or NO_SERVICE for task in self.state.tasks.values()}

    def touched(self, change: Change) -> Iterable[str]:
        after = change.after
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
                return self.everything() if _limit_changed(change) else ()

    async def act(self, keys: frozenset[str]) -> None:
        now = self.term.clock.now()
        # all in one: hundreds of services may end at once, and nobody waits for any of them
        wakes = await self.term.update(lambda draft: self._write(draft, keys, now))
        for key, at in wakes.items():
            self.later(key, at - now)

    def _write(self, draft: Draft, keys: frozenset[str], now: float) -> dict[str, float]:
        state = draft.state
        wakes: dict[str, float] = {}
        written = 0
        for key in keys:
            service = state.services.get(key)
            found = harvest(service, _tasks_of(state, key), state.nodes, _limit(state), now)
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


def _tasks_of(state: State, key: str) -> list[Task]:
    if key == NO_SERVICE:
        return [task for task in state.tasks.values() if not task.service_id]
    return list(state.tasks_of(key).values())


def _limit(state: State) -> int:
    cluster = state.cluster
    limit = cluster.spec.orchestration.task_history_retention_limit if cluster else None
    return DEFAULT_HISTORY if limit is None else limit


def _limit_changed(change: Change) -> bool:
    if change.before is None or change.after is None:
        return True
    before, after = change.before.spec.orchestration, change.after.spec.orchestration
    return bool(before != after)
