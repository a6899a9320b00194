"""The loop that gives tasks their nodes.

It writes: a task's ``node_id``, ``generic_resources`` and its step from PENDING to ASSIGNED; while
there is no node for it, why. A plan is made in memory for all that is pending, then committed; a
task or node that has changed since is left out of the commit and planned anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import ClassVar

from msgspec.structs import replace

from sampan.cluster.allocator.ledger import holds_addresses
from sampan.cluster.contract import Draft
from sampan.cluster.loop import Loop, Term
from sampan.cluster.model import Change
from sampan.cluster.records import Node, Task, TaskStatus
from sampan.cluster.scheduler.plan import Placed, Unplaced, plan
from sampan.cluster.scheduler.ranking import FAILURES_WITHIN_S
from sampan.cluster.scheduler.room import rooms_of
from sampan.cluster.states import TaskState

AT_MOST = 2000
"""Decisions in one transaction."""


class Failures:
    """Where services' tasks have failed lately."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], deque[float]] = {}

    def note(self, task: Task, at: float) -> None:
        if task.status.state in (TaskState.FAILED, TaskState.REJECTED) and task.node_id:
            times = self._times.setdefault((task.service_id, task.node_id), deque(maxlen=64))
            times.append(at)

    def lately(self, service_id: str, node_id: str, now: float) -> int:
        times = self._times.get((service_id, node_id))
        if times is None:
            return 0
        while times and times[0] < now - FAILURES_WITHIN_S:
            times.popleft()
        if not times:
            del self._times[service_id, node_id]
        return len(times)

    def forget(self, service_id: str) -> None:
        for key in [key for key in self._times if key[0] == service_id]:
            del self._times[key]


class Scheduler(Loop):
    name: ClassVar[str] = "scheduler"
    kinds: ClassVar[tuple[str, ...]] = ("task", "node", "service")

    def __init__(self, term: Term) -> None:
        super().__init__(term)
        self._failed = Failures()
        self._waiting: set[str] = set()
        """Tasks that no node could take: looked at again when a node changes or has more room."""

    def everything(self) -> Iterable[str]:
        self._failed = Failures()
        for task in self.state.tasks.values():
            self._failed.note(task, task.status.timestamp)
            if _pending(task):
                yield task.id

    def touched(self, change: Change) -> Iterable[str]:
        before, after = change.before, change.after
        if change.kind == "service":
            if after is None:
                self._failed.forget(change.id)
            return ()
        if change.kind == "task":
            if after is not None:
                if _pending(after):
                    news = before is None or not _pending(before) or before.spec != after.spec
                    return (after.id,) if news else ()
                if before is not None and before.status.state != after.status.state:
                    self._failed.note(after, self.term.clock.now())
            frees = before is not None and (
                after is None
                or (holds_addresses(before) and not holds_addresses(after))
                or (before.desired <= TaskState.RUNNING < after.desired)
            )
            return self._again() if frees else ()
        return self._again() if _matters(before, after) else ()

    def _again(self) -> set[str]:
        waiting, self._waiting = self._waiting, set()
        return waiting

    async def act(self, keys: frozenset[str]) -> None:
        state = self.state
        now = self.term.clock.now()
        tasks = [
            task for id in keys if (task := state.tasks.get(id)) is not None and _pending(task)
        ]
        if not tasks:
            return
        tasks.sort(key=lambda task: (task.created_at, task.slot, task.id))
        placed, unplaced = plan(
            tasks,
            rooms_of(state),
            state.networks,
            lambda service, node: self._failed.lately(service, node, now),
        )
        self._waiting.update(one.task.id for one in unplaced)
        for start in range(0, len(placed), AT_MOST):
            await self._commit(placed[start : start + AT_MOST])
        news = [one for one in unplaced if one.task.status.err != one.why]
        for start in range(0, len(news), AT_MOST):
            await self._explain(news[start : start + AT_MOST])

    async def _commit(self, placed: Sequence[Placed]) -> None:
        planned_on = {one.node_id: self.state.nodes.get(one.node_id) for one in placed}

        def write(draft: Draft) -> list[str]:
            stale: list[str] = []
            now = self.term.clock.now()
            same = {
                id: node is not None
                and (current := draft.get(Node, id)) is not None
                and not _matters(node, current)
                for id, node in planned_on.items()
            }
            for one in placed:
                task = draft.get(Task, one.task.id)
                if task is None or not _pending(task):
                    continue
                if task.version != one.task.version or not same[one.node_id]:
                    stale.append(task.id)
                    continue
                message = (
                    "scheduler confirmed task can run on preassigned node"
                    if task.node_id
                    else "scheduler assigned task to node"
                )
                status = TaskStatus(state=TaskState.ASSIGNED, timestamp=now, message=message)
                draft.put(
                    replace(
                        task,
                        node_id=one.node_id,
                        generic_resources=one.generic_resources,
                        status=status,
                    )
                )
            return stale

        self.mark(await self.term.update(write))

    async def _explain(self, unplaced: Sequence[Unplaced]) -> None:
        def write(draft: Draft) -> None:
            now = self.term.clock.now()
            for one in unplaced:
                task = draft.get(Task, one.task.id)
                if task is not None and _pending(task) and task.status.err != one.why:
                    status = replace(task.status, err=one.why, timestamp=now)
                    draft.put(replace(task, status=status))

        await self.term.update(write)


def _pending(task: Task) -> bool:
    return task.status.state == TaskState.PENDING and task.desired <= TaskState.RUNNING


def _matters(before: Node | None, after: Node | None) -> bool:
    """The change of a node may change what fits on it."""
    if before is None or after is None:
        return before is not after
    return (
        before.spec != after.spec
        or before.role != after.role
        or before.status.state != after.status.state
        or before.status.address != after.status.address
        or before.description != after.description
    )
