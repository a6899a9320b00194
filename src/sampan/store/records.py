"""The engine's durable objects: what SQLite keeps, and what everyone above the store speaks of.

    container ──1:n── run          a run is one life: start to exit, monotonic
        │└────1:n── endpoint ──n:1── network
        └─────n:m── volume         by mount
    image ──(chain IDs)──> layer   owned by ``sampan.image``; references name images

Records are frozen: a change is ``msgspec.structs.replace`` and a ``put`` in a transaction. They are
parsed once, at the API's edge, so no request dict travels inside. Names follow the Docker Engine
API (in snake case) wherever it has a word for the thing.
"""

from __future__ import annotations

import enum
from typing import Literal

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of everything stored: immutable, keyword-only, compact in JSON."""


# ---------------------------------------------------------------- a container's specification


class Healthcheck(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How to ask a container how it is. Durations are nanoseconds as in the API; 0 = default."""

    test: tuple[str, ...] = ()
    """``("NONE",)``, ``("CMD", arg...)`` or ``("CMD-SHELL", line)``; empty inherits the image's."""
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


class PortBinding(Record, frozen=True, kw_only=True, omit_defaults=True):
    host_ip: str = ""
    host_port: str = ""
    """A port, a range "8000-8010", or empty for any free one."""


class RestartPolicy(Record, frozen=True, kw_only=True, omit_defaults=True):
    name: Literal["", "no", "always", "unless-stopped", "on-failure"] = ""
    maximum_retry_count: int = 0


class BindOptions(Record, frozen=True, kw_only=True, omit_defaults=True):
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False


