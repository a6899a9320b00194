"""``none`` and ``host``: networks that are only a word. Docker's names for them are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sampan.errors import Forbidden
from sampan.network.subnets import Taken
from sampan.store.records import EndpointSettings, Network


class NullDriver:
    """Nothing to make: ``none`` is an empty namespace, ``host`` is the host's own."""

    has_addresses = False

    def create(self, wanted: Network, known: Sequence[Taken]) -> Network:
        if not wanted.predefined:
            raise Forbidden(
                f'only one instance of "{wanted.driver}" network is allowed, and it exists already'
            )
        return wanted

    def ensure(self, network: Network) -> None:
        return

    def remove(self, network: Network) -> None:
        return

    def join(
        self, sandbox: Path, network: Network, endpoint: EndpointSettings, *, default_route: bool
    ) -> None:
        return
