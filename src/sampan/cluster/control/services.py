"""Services: create, update, roll back, remove, count."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from msgspec import structs

from sampan.cluster.contract import Draft
from sampan.cluster.control import normalize
from sampan.cluster.control.ports import check_ports
from sampan.cluster.control.references import LocalNetworks, no_local_networks, resolve
from sampan.cluster.control.validate import check_service, mode_name
from sampan.cluster.errors import Exists, NotDone, Precondition
from sampan.cluster.find import at_version, find
from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.model import State
from sampan.cluster.records import JobStatus, Service, Task, UpdateStatus, new_id
from sampan.cluster.spec import ServiceSpec
from sampan.cluster.states import TaskState

_LEFT = ("brisk", "calm", "clever", "eager", "fair", "gentle", "keen", "merry", "quiet", "sturdy")
_RIGHT = ("anchor", "barge", "beacon", "compass", "harbor", "junk", "ketch", "mast", "oar", "tide")


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of ``service ls``."""

    running: int
    desired: int
    completed: int


async def create(
    parts: ManagerParts,
    spec: ServiceSpec,
    *,
    now: float,
    auth: str = "",
    local: LocalNetworks = no_local_networks,
) -> Service:
    """A new service. ``auth`` is the client's ``X-Registry-Auth``; it is only stored sealed.

    Raises:
        Refused, NotDone, Exists, NoSuchObject, LocalNetwork, Precondition, NoQuorum.
    """
    id = new_id()
    if not spec.name:
        spec = structs.replace(spec, name=_random_name(id))
    spec = normalize.service(spec)
    check_service(spec)
    sealed = _sealed(parts, auth, id)

    def draft(draft: Draft) -> str:
        if draft.state.id_of("service", spec.name) is not None:
            raise Exists(
                f"name conflicts with an existing object: service {spec.name} already exists"
            )
        resolved = resolve(draft, spec, local)
        check_ports(draft, resolved, id)
        job = JobStatus(last_execution=now) if resolved.mode.is_job else None
        draft.put(Service(id=id, spec=resolved, spec_version=1, sealed_auth=sealed, job_status=job))
        return id

    return find(parts.store.state, Service, await parts.store.update(draft))


async def update(
    parts: ManagerParts,
    ref: str,
    version: int,
    spec: ServiceSpec,
    *,
    now: float,
    auth: str = "",
    local: LocalNetworks = no_local_networks,
) -> None:
    """Replace the specification by ``spec``. Without ``auth``, the credentials stay as they are.

    Raises:
        NoSuchObject, OutOfSequence, and as ``create``.
    """
    spec = normalize.service(spec)
    check_service(spec)

    def draft(draft: Draft) -> None:
        service = find(draft.state, Service, ref)
        at_version(draft.state, service, version)
        if spec.name != service.name:
            raise NotDone("renaming services is not supported")
        if mode_name(spec.mode) != mode_name(service.spec.mode):
            raise NotDone("service mode change is not allowed")
        resolved = resolve(draft, spec, local)
        if resolved.endpoint_spec != service.spec.endpoint_spec:
            check_ports(draft, resolved, service.id)
        draft.put(
            structs.replace(
                service,
                spec=resolved,
                spec_version=service.spec_version + 1,
                edits=service.edits + 1,
                previous_spec=service.spec,
                update_status=None,
                job_status=_next_run(service, resolved, now),
                sealed_auth=_sealed(parts, auth, service.id) or service.sealed_auth,
            )
        )

    await parts.store.update(draft)


async def rollback(
    parts: ManagerParts, ref: str, version: int, *, now: float, local: LocalNetworks
) -> None:
    """Back to the specification before the last update; that of now becomes the one before.

    Raises:
        NoSuchObject, OutOfSequence, Precondition (there is none), NotDone (a job).
    """

    def draft(draft: Draft) -> None:
        service = find(draft.state, Service, ref)
        at_version(draft.state, service, version)
        if service.spec.mode.is_job:
            raise NotDone("a job cannot be rolled back: what has run has run")
        previous = service.previous_spec
        if previous is None:
            raise Precondition(f"service {service.id} does not have a previous spec")
        # Its secrets and networks may have been removed since, its ports been taken.
        resolved = resolve(draft, previous, local)
        if resolved.endpoint_spec != service.spec.endpoint_spec:
            check_ports(draft, resolved, service.id)
        status = UpdateStatus(
            state="rollback_started", started_at=now, message="manually requested rollback"
        )
        draft.put(
            structs.replace(
                service,
                spec=resolved,
                spec_version=service.spec_version + 1,
                edits=service.edits + 1,
                previous_spec=service.spec,
                update_status=status,
            )
        )

    await parts.store.update(draft)


async def remove(parts: ManagerParts, ref: str) -> None:
    """Remove the service; an orchestrator ends its tasks.

    Raises:
        NoSuchObject.
    """

    def draft(draft: Draft) -> None:
        draft.delete(find(draft.state, Service, ref))

    await parts.store.update(draft)


def counts(state: State, service: Service) -> Counts:
    """How many tasks run, should, and (of a job) are done."""
    tasks = list(state.tasks_of(service.id).values())
    mode = service.spec.mode
    if service.spec.mode.is_job:
        iteration = service.job_status.iteration if service.job_status is not None else 0
        tasks = [task for task in tasks if (task.job_iteration or 0) == iteration]
    running = [
        task
        for task in tasks
        if task.status.state == TaskState.RUNNING
        and task.desired <= TaskState.COMPLETE
        and _on_live_node(state, task)
    ]
    completed = [task for task in tasks if task.status.state == TaskState.COMPLETE]
    if mode.replicated_job is not None:
        # Not what is left of it: clients show "so many at once" also when all is done.
        at_once = mode.replicated_job.max_concurrent or 0
        return Counts(len(running), at_once, len(completed))
    if mode.global_job is not None:
        wanted = [t for t in tasks if t.desired <= TaskState.COMPLETE]
        return Counts(len(running), len(wanted) - len(completed), len(completed))
    if mode.global_ is not None:
        return Counts(len(running), _wanted(tasks), 0)
    replicas = mode.replicated.replicas if mode.replicated is not None else 0
    return Counts(len(running), replicas or 0, 0)


def _wanted(tasks: Iterable[Task]) -> int:
    nodes = {task.node_id for task in tasks if task.desired <= TaskState.RUNNING}
    return len(nodes)


def _on_live_node(state: State, task: Task) -> bool:
    node = state.nodes.get(task.node_id)
    return node is not None and node.status.state != "down"


def up_to_date(service: Service, task: Task) -> bool:
    """The task is as the service's specification says now."""
    if service.spec.mode.is_job:
        iteration = service.job_status.iteration if service.job_status is not None else 0
        return (task.job_iteration or 0) == iteration
    return task.spec_version == service.spec_version or task.spec == service.spec.task_template


def _next_run(service: Service, spec: ServiceSpec, now: float) -> JobStatus | None:
    """A job runs again when what it runs has changed, or when it is forced to."""
    job = service.job_status
    if not spec.mode.is_job or (
        job is not None and spec.task_template == service.spec.task_template
    ):
        return job
    return JobStatus(iteration=(job.iteration + 1 if job is not None else 0), last_execution=now)


def _sealed(parts: ManagerParts, auth: str, service_id: str) -> bytes:
    return parts.sealing.seal(auth.encode(), about=service_id) if auth else b""


def _random_name(id: str) -> str:
    """Of a service that was given none: words, and enough of its id to be the only one."""
    chosen = random.Random(id)
    return f"{chosen.choice(_LEFT)}_{chosen.choice(_RIGHT)}_{id[:5]}"
