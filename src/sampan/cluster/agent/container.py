"""From a task to the container that the engine is asked for. Pure."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from sampan.cluster import spec as wanted
from sampan.cluster.protocol.messages import Assignment
from sampan.cluster.records import NodeDescription
from sampan.cluster.templates import PlaceholderValues, expand
from sampan.engine.contract import CreateRequest
from sampan.errors import InvalidArgument, Unsupported
from sampan.network.contract import PREDEFINED
from sampan.store.records import (
    ContainerSpec,
    EndpointSettings,
    Healthcheck,
    HostConfig,
    LogConfig,
    Mount,
    PortBinding,
    Resources,
    Ulimit,
)

TASK_LABEL = "com.docker.swarm.task.id"


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """A secret or config as a file of this host, and where the container sees it."""

    source: str
    target: str


def names_of(task: Assignment, description: NodeDescription) -> PlaceholderValues:
    """What the task's placeholders stand for."""
    return PlaceholderValues(
        service_id=task.service_id,
        service_name=task.service_name,
        service_labels=task.service_labels,
        node_id=task.node_id,
        node_hostname=description.hostname,
        node_os=description.platform.os,
        node_architecture=description.platform.architecture,
        task_id=task.id,
        task_name=task.name,
        task_slot=str(task.slot or task.node_id),
    )


def container_of(task: Assignment) -> wanted.ContainerSpec:
    """Raises: InvalidArgument."""
    if task.spec.container_spec is None:
        raise InvalidArgument("the task has no container: this node runs containers only")
    return task.spec.container_spec


def request_of(
    task: Assignment, image_id: str, names: PlaceholderValues, files: Iterable[PayloadFile]
) -> CreateRequest:
    """The container of ``task``.

    Raises:
        InvalidArgument: a placeholder that stands for nothing, a mount of an unknown type ...
        Unsupported: what this engine does not have.
    """
    spec = container_of(task)
    mode, networks = networks_of(task)
    return CreateRequest(
        name=task.name,
        image_id=image_id,
        networks=networks,
        spec=ContainerSpec(
            image=spec.image,
            args=(),
            entrypoint=spec.command or None,
            cmd=spec.args or None,
            env=(*(expand(entry, names) for entry in spec.env), *_granted(task)),
            user=spec.user,
            working_dir=spec.dir,
            hostname=expand(spec.hostname, names),
            tty=spec.tty,
            open_stdin=spec.open_stdin,
            labels={**spec.labels, **labels_of(task)},
            stop_signal=spec.stop_signal,
            stop_timeout_s=(
                None if spec.stop_grace_period is None else math.ceil(spec.stop_grace_period / 1e9)
            ),
            healthcheck=_healthcheck(spec.healthcheck),
            mounts=(
                *(_mount(mount, names) for mount in spec.mounts),
                *(
                    Mount(
                        type="bind",
                        source=file.source,
                        target=file.target,
                        read_only=True,
                        origin="mounts",
                    )
                    for file in files
                ),
            ),
            host=_host(task, spec, mode),
        ),
    )


def _granted(task: Assignment) -> Iterable[str]:
    """Which of the node's generic resources the task has been given."""
    given: dict[str, list[str]] = {}
    for resource in task.generic_resources:
        if (named := resource.named_resource_spec) is not None:
            given.setdefault(named.kind, []).append(named.value)
        elif (counted := resource.discrete_resource_spec) is not None:
            given.setdefault(counted.kind, []).append(str(counted.value))
    return [f"DOCKER_RESOURCE_{kind.upper()}={','.join(v)}" for kind, v in given.items()]


def labels_of(task: Assignment) -> dict[str, str]:
    """By which a task's container is known, to us and to everyone who lists containers."""
    return {
        "com.docker.swarm.node.id": task.node_id,
        "com.docker.swarm.service.id": task.service_id,
        "com.docker.swarm.service.name": task.service_name,
        "com.docker.swarm.task": "",
        TASK_LABEL: task.id,
        "com.docker.swarm.task.name": task.name,
    }


def networks_of(task: Assignment) -> tuple[str, dict[str, EndpointSettings]]:
    """Network mode and endpoints, by the networks' ids: names may be anybody's."""
    for network in task.spec.networks:
        if network.target in PREDEFINED:
            return network.target, {}
    if not task.attachments:
        return "default", {}
    endpoints = {
        attachment.network_id: EndpointSettings(
            network_id=attachment.network_id,
            network_name=attachment.network_id,
            # No aliases: they are the service's, and answered for by its view of the cluster.
            ipv4_wanted=attachment.ipv4.partition("/")[0],
            driver_opts=attachment.driver_opts,
            cluster="allocated",
        )
        for attachment in task.attachments
    }
    return task.attachments[0].network_id, endpoints


def host_ports(task: Assignment) -> list[wanted.PortConfig]:
    """Ports that are published on this host only."""
    return [port for port in task.endpoint.ports if port.publish_mode == "host"]


def ingress_ports(task: Assignment) -> list[tuple[str, int]]:
    """(protocol, port) on which the mesh expects somebody to listen."""
    return [
        (port.protocol or "tcp", port.target_port)
        for port in task.endpoint.ports
        if port.publish_mode != "host"
    ]


