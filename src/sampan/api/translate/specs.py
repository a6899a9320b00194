"""Specifications as inspect prints them.

The wire names are the records' own. What differs is what is left out: the store leaves out every
default, the API only what is Go's zero, and of a few fields not even that, because clients read
them without asking whether they are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from msgspec import structs

from sampan.api.types.cluster import Spelled
from sampan.cluster import spec as s
from sampan.cluster.control.cluster import HEARTBEAT_NS, NODE_CERT_EXPIRY_NS, TASK_HISTORY

_S = 1_000_000_000
_ALWAYS: dict[type[s.Spec], Mapping[str, object]] = {
    s.ServiceSpec: {"Labels": {}},
    s.TaskSpec: {"ForceUpdate": 0, "Runtime": "container"},
    s.UpdateConfig: {"Parallelism": 0, "MaxFailureRatio": 0, "Order": "stop-first"},
    s.EndpointSpec: {"Mode": "vip"},
    s.ContainerSpec: {"Isolation": "default"},
    s.FileTarget: {"UID": "0", "GID": "0", "Mode": 0o444},
    s.SecretSpec: {"Labels": {}},
    s.ConfigSpec: {"Labels": {}},
}
"""Wire names with what they say when they say nothing."""


def spelled(part: s.Spec) -> Spelled:
    """``part`` as an object of the API."""
    out: Spelled = {}
    for name, wire, optional in _fields(type(part)):
        value = getattr(part, name)
        if value is None or (not value and not optional):
            continue
        out[wire] = _value(value)
    for wire, default in _ALWAYS.get(type(part), {}).items():
        out.setdefault(wire, default)
    return out


def _value(value: Any) -> Any:
    if isinstance(value, s.Spec):
        return spelled(value)
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    return value


@cache
def _fields(kind: type[s.Spec]) -> tuple[tuple[str, str, bool], ...]:
    """Name, name on the wire, whether an empty value means something else than none."""
    return tuple((f.name, f.encode_name, f.default is None) for f in structs.fields(kind))


def each(parts: Iterable[s.Spec]) -> list[Spelled]:
    return [spelled(part) for part in parts]


def service(spec: s.ServiceSpec, *, defaults: bool = False) -> Spelled:
    """``defaults``: say what happens where nothing was said."""
    out = spelled(_with_defaults(spec) if defaults else spec)
    template = out.setdefault("TaskTemplate", {})
    if isinstance(template, dict):
        _complete(template)
    return out


def task(spec: s.TaskSpec) -> Spelled:
    out = spelled(spec)
    _complete(out)
    return out


def _complete(template: Spelled) -> None:
    template.setdefault("Placement", {})
    resources = template.setdefault("Resources", {})
    if isinstance(resources, dict):
        resources.setdefault("Limits", {})
        resources.setdefault("Reservations", {})


def _with_defaults(spec: s.ServiceSpec) -> s.ServiceSpec:
    task = spec.task_template
    container = task.container_spec
    if container is not None:
        if container.stop_grace_period is None:
            container = structs.replace(container, stop_grace_period=10 * _S)
        if container.dns_config is None:
            container = structs.replace(container, dns_config=s.DnsConfig())
    if spec.mode.is_job:
        return structs.replace(spec, task_template=structs.replace(task, container_spec=container))
    restart = task.restart_policy or s.RestartPolicy()
    restart = structs.replace(
        restart,
        condition=restart.condition or "any",
        delay=5 * _S if restart.delay is None else restart.delay,
        max_attempts=restart.max_attempts or 0,
    )
    return structs.replace(
        spec,
        task_template=structs.replace(task, container_spec=container, restart_policy=restart),
        update_config=_update(spec.update_config),
        rollback_config=_update(spec.rollback_config),
    )


def _update(config: s.UpdateConfig | None) -> s.UpdateConfig:
    config = config or s.UpdateConfig(parallelism=1)
    return structs.replace(
        config,
        failure_action=config.failure_action or "pause",
        monitor=config.monitor or 5 * _S,
        order=config.order or "stop-first",
    )


def node(spec: s.NodeSpec) -> Spelled:
    out: Spelled = {"Labels": spec.labels, "Role": spec.role, "Availability": spec.availability}
    return {"Name": spec.name, **out} if spec.name else out


def swarm(spec: s.SwarmSpec) -> Spelled:
    """With the defaults that Docker has; ``control.cluster`` knows them when they come back."""
    retention = spec.orchestration.task_history_retention_limit
    raft = spec.raft
    ca: Spelled = {"NodeCertExpiry": spec.ca_config.node_cert_expiry or NODE_CERT_EXPIRY_NS}
    if spec.ca_config.external_cas:
        ca["ExternalCAs"] = each(spec.ca_config.external_cas)
    if spec.ca_config.force_rotate:
        ca["ForceRotate"] = spec.ca_config.force_rotate
    return {
        "Name": spec.name,
        "Labels": spec.labels,
        "Orchestration": {
            "TaskHistoryRetentionLimit": TASK_HISTORY if retention is None else retention
        },
        "Raft": {
            "SnapshotInterval": raft.snapshot_interval,
            "KeepOldSnapshots": raft.keep_old_snapshots or 0,
            "LogEntriesForSlowFollowers": raft.log_entries_for_slow_followers,
            "ElectionTick": raft.election_tick,
            "HeartbeatTick": raft.heartbeat_tick,
        },
        "Dispatcher": {"HeartbeatPeriod": spec.dispatcher.heartbeat_period or HEARTBEAT_NS},
        "CAConfig": ca,
        "TaskDefaults": spelled(spec.task_defaults),
        "EncryptionConfig": {"AutoLockManagers": spec.encryption_config.auto_lock_managers},
    }
