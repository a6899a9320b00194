"""``HostConfig`` on the wire, both ways, and what it is made of.

The defaults are what Docker shows when the user said nothing.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType, field

from sampan.api.types.common import Wire


class PortBinding(Wire, kw_only=True):
    host_ip: str | None = ""
    host_port: str | None = ""


class RestartPolicy(Wire, kw_only=True):
    name: str | None = "no"
    maximum_retry_count: int | None = 0


class LogConfig(Wire, kw_only=True):
    type: str | None = ""
    config: dict[str, str] | None = None


class Device(Wire, kw_only=True):
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class Ulimit(Wire, kw_only=True):
    name: str
    hard: int = 0
    soft: int = 0


class BindOptions(Wire, kw_only=True, omit_defaults=True):
    propagation: str | None = None
    non_recursive: bool | None = None
    create_mountpoint: bool | None = None
    read_only_non_recursive: bool | None = None
    read_only_force_recursive: bool | None = None


class DriverConfig(Wire, kw_only=True, omit_defaults=True):
    name: str | None = None
    options: dict[str, str] | None = None


class VolumeOptions(Wire, kw_only=True, omit_defaults=True):
    no_copy: bool | None = None
    labels: dict[str, str] | None = None
    driver_config: DriverConfig | None = None
    subpath: str | None = None


class TmpfsOptions(Wire, kw_only=True, omit_defaults=True):
    size_bytes: int | None = None
    mode: int | None = None
    options: list[list[str]] | None = None


class Mount(Wire, kw_only=True, omit_defaults=True):
    type: str = ""
    source: str | None = None
    target: str = ""
    read_only: bool | None = None
    consistency: str | None = None
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class WeightDevice(Wire, kw_only=True):
    path: str = ""
    weight: int = 0


class ThrottleDevice(Wire, kw_only=True):
    path: str = ""
    rate: int = 0


class DeviceRequest(Wire, kw_only=True):
    driver: str | None = ""
    count: int | None = 0
    device_ids: list[str] | None = field(name="DeviceIDs", default=None)
    capabilities: list[list[str]] | None = None
    options: dict[str, str] | None = None


class Resources(Wire, kw_only=True):
    """Limits; also the body of ``update``."""

    cpu_shares: int | None = 0
    memory: int | None = 0
    nano_cpus: int | None = 0
    cgroup_parent: str | None = ""
    blkio_weight: int | None = 0
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[ThrottleDevice] | None = None
    blkio_device_write_bps: list[ThrottleDevice] | None = None
    blkio_device_read_iops: list[ThrottleDevice] | None = field(
        name="BlkioDeviceReadIOps", default=None
    )
    blkio_device_write_iops: list[ThrottleDevice] | None = field(
        name="BlkioDeviceWriteIOps", default=None
    )
    cpu_period: int | None = 0
    cpu_quota: int | None = 0
    cpu_realtime_period: int | None = 0
    cpu_realtime_runtime: int | None = 0
    cpuset_cpus: str | None = ""
    cpuset_mems: str | None = ""
    devices: list[Device] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[DeviceRequest] | None = None
    memory_reservation: int | None = 0
    memory_swap: int | None = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: int | None = 0
    cpu_percent: int | None = 0
    io_maximum_iops: int | None = field(name="IOMaximumIOps", default=0)
    io_maximum_bandwidth: int | None = field(name="IOMaximumBandwidth", default=0)


class UpdateBody(Resources, kw_only=True):
    restart_policy: RestartPolicy | None = None


class HostConfig(Resources, kw_only=True):
    binds: list[str] | None = None
    container_id_file: str | None = field(name="ContainerIDFile", default="")
    log_config: LogConfig | None = None
    network_mode: str | None = ""
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    restart_policy: RestartPolicy | None = None
    auto_remove: bool | None = False
    volume_driver: str | None = ""
    volumes_from: list[str] | None = None
    console_size: tuple[int, int] | None = None
    cap_add: list[str] | str | None = None
    cap_drop: list[str] | str | None = None
    cgroupns_mode: str | None = ""
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str | None = ""
    cgroup: str | None = ""
    links: list[str] | None = None
    oom_score_adj: int | None = 0
    pid_mode: str | None = ""
    privileged: bool | None = False
    publish_all_ports: bool | None = False
    readonly_rootfs: bool | None = False
    security_opt: list[str] | None = None
    uts_mode: str | None = field(name="UTSMode", default="")
    userns_mode: str | None = ""
    shm_size: int | None = 0
    runtime: str | None = ""
    isolation: str | None = ""
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    storage_opt: dict[str, str] | UnsetType | None = UNSET
    tmpfs: dict[str, str] | UnsetType | None = UNSET
    sysctls: dict[str, str] | UnsetType | None = UNSET
    init: bool | UnsetType | None = UNSET
    annotations: dict[str, str] | UnsetType | None = UNSET
    mounts: list[Mount] | UnsetType | None = UNSET


UPDATE_DECODER = msgspec.json.Decoder(UpdateBody)
