"""What a driver does. All of it blocks and runs on the network's worker thread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from sampan.network.subnets import Taken
from sampan.store.records import EndpointSettings, Network


class Driver(Protocol):
    """A kind of segment."""

    has_addresses: bool
    """Whether the network keeps books of addresses for it."""

    def create(self, wanted: Network, known: Sequence[Taken]) -> Network:
        """Make the segment, filling in what was left open. On failure nothing is left."""
        ...

    def ensure(self, network: Network) -> None:
        """Make it true again after a restart or a reboot. Idempotent."""
        ...

    def remove(self, network: Network) -> None:
        """Idempotent."""
        ...

    def join(
        self, sandbox: Path, network: Network, endpoint: EndpointSettings, *, default_route: bool
    ) -> None:
        """Make the interface, complete: addresses, routes, up. On failure nothing is left."""
        ...
