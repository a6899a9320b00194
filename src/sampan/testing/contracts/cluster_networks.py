"""What every ``ClusterNetworks`` keeps to. Subclass it as ``TestX`` and override the fixture.

There are the networks ``net`` (10.9.1.0/29: five addresses to give) and ``shut``, which nobody may
attach to by hand.
"""

from __future__ import annotations

import ipaddress

import pytest

from sampan.engine.cluster_networks import ClusterNetworks, Joining
from sampan.errors import Conflict, Exhausted, Forbidden, InvalidArgument
from sampan.network.contract import NoSuchNetwork
from sampan.store.records import EndpointSettings

SUBNET = "10.9.1.0/29"


class ClusterNetworksContract:
    @pytest.fixture
    async def networks(self) -> ClusterNetworks:
        raise NotImplementedError

    async def joining(
        self, networks: ClusterNetworks, container: str, *, ref: str = "net", address: str = ""
    ) -> Joining:
        network = await networks.resolve(ref)
        return Joining(
            container_id=container,
            endpoint=EndpointSettings(
                network_id=network.id,
                network_name=network.name,
                ipv4_wanted=address,
                cluster="requested",
            ),
            names=(container,),
        )

    async def test_a_network_is_found(self, networks: ClusterNetworks) -> None:
        network = await networks.resolve("net")
        assert (network.name, network.scope, network.attachable) == ("net", "swarm", True)
        assert await networks.resolve(network.id) == network
        assert await networks.resolve(network.id[:8]) == network

    async def test_what_is_not_there_or_not_for_everybody(self, networks: ClusterNetworks) -> None:
        with pytest.raises(NoSuchNetwork, match="network nope not found"):
            await networks.resolve("nope")
        with pytest.raises(Forbidden, match="network shut not manually attachable"):
            await networks.resolve("shut")

    async def test_everybody_has_an_address_of_his_own(self, networks: ClusterNetworks) -> None:
        given = [
            (await networks.attach(await self.joining(networks, name))).ipv4_wanted
            for name in ("a", "b", "c", "d", "e")
        ]
        assert len(set(given)) == 5
        assert all(ipaddress.IPv4Address(one) in ipaddress.IPv4Network(SUBNET) for one in given)
        joining = await self.joining(networks, "f")
        with pytest.raises(Exhausted):
            await networks.attach(joining)

    async def test_a_wish_is_granted_or_refused(self, networks: ClusterNetworks) -> None:
        joining = await self.joining(networks, "a", address="10.9.1.5")
        assert (await networks.attach(joining)).ipv4_wanted == "10.9.1.5"
        for address, error in (("10.9.1.5", Conflict), ("10.9.2.5", InvalidArgument)):
            with pytest.raises(error, match=address):
                await networks.attach(await self.joining(networks, "b", address=address))

    async def test_what_is_given_back_is_free(self, networks: ClusterNetworks) -> None:
        joining = await self.joining(networks, "a", address="10.9.1.5")
        await networks.attach(joining)
        networks.detach("a", joining.endpoint.network_id)
        networks.detach("a", joining.endpoint.network_id)
        await self.heard(networks)
        other = await self.joining(networks, "b", address="10.9.1.5")
        assert (await networks.attach(other)).ipv4_wanted == "10.9.1.5"

    async def heard(self, networks: ClusterNetworks) -> None:
        """Wait until the cluster knows of what was given back."""

    async def test_a_network_that_has_gone(self, networks: ClusterNetworks) -> None:
        endpoint = EndpointSettings(network_id="gone", network_name="old", cluster="requested")
        with pytest.raises(NoSuchNetwork):
            await networks.attach(Joining(container_id="a", endpoint=endpoint, names=("a",)))
