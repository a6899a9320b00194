"""What an agent asks of its host: to run a task, step by step.

    fetch -> create -> start -> ready -> wait      stop      remove
    └ may be cancelled ┘        └ may be ┘         └ to the end ┘

Every step may be repeated, also by another process after a crash: it finds what is there already
and goes on from that. ``create``, ``start``, ``stop`` and ``remove`` are never cancelled by the
runner; ``fetch``, ``ready`` and ``wait`` are, whenever the task is no longer wanted.

Failures are told apart by their category: ``Unavailable`` is worth another try, everything else is
final for this task (its service's restart policy decides what comes after).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from sampan.cluster.images.contract import PeerSource
from sampan.cluster.protocol.messages import Assignment, Payload
from sampan.cluster.records import ClusterNetwork, NodeDescription, TaskAttachment
from sampan.cluster.spec import PortConfig
from sampan.engine.contract import LogRequest
from sampan.errors import NotFound
from sampan.runtime.contract import LogEntry
from sampan.store.records import EndpointSettings


class NoSuchTask(NotFound):
    def __init__(self, task_id: str) -> None:
        super().__init__(f"task {task_id} has no container on this node")
        self.task_id = task_id


@dataclass(slots=True)
class Supplies:
    """What tasks need beside their own specification, by id. The worker's, kept up to date."""

    networks: dict[str, ClusterNetwork] = field(default_factory=dict)
    secrets: dict[str, Payload] = field(default_factory=dict)
    configs: dict[str, Payload] = field(default_factory=dict)
    sources: tuple[PeerSource, ...] = ()
    """Nodes that may have an image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPresence:
    """A container that runs on a network of the cluster without being a task."""

    container_id: str
    endpoint: EndpointSettings
    names: tuple[str, ...]
    """What it is called there, its own name first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    code: int
    error: str = ""
    """Why, where the code does not say it: "unhealthy container"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlace:
    """A task's container."""

    container_id: str
    phase: Literal["created", "running", "ended"]
    pid: int = 0
    ports: tuple[PortConfig, ...] = ()
    """Published in host mode, with the ports that they were given."""


class Executor(Protocol):
    async def describe(self) -> NodeDescription: ...

    async def found(self) -> Mapping[str, TaskPlace]:
        """Every task's container that is on this host, by task id."""
        ...

    async def fetch(self, task: Assignment, supplies: Supplies, say: Callable[[str], None]) -> str:
        """Make the task's image present; returns its id. ``say`` tells of progress.

        Raises:
            NoSuchImage, Unavailable.
        """
        ...

    async def create(self, task: Assignment, image_id: str, supplies: Supplies) -> TaskPlace:
        """The task's container with its networks, volumes, secrets and configs. On failure
        nothing is left.

        Raises:
            InvalidArgument (a bad mount, a secret that is not there ...), Unavailable ...
        """
        ...

    async def start(self, task: Assignment) -> TaskPlace:
        """Run it. Nothing happens if it runs or has run already.

        Raises:
            NoSuchTask; whatever kept it from starting.
        """
        ...

    async def ready(self, task: Assignment) -> None:
        """Wait until traffic may come: it is healthy, or listens on what is published."""
        ...

    async def wait(self, task: Assignment) -> Exit:
        """Wait for its end. An unhealthy container is ended here.

        Raises:
            NoSuchTask: somebody has removed it.
        """
        ...

    async def answered(self, task: Assignment) -> None:
        """Wait, for a moment at most, until nothing that has come to the task's ports is still to
        be taken or read by it, or on its way out."""
        ...

    async def stop(self, task_id: str) -> Exit | None:
        """Stop signal, grace, kill; at once when there is nothing to stop. None: it never ran."""
        ...

    async def remove(self, task_id: str) -> None:
        """Take away its container and its files. Safe to repeat."""
        ...

    async def attached(self) -> Sequence[ContainerPresence]:
        """Containers that a person has put on networks of the cluster, where they run now."""
        ...

    async def ensure(self, places: tuple[TaskAttachment, ...], supplies: Supplies) -> None:
        """Make the networks of these places present on this host.

        Raises:
            Unavailable: one is not known yet. Conflict: the host has another of its name.
        """
        ...

    async def evict(self) -> None:
        """Take every container of ``attached`` off the cluster's networks: the host leaves."""
        ...

    async def tidy(self, supplies: Supplies) -> None:
        """Take away networks that no task of ``supplies`` and no container uses."""
        ...

    def logs(self, task_id: str, request: LogRequest) -> AsyncIterator[list[LogEntry]]:
        """Raises: NoSuchTask (at once)."""
        ...
