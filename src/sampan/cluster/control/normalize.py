"""One spelling for each specification: what is stored is compared, and tasks are replaced only
when something was really changed.

Clients read a specification, change a part of it and send it back, and on the way fill in empty
objects and defaults of their own. Without this, ``service update --label-add`` by one client would
replace every task of a service that another one made.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import structs

from sampan.cluster import spec as s

S = TypeVar("S", bound=msgspec.Struct)

HOLLOW: tuple[type[s.Spec], ...] = (
    s.AppArmorOptions,
    s.BindOptions,
    s.DnsConfig,
    s.Driver,
    s.HealthConfig,
    s.Limit,
    s.Placement,
    s.Privileges,
    s.ResourceRequirements,
    s.Resources,
    s.RestartPolicy,
    s.SeccompOptions,
    s.SelinuxContext,
    s.TmpfsOptions,
    s.VolumeOptions,
)
"""Parts that say nothing when they are empty, as if they were not there."""


def service(spec: s.ServiceSpec) -> s.ServiceSpec:
    """With defaults in place where they are part of the meaning, and nothing empty."""
    task = spec.task_template
    networks = task.networks or spec.networks
    container = task.container_spec
    if container is not None and container.isolation == "default":
        container = structs.replace(container, isolation="")
    task = structs.replace(
        task,
        container_spec=container,
        networks=tuple(networks),
        runtime="" if task.runtime == "container" else task.runtime,
    )
    return dense(
        structs.replace(
            spec,
            task_template=task,
            networks=(),
            mode=_mode(spec.mode),
            endpoint_spec=_endpoint(spec.endpoint_spec or s.EndpointSpec()),
        )
    )


def _mode(mode: s.ServiceMode) -> s.ServiceMode:
    if mode.replicated_job is not None:
        job = mode.replicated_job
        at_once = 1 if job.max_concurrent is None else job.max_concurrent
        total = at_once if job.total_completions is None else job.total_completions
        job = s.ReplicatedJobMode(max_concurrent=at_once, total_completions=total)
        return structs.replace(mode, replicated_job=job)
    if mode.replicated is not None or mode == s.ServiceMode():
        replicas = mode.replicated.replicas if mode.replicated is not None else None
        replicas = 1 if replicas is None else replicas
        return structs.replace(mode, replicated=s.ReplicatedMode(replicas=replicas))
    return mode


def _endpoint(endpoint: s.EndpointSpec) -> s.EndpointSpec:
    return s.EndpointSpec(
        mode=endpoint.mode or "vip",
        ports=tuple(
            structs.replace(
                port,
                protocol=port.protocol or "tcp",
                publish_mode=port.publish_mode or "ingress",
            )
            for port in endpoint.ports
        ),
    )


def dense(part: S) -> S:
    """The same without hollow parts, at any depth."""
    changed: dict[str, Any] = {}
    for name in part.__struct_fields__:
        value = getattr(part, name)
        new = _dense(value)
        if new is not value:
            changed[name] = new
    return structs.replace(part, **changed) if changed else part


def _dense(value: Any) -> Any:
    if isinstance(value, s.Spec):
        value = dense(value)
        hollow = isinstance(value, HOLLOW) and value == type(value)()
        return None if hollow else value
    if isinstance(value, tuple) and any(isinstance(item, s.Spec) for item in value):
        new = tuple(dense(item) if isinstance(item, s.Spec) else item for item in value)
        return value if all(a is b for a, b in zip(new, value, strict=True)) else new
    return value
