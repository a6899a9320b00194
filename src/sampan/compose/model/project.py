"""What a compose file means: frozen, typed, complete. Nothing behind this looks at YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sampan.compose.errors import Where

STARTED = "service_started"
HEALTHY = "service_healthy"
COMPLETED = "service_completed_successfully"


@dataclass(frozen=True, slots=True)
class Port:
    target: int
    published: str = ""
    """A port, a range, or empty: the engine picks."""
    host_ip: str = ""
    protocol: str = "tcp"
    mode: str = "ingress"


@dataclass(frozen=True, slots=True)
class Mount:
    kind: str
    """``bind``, ``volume``, ``tmpfs`` or ``image``."""
    target: str
    source: str = ""
    """Host path, key of the top-level ``volumes`` (empty: anonymous), or image."""
    read_only: bool = False
    create_host_path: bool = True
    options: tuple[str, ...] = ()
    """Further mode words of the short form: ``z``, ``rshared``, ``nocopy`` ..."""
    subpath: str = ""
    size: int = 0
    mode: int = 0


@dataclass(frozen=True, slots=True)
class Attachment:
    """A service on a network. ``network`` is a key of the top-level ``networks``."""

    network: str
    aliases: tuple[str, ...] = ()
    ipv4: str = ""
    ipv6: str = ""
    link_local: tuple[str, ...] = ()
    mac: str = ""
    driver_opts: dict[str, str] = field(default_factory=dict)
    priority: int = 0
    gw_priority: int = 0


@dataclass(frozen=True, slots=True)
class Dependency:
    service: str
    condition: str = STARTED
    required: bool = True
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Healthcheck:
    test: tuple[str, ...] = ()
    interval_ns: int = 0
    timeout_ns: int = 0
    retries: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0


@dataclass(frozen=True, slots=True)
class Build:
    context: str
    dockerfile: str = "Dockerfile"
    inline: str = ""
    args: dict[str, str | None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    cache_from: tuple[str, ...] = ()
    target: str = ""
    network: str = ""
    shm_size: int = 0
    extra_hosts: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    no_cache: bool = False
    pull: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """A secret or config inside of a container: a read-only file."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    name: str
    where: Where
    image: str = ""
    build: Build | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    expose: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    volumes_from: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    network_mode: str = ""
    depends_on: tuple[Dependency, ...] = ()
    links: tuple[str, ...] = ()
    external_links: tuple[str, ...] = ()
    healthcheck: Healthcheck | None = None
    restart: str = ""
    container_name: str = ""
    scale: int = 1
    profiles: tuple[str, ...] = ()
    pull_policy: str = ""
    platform: str = ""
    stop_signal: str = ""
    stop_grace_ns: int | None = None
    logging_driver: str = ""
    logging_options: dict[str, str] = field(default_factory=dict)
    secrets: tuple[Grant, ...] = ()
    configs: tuple[Grant, ...] = ()
    tmpfs: tuple[str, ...] = ()
    ulimits: dict[str, tuple[int, int]] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    extra_hosts: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    """Keys that go to the engine as they are (``user``, ``tty``, ``cap_add`` ...), already typed:
    str, bool, int, float or a tuple of str; sizes in bytes. Their names are the file's."""

    def dependencies(self) -> tuple[Dependency, ...]:
        """Everything that has to be there first, also what follows from links and namespaces."""
        found = {d.service: d for d in self.depends_on}
        for link in self.links:
            found.setdefault(link.partition(":")[0], Dependency(link.partition(":")[0]))
        for shared in self.shared_with():
            found.setdefault(shared, Dependency(shared))
        return tuple(found.values())

    def shared_with(self) -> tuple[str, ...]:
        """Services whose containers must exist before this one can be created."""
        modes = [self.network_mode, *(str(self.settings.get(k, "")) for k in ("ipc", "pid"))]
        found = [m.removeprefix("service:") for m in modes if m.startswith("service:")]
        found += [v.partition(":")[0] for v in self.volumes_from if not v.startswith("container:")]
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Network:
    key: str
    name: str
    external: bool = False
    driver: str = ""
    driver_opts: dict[str, str] = field(default_factory=dict)
    ipam_driver: str = ""
    pools: tuple[dict[str, Any], ...] = ()
    """``subnet``, ``ip_range``, ``gateway``, ``aux_addresses``, as in the file."""
    ipam_options: dict[str, str] = field(default_factory=dict)
    internal: bool = False
    attachable: bool = False
    enable_ipv6: bool = False
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Volume:
    key: str
    name: str
    external: bool = False
    driver: str = ""
    driver_opts: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileSource:
    """A top-level secret or config: a file of the host, or text."""

    key: str
    path: str = ""
    content: str | None = None


@dataclass(frozen=True, slots=True)
class Project:
    name: str
    directory: str
    files: tuple[str, ...]
    services: dict[str, Service]
    """Services of the active profiles, in the order of the file."""
    networks: dict[str, Network]
    volumes: dict[str, Volume]
    secrets: dict[str, FileSource]
    configs: dict[str, FileSource]
    disabled: dict[str, Service]
    """Services that wait for a profile."""

    def image_of(self, service: Service) -> str:
        """The image's reference; a service that is only built gets PROJECT-SERVICE."""
        return service.image or f"{self.name}-{service.name}"

    def order(self) -> list[str]:
        """Services, dependencies first. Cycles were refused when the file was read."""
        done: dict[str, None] = {}

        def visit(name: str) -> None:
            if name in done or name not in self.services:
                return
            for dependency in self.services[name].dependencies():
                visit(dependency.service)
            done[name] = None

        for name in self.services:
            visit(name)
        return list(done)
