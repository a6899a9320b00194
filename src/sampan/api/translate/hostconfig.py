"""``HostConfig`` to its record and back."""

from __future__ import annotations

import re

from msgspec import UNSET, UnsetType

from sampan.api.translate.mounts import mounts_out
from sampan.api.types import hostconfig as wire
from sampan.errors import InvalidArgument
from sampan.store.records import (
    ContainerSpec,
    Device,
    DeviceRate,
    HostConfig,
    LogConfig,
    PortBinding,
    Resources,
    RestartPolicy,
    Ulimit,
)

_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_MINIMUM_MEMORY = 6 * 1024 * 1024


def port_key(written: str) -> str:
    """``"80"`` and ``"80/TCP"`` to ``"80/tcp"``.

    Raises:
        InvalidArgument: not a port.
    """
    match = _PORT.fullmatch(written)
    if match is None or int(match[1]) > 65535:
        raise InvalidArgument(f"invalid port specification: {written!r}")
    ports = match[1] if not match[2] else f"{match[1]}-{match[2]}"
    return f"{ports}/{(match[3] or 'tcp').lower()}"


def record(host: wire.HostConfig) -> HostConfig:
    """What the client sent as the engine's record. Mounts are translated elsewhere."""
    if (host.isolation or "default") != "default":
        raise InvalidArgument(
            f"invalid isolation {host.isolation!r}: containers of Linux know the default alone"
        )
    if (host.userns_mode or "host") != "host":
        raise InvalidArgument(
            f"invalid user namespace mode {host.userns_mode!r}: 'host' is the only one here"
        )
    console = host.console_size or (0, 0)
    mode = host.network_mode or ""
    return HostConfig(
        binds=tuple(host.binds or ()),
        network_mode="bridge" if mode in ("", "default") else mode,
        port_bindings=_bindings(host),
        publish_all_ports=bool(host.publish_all_ports),
        restart_policy=restart_policy(host.restart_policy, auto_remove=bool(host.auto_remove)),
        auto_remove=bool(host.auto_remove),
        volumes_from=tuple(host.volumes_from or ()),
        volume_driver=host.volume_driver or "",
        links=tuple(host.links or ()),
        cap_add=_list(host.cap_add),
        cap_drop=_list(host.cap_drop),
        privileged=bool(host.privileged),
        readonly_rootfs=bool(host.readonly_rootfs),
        security_opt=tuple(host.security_opt or ()),
        dns=tuple(host.dns or ()),
        dns_options=tuple(host.dns_options or ()),
        dns_search=tuple(host.dns_search or ()),
        extra_hosts=_extra_hosts(host.extra_hosts or []),
        group_add=tuple(host.group_add or ()),
        ipc_mode=host.ipc_mode or "",
        pid_mode=host.pid_mode or "",
        uts_mode=host.uts_mode or "",
        userns_mode=host.userns_mode or "",
        cgroupns_mode=host.cgroupns_mode or "",
        shm_size=_not_negative(host.shm_size or 0, "SHM size"),
        sysctls=_mapping(host.sysctls),
        tmpfs=_mapping(host.tmpfs),
        runtime=host.runtime or "",
        init=None if isinstance(host.init, UnsetType) else host.init,
        masked_paths=None if host.masked_paths is None else tuple(host.masked_paths),
        readonly_paths=None if host.readonly_paths is None else tuple(host.readonly_paths),
        oom_score_adj=_oom_score(host.oom_score_adj or 0),
        log_config=LogConfig(
            type=(host.log_config and host.log_config.type) or "",
            options=dict((host.log_config and host.log_config.config) or {}),
        ),
        resources=resources(host),
        annotations=_mapping(host.annotations),
        storage_opt=_mapping(host.storage_opt),
        console_size=(console[0], console[1]),
    )