class Mount(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One mount as the user asked for it, whichever of the API's four spellings was used."""

    type: Literal["bind", "volume", "tmpfs"]
    target: str
    """Absolute path in the container."""
    source: str = ""
    """Host path (bind) or volume name (volume; empty: anonymous)."""
    read_only: bool = False
    create_source: bool = False
    """A missing host path is created as a directory (``-v``) or refused (``--mount``)."""
    no_copy: bool = False
    """A volume is not seeded from the image."""
    subpath: str = ""
    mode: str = ""
    """The option string of ``-v`` as written (``"z,ro"``), kept for inspect."""
    propagation: str = ""
    non_recursive: bool = False
    """What is mounted below the source does not come along."""
    read_only_non_recursive: bool = False
    """Read-only, and what is mounted below it stays as it is."""
    read_only_force_recursive: bool = False
    """Read-only with all below it, or not at all."""
    tmpfs_bytes: int = 0
    tmpfs_mode: int = 0
    tmpfs_options: str = ""
    volume_driver: str = ""
    volume_options: dict[str, str] = {}
    volume_labels: dict[str, str] = {}
    origin: Literal["binds", "mounts", "tmpfs", "image", "volumes", "volumes_from"] = "binds"


class Device(Record, frozen=True, kw_only=True, omit_defaults=True):
    path_on_host: str
    path_in_container: str
    permissions: str = "rwm"


class Ulimit(Record, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    soft: int
    hard: int


class LogConfig(Record, frozen=True, kw_only=True, omit_defaults=True):
    type: str = "json-file"
    options: dict[str, str] = {}


class DeviceRate(Record, frozen=True, kw_only=True):
    path: str
    """Of a block device on the host."""
    rate: int
    """Bytes or operations a second."""


class Resources(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Limits. Bytes, nanocpus (1e9 = one CPU), microseconds; 0 or empty: unlimited."""

    memory: int = 0
    memory_swap: int = 0
    memory_reservation: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int | None = None
    blkio_weight: int = 0
    read_bytes: tuple[DeviceRate, ...] = ()
    write_bytes: tuple[DeviceRate, ...] = ()
    read_operations: tuple[DeviceRate, ...] = ()
    write_operations: tuple[DeviceRate, ...] = ()
    devices: tuple[Device, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    cgroup_parent: str = ""


class HostConfig(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The part of a container that depends on the host it runs on."""

    binds: tuple[str, ...] = ()
    """``-v`` strings as written, for inspect; ``ContainerSpec.mounts`` is what counts."""
    network_mode: str = "default"
    """``default``, ``bridge``, ``host``, ``none``, ``container:ID`` or a network's name or ID."""
    port_bindings: dict[str, tuple[PortBinding, ...]] = {}
    """"80/tcp" -> where it is published."""
    publish_all_ports: bool = False
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volumes_from: tuple[str, ...] = ()
    volume_driver: str = ""
    links: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    readonly_rootfs: bool = False
    security_opt: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    group_add: tuple[str, ...] = ()
    ipc_mode: str = ""
    pid_mode: str = ""
    uts_mode: str = ""
    userns_mode: str = ""
    cgroupns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] = {}
    tmpfs: dict[str, str] = {}
    runtime: str = ""
    init: bool | None = None
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None
    oom_score_adj: int = 0
    log_config: LogConfig = LogConfig()
    resources: Resources = Resources()
    annotations: dict[str, str] = {}
    storage_opt: dict[str, str] = {}
    console_size: tuple[int, int] = (0, 0)


class ContainerSpec(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a container is: the user's wishes merged with the image's defaults. Never changes
    after creation, but for ``docker update`` and ``docker rename``."""

    image: str
    """The reference as the user wrote it."""
    args: tuple[str, ...]
    """Entrypoint and command, joined: what is executed."""
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    """"NAME=VALUE", image's first, each name once."""
    user: str = ""
    working_dir: str = ""
    hostname: str = ""
    domainname: str = ""
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    labels: dict[str, str] = {}
    exposed_ports: tuple[str, ...] = ()
    """"80/tcp"."""
    volumes: tuple[str, ...] = ()
    """Paths that get an anonymous volume unless something else is mounted there."""
    stop_signal: str = ""
    stop_timeout_s: int | None = None
    healthcheck: Healthcheck | None = None
    """Already merged with the image's; None: none."""
    shell: tuple[str, ...] | None = None
    on_build: tuple[str, ...] | None = None
    network_disabled: bool = False
    mounts: tuple[Mount, ...] = ()
    """Every mount, from all of the API's spellings, volumes named, in the order of their targets'
    depth."""
    host: HostConfig = HostConfig()


# ---------------------------------------------------------------- a container and its runs


class Phase(enum.IntEnum):
    """A run's life, in order; it only ever grows. ``paused`` is a flag of RUNNING."""

    CREATED = 0
    STARTING = 1
    RUNNING = 2
    STOPPED = 3


class HealthResult(Record, frozen=True, kw_only=True, omit_defaults=True):
    start: float
    end: float
    exit_code: int
    output: str


class Health(Record, frozen=True, kw_only=True, omit_defaults=True):
    status: Literal["none", "starting", "healthy", "unhealthy"] = "none"
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()
    """The five newest."""


class Run(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One life of a container, from start to exit. Times are seconds since the epoch."""

    number: int
    """1 for a container's first run."""
    phase: Phase = Phase.CREATED
    pid: int = 0
    """Host pid of the container's init; 0 unless RUNNING."""
    pid_started: int = 0
    """``starttime`` of /proc/PID/stat in clock ticks: tells this process from a later one with
    the same pid."""
    monitor_pid: int = 0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    paused: bool = False
    stop_requested: bool = False
    """The user asked it to stop: restart policies let it be (``always`` until a daemon restart)."""
    restarting: bool = False
    """Ended, and the restart policy is about to start the container again."""
    health: Health | None = None


class EndpointSettings(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One container's attachment to one network: what was asked for and what it was given."""

    network_id: str
    network_name: str
    endpoint_id: str = ""
    """Empty while the container is not running."""
    aliases: tuple[str, ...] = ()
    """As given by the user."""
    links: tuple[str, ...] = ()
    ipv4_wanted: str = ""
    ipv6_wanted: str = ""
    mac_wanted: str = ""
    driver_opts: dict[str, str] = {}
    gw_priority: int = 0
    ipv4: str = ""
    ipv4_prefix: int = 0
    gateway: str = ""
    ipv6: str = ""
    ipv6_prefix: int = 0
    ipv6_gateway: str = ""
    mac: str = ""
    interface: str = ""
    """Name inside the container (``eth0``)."""
    cluster: Literal["", "allocated", "requested"] = ""
    """On a network of the cluster: ``given`` came with its address, from the cluster; for ``asked``
    one is asked for at each start. Empty: a network of this host."""


class PublishedPort(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A port as it is published now."""

    container_port: int
    protocol: Literal["tcp", "udp", "sctp"]
    host_ip: str
    host_port: int


class MountPoint(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A mount as it was resolved, for inspect and for the runtime."""

    type: Literal["bind", "volume", "tmpfs"]
    source: str
    """Host path; for a volume its data directory; empty for tmpfs."""
    target: str
    name: str = ""
    """Volume name."""
    driver: str = ""
    mode: str = ""
    read_write: bool = True
    propagation: str = ""
    recursion: Literal["enabled", "disabled", "writable", "readonly"] = "enabled"
    """Of a bind, as ``bind-recursive`` has it: whether what is mounted below the source comes
    along, and, when it is read-only, whether that stays writable or must not."""
    anonymous: bool = False
    """Created for this container only: removed with ``rm -v`` and by auto-remove."""


class Container(Record, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    """64 hex digits."""
    name: str
    """Without the leading slash."""
    created_at: float
    image_id: str
    """"sha256:..."; the image's config digest."""
    spec: ContainerSpec
    run: Run | None = None
    """The current or the last run; None before the first."""
    restart_count: int = 0
    mount_points: tuple[MountPoint, ...] = ()
    networks: dict[str, EndpointSettings] = {}
    """By network name, in the order of connection; the first gives the default route."""
    ports: tuple[PublishedPort, ...] = ()
    """What is published now; empty unless running."""
    removing: bool = False
    removing_volumes: bool = False
    """The removal was asked to take the anonymous volumes along."""
    dead: bool = False

    @property
    def running(self) -> bool:
        return self.run is not None and self.run.phase is Phase.RUNNING


# ---------------------------------------------------------------- networks and volumes


class IpamPool(Record, frozen=True, kw_only=True, omit_defaults=True):
    subnet: str
    """CIDR."""
    gateway: str = ""
    ip_range: str = ""
    aux_addresses: dict[str, str] = {}
    id: str = ""
    """What the IPAM driver calls it; empty with the built-in one."""


class Network(Record, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    name: str
    driver: str
    """``bridge``, ``host``, ``none``, ``macvlan``, ``overlay``."""
    created_at: float
    scope: Literal["local", "swarm"] = "local"
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    enable_ipv4: bool = True
    enable_ipv6: bool = False
    ipam_driver: str = "default"
    ipam_options: dict[str, str] = {}
    pools: tuple[IpamPool, ...] = ()
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    bridge: str = ""
    """Interface name, for drivers that have one."""
    predefined: bool = False
    """``bridge``, ``host`` and ``none``: cannot be removed."""


class Volume(Record, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    driver: str
    created_at: float
    mountpoint: str
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    anonymous: bool = False
    seeded: bool = False
    """Image content was copied in, or something else has written to it: never copy again."""
    provisional: bool = False
    """Made for a container that has no row yet, or to go with one whose row has gone: swept when
    the daemon starts. The transaction that stores the container clears it."""
    mounted_by: tuple[str, ...] = ()
    """Who had it mounted when the record was written: ids of containers, or another user's word.
    Not kept where mounting does nothing."""


# ---------------------------------------------------------------- images


class ImageTag(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A reference in the local store: canonical name -> image."""

    name: str
    """Canonical ``registry/repository:tag`` (``docker.io/library/busybox:latest``)."""
    image_id: str
    from_cluster: bool = False
    """A task brought it; the next one that needs another image of this name may move it. A name
    that the user gave is the user's."""


class ImageDigest(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A repository digest under which an image was pulled."""

    name: str
    """Canonical ``registry/repository@sha256:...``; the digest is the manifest's."""
    image_id: str
    manifests: tuple[bytes, ...] = ()
    """What proves it, as it came: the manifest (or index) of this digest, then what it leads to,
    down to the one that names ``image_id``. Other nodes get them from here."""


class Image(Record, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    """"sha256:..."; digest of the image config blob."""
    config: bytes
    """The OCI image config, exactly as its digest says."""
    layers: tuple[str, ...]
    """Diff IDs, lowest first. Chain IDs follow from them."""
    size: int
    """Bytes of all layers, unpacked."""
    created_at: float
    parent: str = ""
    """Image ID of the build step before this one."""
    loaded_at: float = 0.0
    last_tagged_at: float = 0.0
    comment: str = ""


class Layer(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A read-only layer on disk."""

    chain_id: str
    diff_id: str
    parent: str
    """Chain ID, or empty."""
    size: int
    """Bytes on disk, unpacked."""
    blob_digest: str = ""
    """Digest of the compressed blob it came from, when known: a later pull of the same blob is
    skipped."""
    cache_id: str = ""
    """Directory under ``layers/``."""


class BuildCacheEntry(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A build step's key -> what it made."""

    key: str
    image_id: str
    created_at: float
    last_used_at: float
