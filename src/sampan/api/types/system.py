"""The daemon itself on the wire: version, info, events, disk usage."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType, field

from sampan.api.types.cluster import SwarmInfo
from sampan.api.types.common import Wire
from sampan.api.types.containers import Summary
from sampan.api.types.images import ImageSummary
from sampan.api.types.volumes import VolumeBody


class PlatformName(Wire, kw_only=True):
    name: str


class Component(Wire, kw_only=True):
    name: str
    version: str
    details: dict[str, str]


class Version(Wire, kw_only=True):
    platform: PlatformName
    components: list[Component]
    version: str
    api_version: str
    min_api_version: str = field(name="MinAPIVersion")
    git_commit: str
    go_version: str
    os: str
    arch: str
    kernel_version: str
    build_time: str


class Plugins(Wire, kw_only=True):
    volume: list[str]
    network: list[str]
    authorization: list[str] | None
    log: list[str]


class Index(Wire, kw_only=True):
    name: str
    mirrors: list[str]
    secure: bool
    official: bool


class RegistryConfig(Wire, kw_only=True):
    insecure_registry_cidrs: list[str] = field(name="InsecureRegistryCIDRs")
    index_configs: dict[str, Index]
    mirrors: list[str]


class Runtime(msgspec.Struct, omit_defaults=True):
    path: str
    runtime_args: list[str] = field(name="runtimeArgs", default_factory=list)


class Commit(Wire, kw_only=True):
    id: str = field(name="ID", default="")


class AddressPool(Wire, kw_only=True):
    base: str
    size: int


class FirewallBackend(Wire, kw_only=True):
    driver: str


class Info(Wire, kw_only=True):
    id: str = field(name="ID")
    containers: int
    containers_running: int
    containers_paused: int
    containers_stopped: int
    images: int
    driver: str
    driver_status: list[tuple[str, str]]
    plugins: Plugins
    memory_limit: bool
    swap_limit: bool
    cpu_cfs_period: bool
    cpu_cfs_quota: bool
    cpu_shares: bool = field(name="CPUShares")
    cpu_set: bool = field(name="CPUSet")
    pids_limit: bool
    ipv4_forwarding: bool = field(name="IPv4Forwarding")
    debug: bool
    n_fd: int = field(name="NFd")
    oom_kill_disable: bool
    n_goroutines: int
    system_time: str
    logging_driver: str
    cgroup_driver: str
    cgroup_version: str
    n_events_listener: int = field(name="NEventsListener")
    kernel_version: str
    operating_system: str
    os_version: str = field(name="OSVersion")
    os_type: str = field(name="OSType")
    architecture: str
    index_server_address: str
    registry_config: RegistryConfig
    n_cpu: int = field(name="NCPU")
    mem_total: int
    generic_resources: list[str] | None
    docker_root_dir: str
    http_proxy: str
    https_proxy: str
    no_proxy: str
    name: str
    labels: list[str]
    experimental_build: bool
    server_version: str
    runtimes: dict[str, Runtime]
    default_runtime: str
    swarm: SwarmInfo
    live_restore_enabled: bool
    isolation: str
    init_binary: str
    containerd_commit: Commit
    runc_commit: Commit
    init_commit: Commit
    security_options: list[str]
    default_address_pools: list[AddressPool] | UnsetType = UNSET
    firewall_backend: FirewallBackend
    cdi_spec_dirs: list[str] = field(name="CDISpecDirs")
    warnings: list[str] | None


class Actor(Wire, kw_only=True):
    id: str = field(name="ID")
    attributes: dict[str, str]


class EventBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    """``status``, ``id`` and ``from`` are of the time before 1.22, for containers and images."""

    status: str = ""
    id: str = ""
    origin: str = field(name="from", default="")
    type: str = field(name="Type")
    action: str = field(name="Action")
    actor: Actor = field(name="Actor")
    scope: str
    time: int
    time_nano: int = field(name="timeNano")


class CacheRecord(Wire, kw_only=True):
    id: str = field(name="ID")
    type: str
    description: str
    in_use: bool
    shared: bool
    size: int
    created_at: str
    last_used_at: str
    usage_count: int


class DiskUsage(Wire, kw_only=True):
    layers_size: int
    images: list[ImageSummary] | None
    containers: list[Summary] | None
    volumes: list[VolumeBody] | None
    build_cache: list[CacheRecord] | None
    builder_size: int | UnsetType = UNSET
