"""The loop that gives tasks their nodes.

It writes: a task's ``node_id``, ``generic_resources`` and its step from PENDING to ASSIGNED; while
there is no node for it, why. A plan is made in memory for what is pending, the oldest first, then
committed; a task or node that has changed since is left out of the commit and planned anew. What
nodes have left is an index that each change moves on (``nodes.py``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import ClassVar

from msgspec.structs import replace

from sampan.aio import breathe
from sampan.cluster.allocator.ledger import holds_addresses
from sampan.cluster.contract import Draft
from sampan.cluster.loop import Loop, Term, sliced
from sampan.cluster.model import Change
from sampan.cluster.records import Node, Task, TaskStatus
from sampan.cluster.scheduler.filters import Filter, standard
from sampan.cluster.scheduler.node_index import NodeIndex
from sampan.cluster.scheduler.plan import Placed, Unplaced, plan
from sampan.cluster.scheduler.strategies import FAILURES_WITHIN_S, strategy_of
from sampan.cluster.scheduler.wanted import WantedTask
from sampan.cluster.states import TaskState

AT_MOST = 200
"""Tasks in one plan and its transaction: a few milliseconds of the event loop."""


class Failures:
    """Where services' tasks have failed lately."""

    def __init__(self) -> None:
        self._times: dict[str, dict[str, deque[float]]] = {}
        """Service id -> node id -> when."""

    def note(self, task: Task, at: float) -> None:
        if task.status.state in (TaskState.FAILED, TaskState.REJECTED) and task.node_id:
            nodes = self._times.setdefault(task.service_id, {})
            nodes.setdefault(task.node_id, deque(maxlen=64)).append(at)

    def lately(self, service_id: str, now: float) -> dict[str, int]:
        """Node id -> how often."""
        nodes = self._times.get(service_id)
        if nodes is None:
            return {}
        for node_id, times in tuple(nodes.items()):
            while times and times[0] < now - FAILURES_WITHIN_S:
                times.popleft()
            if not times:
                del nodes[node_id]
        if not nodes:
            del self._times[service_id]
        return {node_id: len(times) for node_id, times in nodes.items()}

    def forget(self, service_id: str) -> None:
        self._times.pop(service_id, None)


class Scheduler(Loop):
    name: ClassVar[str] = "scheduler"
    kinds: ClassVar[tuple[str, ...]] = ("task", "node", "service")

    def __init__(self, term: Term, filters: Sequence[Filter] | None = None) -> None:
        super().__init__(term)
        self.nodes = NodeIndex()
        self._filters = standard() if filters is None else filters
        self._failed = Failures()
        self._waiting: set[str] = set()
        """Tasks that no node could take: looked at again when a node changes or has more room."""
        self._refused: set[str] = set()
        """Those of them that no node can take but, perhaps, one of ``_freed``."""
        self._freed: set[str] = set()

    def everything(self) -> Iterator[Iterable[str]]:
        nodes, tasks = tuple(self.state.nodes.values()), self.state.every_task()
        self.nodes, self._failed = NodeIndex(), Failures()
        for records in chain(sliced(nodes), sliced(tasks)):
            for record in records:
                self.nodes.apply(Change(record.kind, record.id, None, record))
                if isinstance(record, Task):
                    self._failed.note(record, record.status.timestamp)
            yield [one.id for one in records if isinstance(one, Task) and _pending(one)]

    def touched(self, change: Change) -> Iterable[str]:
        self.nodes.apply(change)
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
            if not frees or not before.node_id:
                return ()
            self._freed.add(before.node_id)
            return self._again()
        if not _matters(before, after):
            return ()
        self._refused.clear()  # what is said of all nodes is no longer true
        return self._again()

    def _again(self) -> set[str]:
        waiting, self._waiting = self._waiting, set()
        return waiting

    async def act(self, keys: frozenset[str]) -> None:
        tables = self.state.tasks
        tasks = [task for id in keys if (task := tables.get(id)) is not None and _pending(task)]
        tasks.sort(key=lambda task: (task.created_at, task.slot, task.id))
        again = [task.id for task in tasks if task.id in self._refused]
        first = [task.id for task in tasks if task.id not in self._refused]
        freed, self._freed = self._freed, set()
        try:
            for ids in sliced(again, AT_MOST):
                await self._place(ids, freed)
                await breathe()
            for ids in sliced(first, AT_MOST):
                await self._place(ids)
                await breathe()
        except BaseException:
            self._refused.clear()  # nobody knows which were asked of the freed nodes
            raise

    async def _place(self, ids: Sequence[str], only: Collection[str] | None = None) -> None:
        """``only`` on these nodes: on no others they fit."""
        self.catch_up()
        state = self.state
        now = self.term.clock.now()
        placed, unplaced = plan(
            [
                WantedTask(task, state.networks)
                for id in ids
                if (task := state.tasks.get(id)) is not None and _pending(task)
            ],
            self.nodes,
            self._filters,
            lambda one: strategy_of(state.services.get(one.task.service_id)),
            failures=lambda service: self._failed.lately(service, now),
            seed=state.revision,
            only=only,
        )
        self._waiting.update(one.wanted.id for one in unplaced)
        self._refused.difference_update(one.wanted.id for one in placed)
        self._refused.update(one.wanted.id for one in unplaced)
        if placed:
            await self._commit(placed)
        if news := [one for one in unplaced if one.why not in ("", one.wanted.task.status.err)]:
            await self._explain(news)

    async def _commit(self, placed: Sequence[Placed[WantedTask]]) -> None:
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
                task = draft.get(Task, one.wanted.id)
                if task is None or not _pending(task):
                    continue
                if task.version != one.wanted.task.version or not same[one.node_id]:
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
                        placement_reason=one.why,
                        status=status,
                    )
                )
            return stale

        self.mark(await self.term.update(write))

    async def _explain(self, unplaced: Sequence[Unplaced[WantedTask]]) -> None:
        def write(draft: Draft) -> None:
            now = self.term.clock.now()
            for one in unplaced:
                task = draft.get(Task, one.wanted.id)
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
