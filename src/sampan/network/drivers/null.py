"""``none`` and ``host``: networks that are only a word. Docker's names for them are kept."""

from __future__ import annotations

from collections.abc import Sequence

from sampan.errors import Forbidden
from sampan.network.contract import Sandbox
from sampan.network.drivers.contract import Attached, Joined, NetworkCapabilities
from sampan.store.records import EndpointSettings, Network


class NullDriver:
    """Nothing to make: ``none`` is an empty namespace, ``host`` is the host's own."""

    def __init__(self, *, names: bool) -> None:
        """Args:
        names: a container on it can be given a resolver of ours: the namespace is its own.
        """
        self.capabilities = NetworkCapabilities(addresses="none", default_route=False, names=names)

    def validate(self, network: Network) -> None:
        return

    async def create(self, network: Network) -> Network:
        if not network.predefined:
            raise Forbidden(
                f'only one instance of "{network.driver}" network is allowed, and it exists already'
            )
        return network

    async def ensure(self, network: Network) -> None:
        return

    async def remove(self, network: Network) -> None:
        return

    async def join(
        self,
        network: Network,
        endpoint: EndpointSettings,
        sandbox: Sandbox,
        *,
        default_route: bool,
    ) -> Joined:
        return Joined(endpoint=endpoint)

    async def leave(
        self, network: Network, endpoint: EndpointSettings, sandbox: Sandbox, *, closing: bool
    ) -> None:
        return

    async def restore(self, network: Network, attached: Sequence[Attached]) -> None:
        return
