"""A network driver in one file: what a third party would write, and what tests put in its place.

A network is a pair of interfaces, an endpoint a macvlan interface on one of them: made in the
host's namespace and told by its name, for the network to move into the container. Containers reach
one another; the way out is the host's egress network. With ``answers`` cleared, joins wait: a
plugin that does not answer.
"""

from __future__ import annotations

import asyncio
import errno
import struct
from collections.abc import Sequence

from msgspec.structs import replace

from sampan.aio import in_thread
from sampan.errors import InvalidArgument
from sampan.kernel import netlink
from sampan.kernel.linux import Linux
from sampan.network.contract import Sandbox
from sampan.network.drivers.contract import Attached, Joined, NetworkCapabilities, StaticRoute
from sampan.store.records import EndpointSettings, Network

NAME = "toy"
_MACVLAN_MODE, _MODE_BRIDGE = 1, 4


class ToyNetworkDriver:
    """Fulfils ``NetworkDriver``. ``networks`` and ``endpoints`` are there to look at."""

    capabilities = NetworkCapabilities(needs_egress=True, default_route=False)

    def __init__(self, linux: Linux) -> None:
        self._linux = linux
        self.networks: dict[str, Network] = {}
        self.endpoints: dict[str, EndpointSettings] = {}
        self.reached = asyncio.Event()
        """Set when a join has come, whether it waits or not."""
        self.answers = asyncio.Event()
        """Clear it, and joins wait."""
        self.answers.set()

    def validate(self, network: Network) -> None:
        if unknown := network.options.keys() - {"route"}:
            raise InvalidArgument(
                f"the toy driver knows no option {min(unknown)}: it has only route"
            )

    async def create(self, network: Network) -> Network:
        made = replace(network, bridge=f"toy{network.id[:10]}")
        try:
            await self.ensure(made)
        except BaseException:
            await self.remove(made)
            raise
        return made

    async def ensure(self, network: Network) -> None:
        mac, other = "02:" + bytes.fromhex(network.id[:10]).hex(":"), f"{network.bridge}p"
        pair = netlink.add_veth(network.bridge, peer=other, peer_mac=mac)
        await in_thread(self._do, errno.EEXIST, pair)
        # One end of a pair carries nothing while the other is down.
        await in_thread(self._do, 0, netlink.set_link(other, up=True))
        self.networks[network.id] = network

    async def remove(self, network: Network) -> None:
        self.networks.pop(network.id, None)
        if network.bridge:
            await in_thread(self._do, errno.ENODEV, netlink.delete_link(network.bridge))

    async def join(
        self,
        network: Network,
        endpoint: EndpointSettings,
        sandbox: Sandbox,
        *,
        default_route: bool,
    ) -> Joined:
        self.reached.set()
        await self.answers.wait()
        name = _interface(endpoint)
        await in_thread(self._make, name, network.bridge, endpoint.mac)
        self.endpoints[endpoint.endpoint_id] = endpoint
        route = network.options.get("route", "")
        routes = (StaticRoute(route),) if route else ()
        return Joined(endpoint=endpoint, source=name, routes=routes)

    async def leave(
        self, network: Network, endpoint: EndpointSettings, sandbox: Sandbox, *, closing: bool
    ) -> None:
        self.endpoints.pop(endpoint.endpoint_id, None)
        # While it has not been moved it is still here; in the container it goes with that.
        await in_thread(self._do, errno.ENODEV, netlink.delete_link(_interface(endpoint)))

    async def restore(self, network: Network, attached: Sequence[Attached]) -> None:
        self.endpoints |= {one.endpoint.endpoint_id: one.endpoint for one in attached}

    def _make(self, name: str, bridge: str, mac: str) -> None:
        mode = netlink.attribute(_MACVLAN_MODE, struct.pack("=I", _MODE_BRIDGE))
        with self._linux.netlink() as link:
            lower = self._linux.index_of(bridge)
            link.do(netlink.add_link(name, "macvlan", lower=lower, data=mode, mac=mac))

    def _do(self, fine: int, message: netlink.Message) -> None:
        with self._linux.netlink() as link:
            (outcome,) = link.request(message)
        if outcome is not None and outcome.errno != fine:
            raise outcome


def _interface(endpoint: EndpointSettings) -> str:
    return f"toy{endpoint.endpoint_id[:10]}"
