"""Whether a service's specification makes sense by itself, before the rest is looked at."""

from __future__ import annotations

from collections.abc import Mapping

from sampan.cluster import placement
from sampan.cluster.control.container import check_container
from sampan.cluster.control.names import check_dns_name
from sampan.cluster.errors import NotDone, Refused
from sampan.cluster.scheduler.strategies import DEFAULT, LABEL, STRATEGIES
from sampan.cluster.spec import (
    EndpointSpec,
    Limit,
    ResourceRequirements,
    Resources,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)

SMALLEST_NANO_CPUS = 1_000_000
SMALLEST_MEMORY = 4 << 20
_CONDITIONS = ("", "none", "on-failure", "any")

MOST_TASKS = 100_000
"""Of one service. A number beyond that is a slip, and would fill the store before anybody sees."""


def check_service(spec: ServiceSpec) -> None:
    """``spec`` is in its normal form.

    Raises:
        Refused, NotDone: with the field's name.
    """
    check_dns_name(spec.name)
    check_mode(spec.mode)
    check_strategy(spec.labels)
    check_task(spec.task_template)
    for config in (spec.update_config, spec.rollback_config):
        check_update(config)
    if spec.mode.is_job:
        if spec.update_config is not None or spec.rollback_config is not None:
            raise Refused("job-mode services cannot have an update or rollback configuration")
        restart = spec.task_template.restart_policy
        if restart is not None and restart.condition == "any":
            raise Refused(
                "job-mode services restart their tasks on-failure or not at all (none): the "
                "restart condition any would never let them complete"
            )
    check_endpoint(spec.endpoint_spec)


def mode_name(mode: ServiceMode) -> str:
    """``replicated``, ``global``, ``replicated-job``, ``global-job``; empty: none is set."""
    names = {
        "replicated": mode.replicated,
        "global": mode.global_,
        "replicated-job": mode.replicated_job,
        "global-job": mode.global_job,
    }
    chosen = [name for name, value in names.items() if value is not None]
    if len(chosen) > 1:
        raise Refused(f"ServiceSpec: a service has one mode, not {' and '.join(chosen)}")
    return chosen[0] if chosen else ""


def check_mode(mode: ServiceMode) -> None:
    """Raises: Refused."""
    mode_name(mode)
    counts = {
        "replicas": mode.replicated.replicas if mode.replicated is not None else None,
        "max concurrent": mode.replicated_job.max_concurrent if mode.replicated_job else None,
        "total completions": mode.replicated_job.total_completions if mode.replicated_job else None,
    }
    for name, count in counts.items():
        if count is not None and count < 0:
            raise Refused(f"ServiceSpec: {name} cannot be negative")
        if count is not None and count > MOST_TASKS:
            raise Refused(f"ServiceSpec: {name} cannot be more than {MOST_TASKS}")


def check_strategy(labels: Mapping[str, str]) -> None:
    """The one that a service chooses by its label is known.

    Raises:
        Refused: with the names of those that are.
    """
    name = labels.get(LABEL, DEFAULT)
    if name not in STRATEGIES:
        raise Refused(
            f"there is no scheduling strategy {name!r} (label {LABEL}): choose one of "
            f"{', '.join(sorted(STRATEGIES))}"
        )


def check_task(task: TaskSpec) -> None:
    """Raises: Refused, NotDone."""
    check_resources(task.resources)
    check_restart(task.restart_policy)
    if task.placement is not None:
        placement.check(task.placement.constraints)
        if task.placement.max_replicas < 0:
            raise Refused("TaskSpec: max replicas per node cannot be negative")
        for preference in task.placement.preferences:
            if preference.spread is None or not preference.spread.spread_descriptor:
                raise Refused("TaskSpec: a placement preference is a spread over a label")
    if task.runtime:
        raise NotDone(f"RuntimeSpec: unimplemented runtime {task.runtime} in service spec")
    if task.network_attachment_spec is not None:
        raise NotDone("RuntimeSpec: unimplemented runtime in service spec")
    if task.container_spec is None:
        raise Refused("ContainerSpec: missing in service spec")
    check_container(task.container_spec)


def check_resources(resources: ResourceRequirements | None) -> None:
    """Raises: Refused."""
    if resources is None:
        return
    for part in (resources.limits, resources.reservations):
        if part is not None:
            _check_amounts(part)
    if resources.limits is not None and resources.limits.pids < 0:
        raise Refused(f"invalid pids value {resources.limits.pids}: Must not be negative")
    limits, reserved = resources.limits, resources.reservations
    if limits is None or reserved is None:
        return
    if 0 < limits.memory_bytes < reserved.memory_bytes:
        raise Refused(
            f"invalid memory reservation {reserved.memory_bytes}: it is above the limit of "
            f"{limits.memory_bytes} bytes"
        )
    if 0 < limits.nano_cpus < reserved.nano_cpus:
        raise Refused(
            f"invalid cpu reservation {reserved.nano_cpus / 1e9:g}: it is above the limit of "
            f"{limits.nano_cpus / 1e9:g}"
        )


def _check_amounts(part: Limit | Resources) -> None:
    if part.nano_cpus and part.nano_cpus < SMALLEST_NANO_CPUS:
        raise Refused(
            f"invalid cpu value {part.nano_cpus / 1e9:g}: Must be at least "
            f"{SMALLEST_NANO_CPUS / 1e9:g}"
        )
    if part.memory_bytes and part.memory_bytes < SMALLEST_MEMORY:
        raise Refused(f"invalid memory value {part.memory_bytes}: Must be at least 4MiB")


def check_restart(policy: RestartPolicy | None) -> None:
    """Raises: Refused."""
    if policy is None:
        return
    if policy.condition not in _CONDITIONS:
        raise Refused(f'TaskSpec: invalid RestartCondition: "{policy.condition}"')
    if (policy.delay or 0) < 0:
        raise Refused("TaskSpec: restart-delay cannot be negative")
    if (policy.window or 0) < 0:
        raise Refused("TaskSpec: restart-window cannot be negative")
    if (policy.max_attempts or 0) < 0:
        raise Refused("TaskSpec: restart-max-attempts cannot be negative")


def check_update(config: UpdateConfig | None) -> None:
    """Raises: Refused."""
    if config is None:
        return
    if config.parallelism < 0:
        raise Refused("TaskSpec: update-parallelism cannot be negative")
    if config.delay < 0:
        raise Refused("TaskSpec: update-delay cannot be negative")
    if config.monitor < 0:
        raise Refused("TaskSpec: update-monitor cannot be negative")
    if not 0 <= config.max_failure_ratio <= 1:
        raise Refused("TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1")


def check_endpoint(endpoint: EndpointSpec | None) -> None:
    """Raises: Refused."""
    if endpoint is None:
        return
    published: set[tuple[str, int]] = set()
    for port in endpoint.ports:
        if not 1 <= port.target_port <= 65535:
            raise Refused(f"EndpointSpec: invalid target port {port.target_port}")
        if not 0 <= port.published_port <= 65535:
            raise Refused(f"EndpointSpec: invalid published port {port.published_port}")
        if endpoint.mode == "dnsrr" and port.publish_mode == "ingress":
            raise Refused(
                "EndpointSpec: port published with ingress mode can't be used with dnsrr mode"
            )
        if not port.published_port:
            continue
        key = (port.protocol, port.published_port)
        if key in published:
            raise Refused("EndpointSpec: duplicate published ports provided")
        published.add(key)
