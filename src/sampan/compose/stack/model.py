"""What a compose file means for a cluster: its services, and all that they use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sampan.compose.model.project import FileSource, Network, Volume
from sampan.compose.model.service import Service

NAMESPACE = "com.docker.stack.namespace"
"""The label that makes an object part of a stack: Docker's, so that its tools see the same."""
IMAGE = "com.docker.stack.image"
"""The label with a service's image as the file has it, before a digest was put to it."""


@dataclass(frozen=True, slots=True)
class StackFile:
    """A top-level secret or config with its content."""

    source: FileSource
    data: bytes | None = None
    """None: external, or made by a driver."""

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def external(self) -> bool:
        return self.source.external


@dataclass(frozen=True, slots=True)
class Stack:
    name: str
    services: dict[str, Service]
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

    def labelled(self, labels: Mapping[str, str]) -> dict[str, str]:
        """``labels`` and the one that says whose it is."""
        return {**labels, NAMESPACE: self.name}
