"""What a daemon is told at start, and where it keeps its things.

One machine may run several daemons side by side; each is an *instance*, and everything that is
global to the kernel (bridges, nftables tables, cgroups) carries the instance's name so that no two
ever meet. The instance follows from the root directory alone: the same root is the same instance
after every restart.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_ROOT = Path("/var/lib/sampan")
DEFAULT_STATE = Path("/run/sampan")
DEFAULT_SOCKET = DEFAULT_STATE / "sampan.sock"
DEFAULT_GROUP = "sampan"


_OF_DOCKER = re.compile(r"docker\d+|docker_gwbridge|br-[0-9a-f]{12}|veth[0-9a-f]{7}")


@dataclass(frozen=True, slots=True)
class Instance:
    """The name under which one daemon's kernel-wide objects are kept apart from another's."""

    suffix: str
    """Empty for the default root directory, else 6 hex digits of the root path's hash."""

    @classmethod
    def of(cls, root: Path) -> Instance:
        return cls(_suffix(root))

    @property
    def table(self) -> str:
        """nftables table (family inet)."""
        return f"sampan-{self.suffix}" if self.suffix else "sampan"

    @property
    def cgroup(self) -> str:
        """cgroup, relative to the root of each hierarchy, under which every container lives."""
        return f"sampan-{self.suffix}" if self.suffix else "sampan"

    @property
    def default_bridge(self) -> str:
        """Interface name of the default bridge network (15 characters at most)."""
        return f"sampan{self.suffix}" if self.suffix else "sampan0"

    def bridge(self, network_id: str) -> str:
        """Interface name of a user-defined network's bridge."""
        return f"br{self.suffix}{network_id[: 12 - len(self.suffix)]}"

    def made(self, interface: str) -> bool:
        """Whether the interface is one of this daemon's, or one that Docker makes for containers:
        by its name alone, so a bridge that the administrator calls ``br0`` is not."""
        if interface == self.default_bridge or _OF_DOCKER.fullmatch(interface):
            return True
        own = interface.removeprefix(("br", "ve")[interface.startswith("ve")] + self.suffix)
        return own != interface and len(interface) >= 14 and own.isalnum()

    def veth(self, endpoint_id: str) -> str:
        """Interface name of the host's end of an endpoint's veth pair."""
        return f"ve{self.suffix}{endpoint_id[: 13 - len(self.suffix)]}"


@functools.cache
def _suffix(root: Path) -> str:
    """Looked for once, as the daemon asks for its name at every turn: who bends a link in ``root``
    while it works makes no other daemon of it."""
    real = root.resolve()
    return "" if real == DEFAULT_ROOT else hashlib.sha256(str(real).encode()).hexdigest()[:6]


@dataclass(frozen=True, slots=True)
class Paths:
    """Directories of one daemon. ``root`` survives a reboot, ``state`` (a tmpfs) does not."""

    root: Path
    state: Path

    @property
    def database(self) -> Path:
        return self.root / "sampan.db"

    @property
    def blobs(self) -> Path:
        """Content-addressed blobs: ``blobs/sha256/<hex>``."""
        return self.root / "blobs"

    @property
    def layers(self) -> Path:
        """Unpacked read-only layers, one directory a chain ID: ``layers/<hex>/diff``."""
        return self.root / "layers"

    @property
    def snapshots(self) -> Path:
        """Writable layers, one directory a snapshot key."""
        return self.root / "snapshots"

    @property
    def volumes(self) -> Path:
        return self.root / "volumes"

    @property
    def tmp(self) -> Path:
        """Scratch space on the same file system as ``root``; emptied at every start."""
        return self.root / "tmp"

    def container(self, container_id: str) -> Path:
        """A container's own durable directory: log file, hosts, hostname, resolv.conf."""
        return self.root / "containers" / container_id

    def run(self, container_id: str) -> Path:
        """A run's volatile directory: OCI bundle, pid files, attach socket, exit status."""
        return self.state / "runs" / container_id

    @property
    def netns(self) -> Path:
        """Bind-mounted network namespaces, one file a sandbox."""
        return self.state / "netns"


@dataclass(frozen=True, slots=True)
class RuntimeProgram:
    """An OCI runtime as daemon.json names it."""

    path: str
    """A bare name is looked for in PATH."""
    arguments: tuple[str, ...] = ()
    """Before every command of the runtime: ``--debug``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSettings:
    """Where plugins are looked for, and how long one may take."""

    sockets: Path = Path("/run/docker/plugins")
    specifications: tuple[Path, ...] = (
        Path("/etc/docker/plugins"),
        Path("/usr/lib/docker/plugins"),
    )
    connect_s: float = 30.0
    """A plugin that takes no connections is tried again for at most so long (Docker's time)."""
    answer_s: float = 120.0
    """A plugin that has not answered a call by then counts as hung. Docker gives the calls of a
    volume plugin 60 to 120 s, and waits for other kinds without end."""
    authorization: tuple[str, ...] = ()
    """Names of the plugins that every API request passes, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonConfig:
    """Everything the command line and daemon.json can say, after both were merged."""

    paths: Paths = field(default_factory=lambda: Paths(DEFAULT_ROOT, DEFAULT_STATE))
    hosts: tuple[str, ...] = (f"unix://{DEFAULT_SOCKET}",)
    group: str = DEFAULT_GROUP
    registry_mirrors: tuple[str, ...] = ()
    """URLs asked first for images of the default registry."""
    insecure_registries: tuple[str, ...] = ()
    """HOST[:PORT] or CIDR for which plain HTTP and unverified TLS are tried; loopback always is."""
    log_level: str = "info"
    runtimes: dict[str, RuntimeProgram] = field(default_factory=dict)
    """By name: OCI runtimes beyond the built-in ones, or instead of them."""
    default_runtime: str = "crun"
    default_address_pools: tuple[tuple[str, int], ...] = ()
    """(base CIDR, prefix length of one network) pairs; empty means the built-in pools."""
    default_bridge_subnet: str | None = None
    """``bip`` of daemon.json, "ADDRESS/PREFIX"; None picks a free one from the pools."""
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    log_driver: str = "json-file"
    """Of containers that name none."""
    log_options: dict[str, str] = field(default_factory=dict)
    """``--log-opt`` of containers that use the default log driver; a container's own win."""
    labels: tuple[str, ...] = ()
    storage_driver: str | None = None
    """``overlay2``, ``vfs`` or None: the best that works on the root directory."""
    iptables: bool = True
    """False: no firewall rules at all; the host's administrator does NAT and filtering."""
    ip_forward: bool = True
    favor_cgroup_changes: bool = True
    """Let the kernel favor moving processes between cgroups over forks (``favordynmods``), for the
    whole host: a start or an exec after a moment of quiet is 10 to 15 ms faster."""
    shutdown_timeout_s: float = 15.0
    default_shm_bytes: int = 64 * 1024 * 1024
    default_ulimits: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Name -> (soft, hard) for containers that say nothing of their own."""

    default_init: bool = False
    """Containers that say nothing of an init get one."""
    no_new_privileges: bool = False
    """Containers that say nothing of it gain no privileges by what they execute."""
    default_cgroupns_mode: str = "private"
    """``private`` or ``host``."""

    plugins: PluginSettings = field(default_factory=PluginSettings)

    @property
    def instance(self) -> Instance:
        return Instance.of(self.paths.root)
