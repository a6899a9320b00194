"""The host's own parts, as a membership needs them. Put together by the daemon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sampan.aio import Clock
from sampan.cluster.agent.contract import Executor
from sampan.cluster.images.contract import TaskImages
from sampan.cluster.peer.contract import Client, Server
from sampan.network.overlay.contract import Overlay


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What stays the same whichever cluster the host is in."""

    directory: Path
    """Of the membership's files: ``<root>/cluster``."""
    clock: Clock
    overlay: Overlay
    executor: Callable[[NodeFacts, TaskImages], Executor]
    """Makes what runs tasks here."""
    images: Callable[[Client], TaskImages]
    """Makes what fetches their images; asks other nodes through the client."""
    serve_images: Callable[[Server], None]
    """Registers what other nodes ask this one for."""
    own_interfaces: tuple[str, ...] = ()
    """Prefixes of interfaces that belong to containers: no addresses of the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What the executor is told of the node: for templates and labels."""

    node_id: str
    root_certificate: Callable[[], str]
    """PEM of the roots this node trusts at the moment."""