def _host(task: Assignment, spec: wanted.ContainerSpec, mode: str) -> HostConfig:
    bindings: dict[str, tuple[PortBinding, ...]] = {}
    for port in host_ports(task):
        key = f"{port.target_port}/{port.protocol or 'tcp'}"
        published = str(port.published_port) if port.published_port else ""
        bindings[key] = (*bindings.get(key, ()), PortBinding(host_port=published))
    dns = spec.dns_config or wanted.DnsConfig()
    return HostConfig(
        network_mode=mode,
        port_bindings={} if mode in ("host", "none") else bindings,
        cap_add=spec.capability_add,
        cap_drop=spec.capability_drop,
        readonly_rootfs=spec.read_only,
        security_opt=_security(spec.privileges),
        dns=dns.nameservers,
        dns_options=dns.options,
        dns_search=dns.search,
        extra_hosts=tuple(_hosts(spec.hosts)),
        group_add=spec.groups,
        sysctls=spec.sysctls,
        init=spec.init,
        oom_score_adj=spec.oom_score_adj,
        log_config=_log(task.spec.log_driver),
        resources=_resources(task.spec.resources, spec.ulimits),
    )


def _hosts(lines: Sequence[str]) -> Iterable[str]:
    """ "ADDRESS NAME [NAME ...]" to "NAME:ADDRESS", each."""
    for line in lines:
        address, *found = line.split()
        if not found:
            raise InvalidArgument(
                f"{line!r} is not a line of /etc/hosts, which is an address and names"
            )
        for name in found:
            yield f"{name}:{address}"


def _log(driver: wanted.Driver | None) -> LogConfig:
    """No name: the node's default."""
    if driver is None:
        return LogConfig(type="")
    return LogConfig(type=driver.name, options=driver.options)


def _resources(
    asked: wanted.ResourceRequirements | None, ulimits: Sequence[wanted.Ulimit]
) -> Resources:
    asked = asked or wanted.ResourceRequirements()
    limit = asked.limits or wanted.Limit()
    reserved = asked.reservations or wanted.Resources()
    return Resources(
        memory=limit.memory_bytes,
        memory_reservation=reserved.memory_bytes,
        nano_cpus=limit.nano_cpus,
        pids_limit=limit.pids or None,
        ulimits=tuple(Ulimit(name=u.name, soft=u.soft, hard=u.hard) for u in ulimits),
    )


def _healthcheck(check: wanted.HealthConfig | None) -> Healthcheck | None:
    if check is None:
        return None
    return Healthcheck(
        test=check.test,
        interval_ns=check.interval,
        timeout_ns=check.timeout,
        start_period_ns=check.start_period,
        start_interval_ns=check.start_interval,
        retries=check.retries,
    )


def _security(privileges: wanted.Privileges | None) -> tuple[str, ...]:
    if privileges is None:
        return ()
    options: list[str] = []
    if privileges.no_new_privileges:
        options.append("no-new-privileges")
    seccomp, app_armor = privileges.seccomp, privileges.app_armor
    if seccomp is not None and seccomp.mode == "unconfined":
        options.append("seccomp=unconfined")
    elif seccomp is not None and seccomp.mode == "custom":
        try:
            options.append("seccomp=" + base64.b64decode(seccomp.profile).decode())
        except (binascii.Error, UnicodeDecodeError) as error:
            raise InvalidArgument(f"the seccomp profile is not base64 of JSON: {error}") from error
    if app_armor is not None and app_armor.mode == "disabled":
        options.append("apparmor=unconfined")
    return tuple(options)


def _mount(mount: wanted.Mount, names: PlaceholderValues) -> Mount:
    source = expand(mount.source, names)
    match mount.type:
        case "bind":
            bind = mount.bind_options or wanted.BindOptions()
            return Mount(
                type="bind",
                source=source,
                target=mount.target,
                read_only=mount.read_only,
                create_source=bind.create_mountpoint,
                propagation=bind.propagation,
                non_recursive=bind.non_recursive,
                read_only_non_recursive=bind.read_only_non_recursive,
                read_only_force_recursive=bind.read_only_force_recursive,
                origin="mounts",
            )
        case "volume":
            volume = mount.volume_options or wanted.VolumeOptions()
            driver = volume.driver_config or wanted.Driver()
            return Mount(
                type="volume",
                source=source,
                target=mount.target,
                read_only=mount.read_only,
                no_copy=volume.no_copy,
                subpath=volume.subpath,
                volume_driver=driver.name,
                volume_options={k: expand(v, names) for k, v in driver.options.items()},
                volume_labels={k: expand(v, names) for k, v in volume.labels.items()},
                origin="mounts",
            )
        case "tmpfs":
            tmpfs = mount.tmpfs_options or wanted.TmpfsOptions()
            return Mount(
                type="tmpfs",
                source=source,
                target=mount.target,
                read_only=mount.read_only,
                tmpfs_bytes=tmpfs.size_bytes,
                tmpfs_mode=tmpfs.mode,
                origin="mounts",
            )
    raise Unsupported(f"mounts of type {mount.type!r} are for other systems")


def protocol_of(word: str) -> Literal["tcp", "udp", "sctp"]:
    return cast('Literal["tcp", "udp", "sctp"]', word or "tcp")
