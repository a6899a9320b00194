"""Containers on the wire: create, inspect, list, and the small answers."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType, field

from sampan.api.types.common import Endpoint, Port, Wire
from sampan.api.types.hostconfig import HostConfig, Mount, PortBinding


class Healthcheck(Wire, kw_only=True, omit_defaults=True):
    test: list[str] | None = None
    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    start_interval: int | None = None
    retries: int | None = None


class ContainerConfig(Wire, kw_only=True):
    """What does not depend on the host; both ways."""

    hostname: str | None = ""
    domainname: str | None = ""
    user: str | None = ""
    attach_stdin: bool | None = False
    attach_stdout: bool | None = False
    attach_stderr: bool | None = False
    exposed_ports: dict[str, object] | UnsetType | None = UNSET
    tty: bool | None = False
    open_stdin: bool | None = False
    stdin_once: bool | None = False
    env: list[str] | None = None
    cmd: list[str] | str | None = None
    healthcheck: Healthcheck | UnsetType | None = UNSET
    image: str | None = ""
    volumes: dict[str, object] | None = None
    working_dir: str | None = ""
    entrypoint: list[str] | str | None = None
    network_disabled: bool | UnsetType | None = UNSET
    mac_address: str | UnsetType | None = UNSET
    on_build: list[str] | UnsetType | None = UNSET
    labels: dict[str, str] | None = None
    stop_signal: str | UnsetType | None = UNSET
    stop_timeout: int | UnsetType | None = UNSET
    shell: list[str] | UnsetType | None = UNSET


class NetworkingConfig(Wire, kw_only=True):
    endpoints_config: dict[str, Endpoint | None] | None = None


class CreateBody(ContainerConfig, kw_only=True):
    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None


CREATE_DECODER = msgspec.json.Decoder(CreateBody)


class HealthLog(Wire, kw_only=True):
    start: str
    end: str
    exit_code: int
    output: str


class Health(Wire, kw_only=True):
    status: str
    failing_streak: int
    log: list[HealthLog]


class State(Wire, kw_only=True):
    status: str
    running: bool
    paused: bool
    restarting: bool
    oom_killed: bool = field(name="OOMKilled")
    dead: bool
    pid: int
    exit_code: int
    error: str
    started_at: str
    finished_at: str
    health: Health | UnsetType = UNSET


class MountPoint(Wire, kw_only=True):
    type: str
    name: str | UnsetType = UNSET
    source: str
    destination: str
    driver: str | UnsetType = UNSET
    mode: str
    rw: bool = field(name="RW")
    propagation: str


class GraphDriver(Wire, kw_only=True):
    data: dict[str, str] | None
    name: str


class NetworkSettings(Wire, kw_only=True):
    bridge: str = ""
    sandbox_id: str = field(name="SandboxID", default="")
    sandbox_key: str = ""
    ports: dict[str, list[PortBinding] | None] = {}
    hairpin_mode: bool = False
    link_local_ipv6_address: str = field(name="LinkLocalIPv6Address", default="")
    link_local_ipv6_prefix_len: int = field(name="LinkLocalIPv6PrefixLen", default=0)
    secondary_ip_addresses: list[str] | None = field(name="SecondaryIPAddresses", default=None)
    secondary_ipv6_addresses: list[str] | None = field(name="SecondaryIPv6Addresses", default=None)
    endpoint_id: str = field(name="EndpointID", default="")
    gateway: str = ""
    global_ipv6_address: str = field(name="GlobalIPv6Address", default="")
    global_ipv6_prefix_len: int = field(name="GlobalIPv6PrefixLen", default=0)
    ip_address: str = field(name="IPAddress", default="")
    ip_prefix_len: int = field(name="IPPrefixLen", default=0)
    ipv6_gateway: str = field(name="IPv6Gateway", default="")
    mac_address: str = ""
    networks: dict[str, Endpoint] = {}


class Inspect(Wire, kw_only=True):
    id: str
    created: str
    path: str
    args: list[str]
    state: State
    image: str
    resolv_conf_path: str
    hostname_path: str
    hosts_path: str
    log_path: str
    name: str
    restart_count: int
    driver: str
    platform: str
    mount_label: str = ""
    process_label: str = ""
    app_armor_profile: str = ""
    exec_ids: list[str] | None = field(name="ExecIDs", default=None)
    host_config: HostConfig
    graph_driver: GraphDriver
    size_rw: int | UnsetType = UNSET
    size_root_fs: int | UnsetType = UNSET
    mounts: list[MountPoint]
    config: ContainerConfig
    network_settings: NetworkSettings


class SummaryHostConfig(Wire, kw_only=True):
    network_mode: str


class SummaryNetworks(Wire, kw_only=True):
    networks: dict[str, Endpoint]


class Summary(Wire, kw_only=True):
    """A row of ``docker ps``."""

    id: str
    names: list[str]
    image: str
    image_id: str = field(name="ImageID")
    command: str
    created: int
    ports: list[Port]
    size_rw: int | UnsetType = UNSET
    size_root_fs: int | UnsetType = UNSET
    labels: dict[str, str]
    state: str
    status: str
    host_config: SummaryHostConfig
    network_settings: SummaryNetworks
    mounts: list[MountPoint]


class WaitError(Wire, kw_only=True):
    message: str


class WaitBody(Wire, kw_only=True):
    status_code: int
    error: WaitError | UnsetType = UNSET


class TopBody(Wire, kw_only=True):
    titles: list[str]
    processes: list[list[str]]


class UpdateResponse(Wire, kw_only=True):
    warnings: list[str]


class FilesystemChange(Wire, kw_only=True):
    path: str
    kind: int


class ExecCreateBody(Wire, kw_only=True):
    user: str | None = ""
    privileged: bool | None = False
    tty: bool | None = False
    console_size: tuple[int, int] | None = None
    attach_stdin: bool | None = False
    attach_stdout: bool | None = False
    attach_stderr: bool | None = False
    detach: bool | None = False
    detach_keys: str | None = ""
    env: list[str] | None = None
    working_dir: str | None = ""
    cmd: list[str] | str | None = None


class ExecStartBody(Wire, kw_only=True):
    detach: bool | None = False
    tty: bool | None = False
    console_size: tuple[int, int] | None = None


EXEC_CREATE_DECODER = msgspec.json.Decoder(ExecCreateBody)
EXEC_START_DECODER = msgspec.json.Decoder(ExecStartBody)


class ExecProcessConfig(msgspec.Struct, kw_only=True):
    """The one object of the API that is in lower case."""

    tty: bool
    entrypoint: str
    arguments: list[str]
    privileged: bool
    user: str | UnsetType = UNSET


class ExecInspect(Wire, kw_only=True):
    id: str = field(name="ID")
    running: bool
    exit_code: int | None
    process_config: ExecProcessConfig
    open_stdin: bool
    open_stderr: bool
    open_stdout: bool
    can_remove: bool
    container_id: str = field(name="ContainerID")
    detach_keys: str = ""
    pid: int


__all__ = ["Mount"]