def resources(host: wire.Resources) -> Resources:
    """Limits, checked as Docker checks them.

    Raises:
        InvalidArgument: a limit that makes no sense.
    """
    memory = host.memory or 0
    swap = host.memory_swap or 0
    if 0 < memory < _MINIMUM_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if memory > 0 and 0 < swap < memory:
        raise InvalidArgument(
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        )
    if memory == 0 and swap > 0:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit")
    reservation = host.memory_reservation or 0
    if memory > 0 and reservation > memory:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit")
    nano_cpus = _not_negative(host.nano_cpus or 0, "NanoCPUs")
    if nano_cpus and (host.cpu_period or host.cpu_quota):
        raise InvalidArgument(
            "Conflicting options: Nano CPUs and CPU Period/Quota cannot both be set"
        )
    if (period := host.cpu_period or 0) and not 1000 <= period <= 1_000_000:
        raise InvalidArgument(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s"
        )
    if host.device_requests:
        request = host.device_requests[0]
        raise InvalidArgument(
            f'could not select device driver "{request.driver or ""}" with capabilities: '
            f"{str(request.capabilities or []).replace(',', '').replace(chr(39), '')}"
        )
    swappiness = host.memory_swappiness
    if swappiness is not None and swappiness != -1 and not 0 <= swappiness <= 100:
        raise InvalidArgument(
            f"Invalid value: {swappiness}, valid memory swappiness range is 0-100"
        )
    return Resources(
        memory=_not_negative(memory, "memory limit"),
        memory_swap=swap,
        memory_reservation=_not_negative(reservation, "memory reservation"),
        memory_swappiness=None if swappiness == -1 else swappiness,
        oom_kill_disable=bool(host.oom_kill_disable),
        nano_cpus=nano_cpus,
        cpu_shares=_not_negative(host.cpu_shares or 0, "CPU shares"),
        cpu_period=period,
        cpu_quota=host.cpu_quota or 0,
        cpuset_cpus=host.cpuset_cpus or "",
        cpuset_mems=host.cpuset_mems or "",
        pids_limit=host.pids_limit,
        blkio_weight=host.blkio_weight or 0,
        read_bytes=_rates(host.blkio_device_read_bps),
        write_bytes=_rates(host.blkio_device_write_bps),
        read_operations=_rates(host.blkio_device_read_iops),
        write_operations=_rates(host.blkio_device_write_iops),
        devices=tuple(
            Device(
                path_on_host=device.path_on_host,
                path_in_container=device.path_in_container or device.path_on_host,
                permissions=device.cgroup_permissions or "rwm",
            )
            for device in host.devices or ()
        ),
        device_cgroup_rules=tuple(host.device_cgroup_rules or ()),
        ulimits=tuple(
            Ulimit(name=limit.name, soft=limit.soft, hard=limit.hard)
            for limit in host.ulimits or ()
        ),
        cgroup_parent=host.cgroup_parent or "",
    )


def _rates(given: list[wire.ThrottleDevice] | None) -> tuple[DeviceRate, ...]:
    for one in given or ():
        if not one.path.startswith("/"):
            raise InvalidArgument(f"invalid device path {one.path!r}: write it as in /dev/sda")
        if one.rate < 0:
            raise InvalidArgument(f"invalid rate {one.rate} for {one.path}: it is 0 or more")
    return tuple(DeviceRate(path=one.path, rate=one.rate) for one in given or ())


def _rates_out(rates: tuple[DeviceRate, ...]) -> list[wire.ThrottleDevice]:
    return [wire.ThrottleDevice(path=one.path, rate=one.rate) for one in rates]


def discarded(host: wire.Resources) -> list[str]:
    """Warnings for what was asked for and is not honoured."""
    names: dict[str, object] = {
        "BlkioWeightDevice": host.blkio_weight_device,
        "CpuRealtimePeriod": host.cpu_realtime_period,
        "CpuRealtimeRuntime": host.cpu_realtime_runtime,
        "CpuCount": host.cpu_count,
        "CpuPercent": host.cpu_percent,
        "IOMaximumIOps": host.io_maximum_iops,
        "IOMaximumBandwidth": host.io_maximum_bandwidth,
        "CgroupParent": host.cgroup_parent,
    }
    if isinstance(host, wire.HostConfig):
        names["Cgroup"] = host.cgroup
    return [
        f"{name} is not supported by sampan. It was discarded." for name, v in names.items() if v
    ]


def restart_policy(
    policy: wire.RestartPolicy | None, *, auto_remove: bool = False
) -> RestartPolicy:
    """Checked as Docker checks it."""
    if policy is None or not policy.name:
        return RestartPolicy()
    name, count = policy.name, policy.maximum_retry_count or 0
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', "
            "'on-failure', or 'unless-stopped'"
        )
    if count < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    if count and name != "on-failure":
        raise InvalidArgument(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )
    if auto_remove and name != "no":
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")
    return RestartPolicy(name=name, maximum_retry_count=count)  # type: ignore[arg-type]


def _bindings(host: wire.HostConfig) -> dict[str, tuple[PortBinding, ...]]:
    bindings: dict[str, tuple[PortBinding, ...]] = {}
    for written, wanted in (host.port_bindings or {}).items():
        key = port_key(written)
        for binding in wanted or ():
            port = binding.host_port or ""
            if port and _PORT.fullmatch(port) is None:
                raise InvalidArgument(f"invalid port specification: {port!r}")
        # An empty list publishes on any free port, as one empty binding does.
        bindings[key] = tuple(
            PortBinding(host_ip=b.host_ip or "", host_port=b.host_port or "") for b in wanted or ()
        ) or (PortBinding(),)
    return bindings


