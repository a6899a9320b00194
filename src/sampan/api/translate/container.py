"""A container's record as ``inspect`` shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msgspec import UNSET

from sampan.api.timestamps import ZERO, rfc3339
from sampan.api.translate import hostconfig
from sampan.api.translate.create import healthcheck_out
from sampan.api.translate.network import endpoint_out
from sampan.api.types import containers as wire
from sampan.api.types.hostconfig import PortBinding
from sampan.store.records import Container, ContainerSpec, Health, MountPoint, Phase

NetworkIds = Callable[[str], str]
"""Network name -> id, for endpoints that were never attached."""


def state_name(container: Container) -> str:
    """Docker's one word for how a container is."""
    run = container.run
    if container.removing:
        return "removing"
    if container.dead:
        return "dead"
    if run is None or run.phase < Phase.RUNNING:
        return "created" if run is None or run.number <= 1 else "restarting"
    if run.phase is Phase.RUNNING:
        return "paused" if run.paused else "running"
    return "restarting" if run.restarting else "exited"


def health_out(health: Health) -> wire.Health:
    return wire.Health(
        status=health.status,
        failing_streak=health.failing_streak,
        log=[
            wire.HealthLog(
                start=rfc3339(result.start),
                end=rfc3339(result.end),
                exit_code=result.exit_code,
                output=result.output,
            )
            for result in health.log
        ],
    )


def state(container: Container) -> wire.State:
    """``State``: Docker's flags, of which ``Running`` also holds while paused or restarting."""
    run, name = container.run, state_name(container)
    running = name in ("running", "paused", "restarting")
    health: wire.Health | None = None
    if run is not None and run.health is not None and run.health.status != "none":
        health = health_out(run.health)
    return wire.State(
        status=name,
        running=running,
        paused=name == "paused",
        restarting=name == "restarting",
        oom_killed=run is not None and run.oom_killed,
        dead=container.dead,
        pid=run.pid if run is not None and container.running else 0,
        exit_code=run.exit_code if run is not None else 0,
        error=run.error if run is not None else "",
        started_at=rfc3339(run.started_at) if run is not None else ZERO,
        finished_at=rfc3339(run.finished_at) if run is not None else ZERO,
        health=UNSET if health is None else health,
    )


def mount_out(mount: MountPoint) -> wire.MountPoint:
    volume = mount.type == "volume"
    return wire.MountPoint(
        type=mount.type,
        name=mount.name if volume else UNSET,
        source=mount.source,
        destination=mount.target,
        driver=(mount.driver or "local") if volume else UNSET,
        mode=mount.mode,
        rw=mount.read_write,
        propagation=mount.propagation or ("rprivate" if mount.type == "bind" else ""),
    )


def ports_out(container: Container) -> dict[str, list[PortBinding] | None]:
    """``NetworkSettings.Ports``: empty unless it runs."""
    if not container.running:
        return {}
    ports: dict[str, list[PortBinding] | None] = dict.fromkeys(container.spec.exposed_ports)
    for port in container.ports:
        key = f"{port.container_port}/{port.protocol}"
        bound = ports.get(key) or []
        bound.append(PortBinding(host_ip=port.host_ip, host_port=str(port.host_port)))
        ports[key] = bound
    return ports


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSide:
    """What inspect shows of a container that its record does not say."""

    storage_driver: str
    directory: Path
    """With its ``resolv.conf``, ``hostname`` and ``hosts``."""
    sandbox: Path
    """Its network namespace."""
    log_path: str
    """Empty: its log is no file."""
    default_runtime: str
    default_shm_bytes: int


def network_settings(
    container: Container, sandbox: Path, network_id: NetworkIds
) -> wire.NetworkSettings:
    endpoints = {
        name: endpoint_out(endpoint, container, network_id(name))
        for name, endpoint in container.networks.items()
    }
    settings = wire.NetworkSettings(ports=ports_out(container), networks=endpoints)
    if container.running and not container.spec.host.network_mode.startswith("container:"):
        settings.sandbox_id = container.id
        settings.sandbox_key = str(sandbox)
    # The old fields of the time when there was one network: the default bridge's.
    if (bridge := endpoints.get("bridge")) is not None:
        settings.endpoint_id = bridge.endpoint_id or ""
        settings.gateway = bridge.gateway or ""
        settings.ip_address = bridge.ip_address or ""
        settings.ip_prefix_len = bridge.ip_prefix_len or 0
        settings.ipv6_gateway = bridge.ipv6_gateway or ""
        settings.global_ipv6_address = bridge.global_ipv6_address or ""
        settings.global_ipv6_prefix_len = bridge.global_ipv6_prefix_len or 0
        settings.mac_address = bridge.mac_address or ""
    return settings


def config_out(spec: ContainerSpec, container_id: str = "") -> wire.ContainerConfig:
    return wire.ContainerConfig(
        hostname=spec.hostname or container_id[:12],
        domainname=spec.domainname,
        user=spec.user,
        attach_stdin=spec.attach_stdin,
        attach_stdout=spec.attach_stdout,
        attach_stderr=spec.attach_stderr,
        exposed_ports={port: {} for port in spec.exposed_ports} or UNSET,
        tty=spec.tty,
        open_stdin=spec.open_stdin,
        stdin_once=spec.stdin_once,
        env=list(spec.env),
        cmd=None if spec.cmd is None else list(spec.cmd),
        healthcheck=healthcheck_out(spec.healthcheck),
        image=spec.image,
        volumes={path: {} for path in spec.volumes} or None,
        working_dir=spec.working_dir,
        entrypoint=None if spec.entrypoint is None else list(spec.entrypoint),
        network_disabled=spec.network_disabled or UNSET,
        on_build=None if spec.on_build is None else list(spec.on_build),
        labels=dict(spec.labels),
        stop_signal=spec.stop_signal or UNSET,
        stop_timeout=UNSET if spec.stop_timeout_s is None else spec.stop_timeout_s,
        shell=UNSET if spec.shell is None else list(spec.shell),
    )


def inspect(container: Container, host: HostSide, *, network_id: NetworkIds) -> wire.Inspect:
    """The whole answer, but for the sizes."""
    spec, own = container.spec, host.directory
    shared_net = spec.host.network_mode.startswith("container:")
    return wire.Inspect(
        id=container.id,
        created=rfc3339(container.created_at),
        path=spec.args[0] if spec.args else "",
        args=list(spec.args[1:]),
        state=state(container),
        image=container.image_id,
        resolv_conf_path="" if shared_net else str(own / "resolv.conf"),
        hostname_path="" if shared_net else str(own / "hostname"),
        hosts_path="" if shared_net else str(own / "hosts"),
        log_path=host.log_path,
        name="/" + container.name,
        restart_count=container.restart_count,
        driver=host.storage_driver,
        platform="linux",
        host_config=hostconfig.out(
            spec,
            default_runtime=host.default_runtime,
            default_shm=host.default_shm_bytes,
        ),
        graph_driver=wire.GraphDriver(data=None, name=host.storage_driver),
        mounts=[mount_out(mount) for mount in container.mount_points],
        config=config_out(spec, container.id),
        network_settings=network_settings(container, host.sandbox, network_id),
    )
