"""The loop that makes tasks, asks them to stop, restarts and rolls services over.

It writes: a new task and its desired state (of one that no node has been given also its end);
a service's ``update_status``, and its ``spec`` when it rolls back. The key is a service: one plan,
one transaction. Births, restarts and rollouts are one loop, because each is a reason to leave the
others alone: as three they would have to watch each other's intentions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import ClassVar

import msgspec

from sampan.cluster.contract import Draft
from sampan.cluster.loop import Loop, Term, sliced
from sampan.cluster.model import Change
from sampan.cluster.orchestrator.jobs import plan_global_job, plan_replicated_job
from sampan.cluster.orchestrator.plan import Observed, Planner, ServicePlan
from sampan.cluster.orchestrator.services import plan_global, plan_replicated
from sampan.cluster.records import Node, Service, Task
from sampan.cluster.spec import ServiceMode
from sampan.cluster.states import TaskState

log = logging.getLogger(__name__)

AT_MOST = 4000
"""Writes in one transaction; what is over goes into the next pass."""


def planner_of(mode: ServiceMode) -> Planner:
    if mode.replicated_job is not None:
        return plan_replicated_job
    if mode.global_job is not None:
        return plan_global_job
    if mode.global_ is not None:
        return plan_global
    return plan_replicated


class Orchestrator(Loop):
    name: ClassVar[str] = "orchestrator"
    kinds: ClassVar[tuple[str, ...]] = ("service", "task", "node")

    def __init__(self, term: Term) -> None:
        super().__init__(term)
        self.observed = Observed()

    def everything(self) -> Iterator[Iterable[str]]:
        tasks = tuple(self.state.tasks.values())
        yield self.state.services
        for some in sliced(tasks):  # those of services that are gone
            yield {task.service_id for task in some if task.service_id}

    def touched(self, change: Change) -> Iterable[str]:
        before, after = change.before, change.after
        if change.kind == "service":
            if before is not None and after is not None and _only_allocated(before, after):
                return ()
            return (change.id,)
        if change.kind == "task":
            return self._of_task(before, after)
        return self._of_node(before, after)

    def _of_task(self, before: Task | None, after: Task | None) -> Iterable[str]:
        if after is None:
            assert before is not None
            self.observed.forget(before.id)
            return (before.service_id,) if before.service_id else ()
        self.observed.note(before, after, self.term.clock.now())
        # on its way to RUNNING a task is its node's business alone
        reached = before is None or before.status.state != after.status.state
        if after.service_id and reached and after.status.state >= TaskState.RUNNING:
            return (after.service_id,)
        return ()

    def _of_node(self, before: Node | None, after: Node | None) -> Iterable[str]:
        if before is not None and after is not None and not _moves_tasks(before, after):
            return ()
        node = after or before
        assert node is not None
        keys = {task.service_id for task in self.state.tasks_on(node.id).values()}
        keys |= {s.id for s in self.state.services.values() if s.spec.mode.is_global}
        keys.discard("")
        return keys

    async def act(self, keys: frozenset[str]) -> None:
        await self.each(keys, self._one)

    async def _one(self, service_id: str) -> float | None:
        def write(draft: Draft) -> ServicePlan | None:
            service = draft.get(Service, service_id)
            tasks = list(draft.state.tasks_of(service_id).values())
            plan = self._plan(draft, service, tasks)
            if plan is None:
                return None
            writes = [*plan.changes.values(), *plan.created]
            for task in writes[:AT_MOST]:
                draft.put(task)
            if plan.new_service is not None:
                draft.put(plan.new_service)
            if len(writes) > AT_MOST:
                plan.wake(plan.now)
            return plan

        plan = await self.term.update(write)
        if plan is None:
            return None
        for step in plan.steps:
            log.debug("%s", step)
        return None if plan.wake_at is None else max(0.0, plan.wake_at - self.term.clock.now())

    def _plan(self, draft: Draft, service: Service | None, tasks: list[Task]) -> ServicePlan | None:
        now = self.term.clock.now()
        if service is None:
            if not tasks:
                return None
            plan = ServicePlan(Service(id=tasks[0].service_id), None, {}, now, self.observed)
            for task in tasks:
                plan.remove(task, "its service has been removed")
            return plan
        state = draft.state
        plan = ServicePlan(service, state.cluster, state.nodes, now, self.observed)
        planner_of(service.spec.mode)(plan, tasks)
        return plan


def _only_allocated(before: Service, after: Service) -> bool:
    """The allocator has been there, and nobody else."""
    return (
        msgspec.structs.replace(
            after,
            endpoint=before.endpoint,
            allocated_spec_version=before.allocated_spec_version,
            version=before.version,
            updated_at=before.updated_at,
        )
        == before
    )


def _moves_tasks(before: Node, after: Node) -> bool:
    """Tasks may have to leave the node, or may come to it."""
    return (
        before.spec != after.spec
        or before.role != after.role
        or (before.status.state == "down") != (after.status.state == "down")
        or before.status.address != after.status.address
        or before.description.hostname != after.description.hostname
        or before.description.platform != after.description.platform
        or before.description.engine_labels != after.description.engine_labels
    )