def _extra_hosts(hosts: list[str]) -> tuple[str, ...]:
    for host in hosts:
        name, colon, address = host.partition(":")
        if not (name and colon and address):
            raise InvalidArgument(f'bad format for add-host: "{host}"')
    return tuple(hosts)


def _not_negative(value: int, what: str) -> int:
    if value < 0:
        raise InvalidArgument(f"{what} can not be less than 0")
    return value


def _oom_score(value: int) -> int:
    if not -1000 <= value <= 1000:
        raise InvalidArgument(f"Invalid value {value}, range for oom score adj is [-1000, 1000]")
    return value


def _list(value: list[str] | str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _mapping(value: dict[str, str] | UnsetType | None) -> dict[str, str]:
    return {} if value is None or isinstance(value, UnsetType) else dict(value)


# ---------------------------------------------------------------- and back


def _or_null(values: tuple[str, ...]) -> list[str] | None:
    return list(values) or None


def bindings_out(host: HostConfig) -> dict[str, list[wire.PortBinding] | None]:
    return {
        key: [wire.PortBinding(host_ip=b.host_ip, host_port=b.host_port) for b in bound]
        for key, bound in host.port_bindings.items()
    }


def out(spec: ContainerSpec, *, default_runtime: str, default_shm: int) -> wire.HostConfig:
    """What inspect shows; Docker's zero values where nothing was said."""
    host, limits = spec.host, spec.host.resources
    mounts = mounts_out(spec.mounts)
    return wire.HostConfig(
        cpu_shares=limits.cpu_shares,
        memory=limits.memory,
        nano_cpus=limits.nano_cpus,
        cgroup_parent=limits.cgroup_parent,
        blkio_weight=limits.blkio_weight,
        blkio_weight_device=[],
        blkio_device_read_bps=_rates_out(limits.read_bytes),
        blkio_device_write_bps=_rates_out(limits.write_bytes),
        blkio_device_read_iops=_rates_out(limits.read_operations),
        blkio_device_write_iops=_rates_out(limits.write_operations),
        cpu_period=limits.cpu_period,
        cpu_quota=limits.cpu_quota,
        cpuset_cpus=limits.cpuset_cpus,
        cpuset_mems=limits.cpuset_mems,
        devices=[
            wire.Device(
                path_on_host=device.path_on_host,
                path_in_container=device.path_in_container,
                cgroup_permissions=device.permissions,
            )
            for device in limits.devices
        ],
        device_cgroup_rules=_or_null(limits.device_cgroup_rules),
        memory_reservation=limits.memory_reservation,
        memory_swap=limits.memory_swap,
        memory_swappiness=limits.memory_swappiness,
        oom_kill_disable=limits.oom_kill_disable,
        pids_limit=limits.pids_limit,
        ulimits=[wire.Ulimit(name=u.name, hard=u.hard, soft=u.soft) for u in limits.ulimits],
        binds=_or_null(host.binds),
        log_config=wire.LogConfig(type=host.log_config.type, config=host.log_config.options),
        network_mode=host.network_mode,
        port_bindings=bindings_out(host),
        restart_policy=wire.RestartPolicy(
            name=host.restart_policy.name or "no",
            maximum_retry_count=host.restart_policy.maximum_retry_count,
        ),
        auto_remove=host.auto_remove,
        volume_driver=host.volume_driver,
        volumes_from=_or_null(host.volumes_from),
        console_size=host.console_size,
        cap_add=_or_null(host.cap_add),
        cap_drop=_or_null(host.cap_drop),
        cgroupns_mode=host.cgroupns_mode or "private",
        dns=list(host.dns),
        dns_options=list(host.dns_options),
        dns_search=list(host.dns_search),
        extra_hosts=_or_null(host.extra_hosts),
        group_add=_or_null(host.group_add),
        ipc_mode=host.ipc_mode or "private",
        links=_or_null(host.links),
        oom_score_adj=host.oom_score_adj,
        pid_mode=host.pid_mode,
        privileged=host.privileged,
        publish_all_ports=host.publish_all_ports,
        readonly_rootfs=host.readonly_rootfs,
        security_opt=_or_null(host.security_opt),
        uts_mode=host.uts_mode,
        userns_mode=host.userns_mode,
        shm_size=host.shm_size or default_shm,
        runtime=host.runtime or default_runtime,
        masked_paths=None if host.masked_paths is None else list(host.masked_paths),
        readonly_paths=None if host.readonly_paths is None else list(host.readonly_paths),
        storage_opt=host.storage_opt or UNSET,
        tmpfs=host.tmpfs or UNSET,
        sysctls=host.sysctls or UNSET,
        init=UNSET if host.init is None else host.init,
        annotations=host.annotations or UNSET,
        mounts=mounts or UNSET,
    )
