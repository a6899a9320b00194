"""What a plan knows of an engine: the project's containers, and what they use. Data only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedContainer:
    """A container of the project."""

    id: str
    name: str
    service: str
    number: int
    oneoff: bool = False
    state: str = "running"
    """``created``, ``running``, ``paused``, ``restarting``, ``exited``, ``dead``."""
    status: str = ""
    image: str = ""
    image_id: str = ""
    config_hash: str = ""
    parts: dict[str, str] = field(default_factory=dict)
    made_by: str = ""
    networks: dict[str, str] = field(default_factory=dict)
    """Name -> network ID."""
    anonymous: dict[str, str] = field(default_factory=dict)
    """Target -> name of an anonymous volume."""
    depends_on: tuple[str, ...] = ()
    restarts_with: tuple[str, ...] = ()
    """Those of ``depends_on`` that say ``restart: true``."""
    command: str = ""
    created: int = 0
    ports: tuple[Mapping[str, Any], ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        return self.state in ("running", "paused", "restarting")

    @property
    def health(self) -> str:
        """``healthy``, ``unhealthy``, ``starting``, or empty when there is no health check."""
        match = re.search(r"\((?:health: )?(healthy|unhealthy|starting)\)", self.status)
        return match[1] if match else ""

    @property
    def exit_code(self) -> int:
        match = re.match(r"Exited \((-?\d+)\)", self.status)
        return int(match[1]) if match else 0


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that a plan depends on besides the model."""

    containers: tuple[ObservedContainer, ...] = ()
    networks: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Name -> labels of networks that exist."""
    network_ids: dict[str, str] = field(default_factory=dict)
    volumes: dict[str, Mapping[str, str]] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    """Reference -> ID of images that are here."""

    def of(self, service: str) -> list[ObservedContainer]:
        """A service's regular containers by number."""
        found = [c for c in self.containers if c.service == service and not c.oneoff]
        return sorted(found, key=lambda c: c.number)
