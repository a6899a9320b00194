"""The loop that makes tasks, asks them to stop, restarts and rolls services over.

It writes: a new task and its desired state (of one that no node has been given also its end);
a service's ``update_status``, and its ``spec`` when it rolls back. The key is a service; a plan
looks at those of its places that are marked, so many in one transaction. New tasks, restarts and
rollouts are one loop, because each is a reason to leave the others alone: as three they would have
to watch each other's intentions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import msgspec

from sampan.cluster.contract import Draft
from sampan.cluster.loop import Loop, Term, sliced
from sampan.cluster.model import Change
from sampan.cluster.orchestrator.jobs import plan_job
from sampan.cluster.orchestrator.places import PlaceIndex, ServicePlaces
from sampan.cluster.orchestrator.plan import Observed, ServicePlan
from sampan.cluster.orchestrator.services import PlacesPlan, plan_service
from sampan.cluster.records import Node, Service, Task
from sampan.cluster.states import TaskState

log = logging.getLogger(__name__)

AT_MOST = 500
"""Tasks of a service that is gone in one transaction; what is over goes into the next pass."""


@dataclass(frozen=True, slots=True)
class Written:
    """What one transaction was about."""

    plan: ServicePlan
    places: ServicePlaces | None
    """None: the service is gone."""
    looked_at: PlacesPlan

    @property
    def wake_at(self) -> float | None:
        """When there is something to do again, if nothing happens before."""
        if self.looked_at.more:
            return self.plan.now
        alarms = (self.plan.wake_at, self.places.next_wake() if self.places is not None else None)
        return min((at for at in alarms if at is not None), default=None)


class Orchestrator(Loop):
    name: ClassVar[str] = "orchestrator"
    kinds: ClassVar[tuple[str, ...]] = ("service", "task", "node")

    def __init__(self, term: Term) -> None:
        super().__init__(term)
        self.observed = Observed()
        self.index = PlaceIndex()

    def everything(self) -> Iterator[Iterable[str]]:
        tasks = self.state.every_task()
        self.index = PlaceIndex()
        for service in self.state.services.values():
            self.index.begin_service(service)
        yield self.state.services
        for some in sliced(tasks):
            for task in some:
                self.index.put_task(task.service_id, task.id, task)
            # those of services that are gone
            yield {task.service_id for task in some if task.service_id}
        for service_id in list(self.index.on_nodes):
            self.index.mark_all(service_id, self.state)

    def touched(self, change: Change) -> Iterable[str]:
        before, after = change.before, change.after
        if change.kind == "service":
            return self._of_service(change.id, before, after)
        if change.kind == "task":
            return self._of_task(before, after)
        return self._of_node(before, after)

    def _of_service(self, id: str, before: Service | None, after: Service | None) -> Iterable[str]:
        if after is None:
            self.index.drop_service(id)
            return (id,)
        self.index.put_service(after, self.state)
        if before is not None and _only_allocated(before, after):
            return ()
        self.index.mark_all(id, self.state)
        return (id,)

    def _of_task(self, before: Task | None, after: Task | None) -> Iterable[str]:
        if after is None:
            assert before is not None
            self.observed.forget(before.id)
            self.index.put_task(before.service_id, before.id, None)
            return (before.service_id,) if before.service_id else ()
        self.observed.note(before, after, self.term.clock.now())
        self.index.put_task(after.service_id, after.id, after)
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
        keys = self.index.put_node(node.id, self.state.tasks_on(node.id).values())
        keys.discard("")
        return keys

    async def act(self, keys: frozenset[str]) -> None:
        await self.each(keys, self._one)

    async def _one(self, service_id: str) -> float | None:
        written = await self.term.update(lambda draft: self._write(draft, service_id))
        if written.places is not None:
            written.places.looked_at(written.looked_at.marks)
        for step in written.plan.steps:
            log.debug("%s", step)
        at = written.wake_at
        return None if at is None else max(0.0, at - self.term.clock.now())

    def _write(self, draft: Draft, service_id: str) -> Written:
        self.catch_up()
        now, state = self.term.clock.now(), draft.state
        service = draft.get(Service, service_id)
        if service is None:
            plan = ServicePlan(Service(id=service_id), None, {}, now, self.observed)
            tasks = state.tasks_of(service_id).values()
            left = (task for task in tasks if task.desired < TaskState.REMOVE)
            for task in islice(left, AT_MOST):
                plan.remove(task, "its service has been removed")
            written = Written(plan, None, PlacesPlan(more=next(left, None) is not None))
        else:
            plan = ServicePlan(service, state.cluster, state.nodes, now, self.observed)
            places = self.index.services[service_id]
            plan_places = plan_job if service.spec.mode.is_job else plan_service
            looked_at = plan_places(plan, places)
            self.index.looked_at += len(looked_at.marks)
            written = Written(plan, places, looked_at)
        for task in (*plan.changes.values(), *plan.created):
            draft.put(task)
        if plan.new_service is not None:
            draft.put(plan.new_service)
        return written


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
