"""What a compose file means: frozen, typed, complete. Nothing behind this looks at YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sampan.compose.errors import UsageError
from sampan.compose.model.service import Service
from sampan.compose.model.values import Ipam


@dataclass(frozen=True, slots=True)
class Network:
    key: str
    name: str
    external: bool = False
    driver: str = ""
    driver_opts: Mapping[str, str] = field(default_factory=dict)
    ipam: Ipam | None = None
    internal: bool = False
    attachable: bool = False
    enable_ipv6: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Volume:
    key: str
    name: str
    external: bool = False
    driver: str = ""
    driver_opts: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileSource:
    """A top-level secret or config."""

    key: str
    name: str
    external: bool = False
    path: str = ""
    """The file of the host that holds it."""
    content: str | None = None
    """The text itself, from the compose file or a variable; None: it is a file, or outside."""
    labels: Mapping[str, str] = field(default_factory=dict)
    driver: str = ""
    driver_opts: Mapping[str, str] = field(default_factory=dict)
    template_driver: str = ""


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
    warnings: tuple[str, ...] = ()
    """What was understood and cannot be honoured."""

    def image_of(self, service: Service) -> str:
        """The image's reference; a service that is only built gets PROJECT-SERVICE."""
        return service.image or f"{self.name}-{service.name}"

    def service_of(self, container: str) -> Service | None:
        """The service whose container has this name; None: it is of none in the file."""
        for service in self.services.values():
            head, dash, number = container.rpartition("-")
            usual = dash and number.isdecimal() and head == f"{self.name}-{service.name}"
            if container == service.container_name or usual:
                return service
        return None

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


def chosen(project: Project, names: tuple[str, ...], deps: bool = True) -> list[str]:
    """``names`` (or all) with what they depend on, dependencies first. Raises UsageError."""
    for name in names:
        if name not in project.services:
            raise no_such_service(project, name)
    wanted = set(names or project.services)
    grown = deps
    while grown:
        more = {
            d.service
            for n in wanted
            for d in project.services[n].dependencies()
            if d.service in project.services
        }
        grown = not more <= wanted
        wanted |= more
    return [name for name in project.order() if name in wanted]


def no_such_service(project: Project, name: str) -> UsageError:
    """With what there is instead."""
    return UsageError(f"no such service: {name}; there are {', '.join(sorted(project.services))}")
