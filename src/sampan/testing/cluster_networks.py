"""A cluster as the engine sees it, in memory: networks, and who has which address."""

from __future__ import annotations

import ipaddress

from msgspec.structs import replace

from sampan.engine.cluster_networks import Joining, NotAttachable
from sampan.engine.contract import Engine
from sampan.errors import Conflict, Exhausted, Unavailable
from sampan.network.contract import BadAddress, NoSuchNetwork
from sampan.store.records import EndpointSettings, IpamPool, Network


class FakeClusterNetworks:
    """Fulfils ``ClusterNetworks``. It outlives daemons: give it the ``engine`` of each.

    ``away`` set: no manager answers.
    """

    def __init__(self) -> None:
        self.networks: dict[str, Network] = {}
        self.engine: Engine | None = None
        self.away = False
        self.held: dict[tuple[str, str], str] = {}
        """(container, network) -> address."""
        self.names: dict[tuple[str, str], tuple[str, ...]] = {}

    def add(self, name: str, subnet: str, *, attachable: bool = True) -> Network:
        """A network of the cluster."""
        network = Network(
            id=f"{name:0<25}",
            name=name,
            driver="overlay",
            created_at=0.0,
            scope="swarm",
            attachable=attachable,
            pools=(IpamPool(subnet=subnet, gateway=str(ipaddress.IPv4Network(subnet)[1])),),
        )
        self.networks[network.id] = network
        return network

    async def resolve(self, ref: str) -> Network:
        self._ask()
        for network in self.networks.values():
            if ref in (network.name, network.id) or (ref and network.id.startswith(ref)):
                if not network.attachable:
                    raise NotAttachable(network.name)
                return network
        raise NoSuchNetwork(ref)

    async def attach(self, joining: Joining) -> EndpointSettings:
        network = await self.resolve(joining.endpoint.network_id)
        key = (joining.container_id, network.id)
        self.held.pop(key, None)
        address = self._address(network, joining.endpoint.ipv4_wanted)
        if self.engine is not None and network.id not in {n.id for n in self.engine.networks()}:
            await self.engine.network_create(network)
        self.held[key], self.names[key] = address, joining.names
        return replace(joining.endpoint, ipv4_wanted=address)

    def _address(self, network: Network, wanted: str) -> str:
        subnet = ipaddress.IPv4Network(network.pools[0].subnet)
        taken = {a for (_, id), a in self.held.items() if id == network.id}
        taken.add(network.pools[0].gateway)
        if wanted:
            if ipaddress.IPv4Address(wanted) not in subnet:
                raise BadAddress(f"{wanted} is not in {subnet}")
            if wanted in taken:
                raise Conflict(f"Address already in use: {wanted}")
            return wanted
        free = next((str(host) for host in subnet.hosts() if str(host) not in taken), None)
        if free is None:
            raise Exhausted(f"no address is left on {network.name}")
        return free

    def detach(self, container_id: str, network_id: str) -> None:
        self.held.pop((container_id, network_id), None)
        self.names.pop((container_id, network_id), None)

    async def ready(self) -> None:
        return

    def _ask(self) -> None:
        if self.away:
            raise Unavailable("no manager of the swarm can be asked")
