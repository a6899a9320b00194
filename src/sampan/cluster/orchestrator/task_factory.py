"""Making tasks of services, and telling whether a task is still what its service asks for. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from sampan.cluster.placement import fulfils
from sampan.cluster.records import Cluster, Node, Service, Task, TaskStatus, new_id
from sampan.cluster.spec import EndpointSpec, PortConfig, TaskSpec
from sampan.cluster.states import TaskState


def task_spec(service: Service) -> TaskSpec:
    """What the service's tasks are made from; old clients name networks at the service."""
    template = service.spec.task_template
    if template.networks or not service.spec.networks:
        return template
    return replace(template, networks=service.spec.networks)


def new_task(
    service: Service,
    cluster: Cluster | None,
    now: float,
    *,
    slot: int = 0,
    node_id: str = "",
    desired: TaskState = TaskState.RUNNING,
    restart_of: str = "",
    start_after: float = 0.0,
    restarts: tuple[float, ...] = (),
) -> Task:
    spec = task_spec(service)
    if spec.log_driver is None and cluster is not None:
        spec = replace(spec, log_driver=cluster.spec.task_defaults.log_driver)
    job = service.job_status.iteration if service.job_status is not None else 0
    return Task(
        id=new_id(),
        service_id=service.id,
        service_name=service.name,
        service_labels=service.spec.labels,
        slot=slot,
        node_id=node_id,
        spec=spec,
        spec_version=service.spec_version,
        endpoint=service.spec.endpoint_spec or EndpointSpec(),
        desired=desired,
        status=TaskStatus(state=TaskState.NEW, timestamp=now, message="created"),
        job_iteration=job if service.spec.mode.is_job else None,
        restart_of=restart_of,
        start_after=start_after,
        restarts=restarts,
    )


def is_outdated(service: Service, task: Task, node: Node | None) -> bool:
    """Whether a rollout has to replace the task.

    Specifications are compared, not versions: a new label or number of replicas restarts nothing.
    Of a change in nothing but the placement, a task whose node still fits takes no notice.
    """
    if task.spec_version == service.spec_version:
        return False
    wanted, had = task_spec(service), task.spec
    if wanted.log_driver is None:
        had = replace(had, log_driver=None)  # it was the cluster's default
    if wanted != had:
        moved = replace(had, placement=wanted.placement)
        if wanted != moved or node is None or not fulfils(node, wanted.placement):
            return True
        if wanted.placement is not None and wanted.placement.max_replicas:
            return True
    return not _same_endpoint(service.spec.endpoint_spec or EndpointSpec(), task.endpoint)


def _same_endpoint(wanted: EndpointSpec, had: EndpointSpec) -> bool:
    """``had`` knows the published numbers that ``wanted`` may leave open."""
    if (wanted.mode or "vip") != (had.mode or "vip") or len(wanted.ports) != len(had.ports):
        return False
    return all(_same_port(one, other) for one, other in zip(wanted.ports, had.ports, strict=True))


def _same_port(wanted: PortConfig, had: PortConfig) -> bool:
    return (
        wanted.name == had.name
        and (wanted.protocol or "tcp") == (had.protocol or "tcp")
        and wanted.target_port == had.target_port
        and (wanted.publish_mode or "ingress") == (had.publish_mode or "ingress")
        and wanted.published_port in (0, had.published_port)
    )
