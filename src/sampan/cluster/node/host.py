"""The host's own parts, as a membership needs them. Put together by the daemon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sampan.aio import Clock
from sampan.cluster.agent.attachments import ClusterAttachments
from sampan.cluster.agent.contract import Executor
from sampan.cluster.images.images import ClusterImages
from sampan.cluster.node.addresses import HostAddress
from sampan.network.overlay.contract import Overlay
from sampan.store.events import EventBus


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What stays the same whichever cluster the host is in."""

    directory: Path
    """Of the membership's files: ``<root>/cluster``."""
    clock: Clock
    overlay: Overlay
    executor: Callable[[NodeFacts], Executor]
    """Makes what runs tasks here."""
    images: ClusterImages
    attachments: ClusterAttachments
    """What the engine asks for places on the cluster's networks."""
    events: EventBus
    """Where a manager tells of the cluster's objects."""
    addresses: Callable[[], list[HostAddress]]
    """The host's own, without those that containers hang on. Blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What the executor is told of the node: for templates and labels."""

    node_id: str
    root_certificate: Callable[[], str]
    """PEM of the roots this node trusts at the moment, the one that its certificate is of first.
    Blocks, briefly."""
