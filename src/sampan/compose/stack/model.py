"""What a compose file means for a cluster: ``model.Service`` and what only a cluster honours."""

from __future__ import annotations

from dataclasses import dataclass, field

from sampan.compose.model.project import Network, Service, Volume

NAMESPACE = "com.docker.stack.namespace"
"""The label that makes an object part of a stack: Docker's, so that its tools see the same."""
IMAGE = "com.docker.stack.image"
"""The label with a service's image as the file has it, before a digest was put to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    parallelism: int = 1
    """0: all at once."""
    delay_ns: int = 0
    failure_action: str = ""
    monitor_ns: int = 0
    max_failure_ratio: float = 0
    order: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    condition: str = ""
    delay_ns: int | None = None
    max_attempts: int | None = None
    window_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    nano_cpus: int = 0
    memory: int = 0
    pids: int = 0
    generic: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class StackGrant:
    """A secret or config as a file of a task. ``source`` is a key of the top level."""

    source: str
    target: str
    uid: str = "0"
    gid: str = "0"
    mode: int = 0o444


@dataclass(frozen=True, slots=True, kw_only=True)
class StackService:
    service: Service
    mode: str = "replicated"
    """``replicated``, ``global``, ``replicated-job``, ``global-job``."""
    replicas: int | None = None
    endpoint_mode: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    """Of the service; those of its containers are ``service.labels``."""
    constraints: tuple[str, ...] = ()
    spread: tuple[str, ...] = ()
    max_per_node: int = 0
    limits: Amounts = Amounts()
    reservations: Amounts = Amounts()
    restart: Restart | None = None
    update: Rollout | None = None
    rollback: Rollout | None = None
    secrets: tuple[StackGrant, ...] = ()
    configs: tuple[StackGrant, ...] = ()
    isolation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackFile:
    """A top-level secret or config."""

    key: str
    name: str
    external: bool = False
    data: bytes | None = None
    """None: external, or made by a driver."""
    labels: dict[str, str] = field(default_factory=dict)
    driver: str = ""
    driver_opts: dict[str, str] = field(default_factory=dict)
    template_driver: str = ""


@dataclass(frozen=True, slots=True)
class Stack:
    name: str
    services: dict[str, StackService]
    networks: dict[str, Network]
    """Those that a service uses."""
    volumes: dict[str, Volume]
    secrets: dict[str, StackFile]
    configs: dict[str, StackFile]
    ignored: tuple[str, ...] = ()
    """Keys that a cluster does not honour, once each."""
    deprecated: tuple[str, ...] = ()

    def scoped(self, name: str) -> str:
        """``web`` -> ``STACK_web``."""
        return f"{self.name}_{name}"

    def labelled(self, labels: dict[str, str]) -> dict[str, str]:
        """``labels`` and the one that says whose it is."""
        return {**labels, NAMESPACE: self.name}
