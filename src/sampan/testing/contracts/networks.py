"""What every ``Networks`` keeps to. Subclass it as ``TestX`` and override the fixture."""

from __future__ import annotations

import ipaddress
import secrets
from pathlib import Path

import pytest
from msgspec import structs

from sampan.errors import NotFound
from sampan.network.contract import (
    AddressTaken,
    BadAddress,
    ContainerNet,
    Networks,
    PortTaken,
    Sandbox,
    SubnetOverlap,
)
from sampan.store.records import EndpointSettings, IpamPool, Network, PortBinding


def network(name: str = "n", driver: str = "bridge", *pools: IpamPool) -> Network:
    return Network(id=secrets.token_hex(32), name=name, driver=driver, created_at=1.0, pools=pools)


def container(name: str = "c") -> ContainerNet:
    container_id = secrets.token_hex(32)
    return ContainerNet(container_id=container_id, name=name, hostname=container_id[:12])


def publishing(port: str, host_port: int = 0) -> dict[str, tuple[PortBinding, ...]]:
    """``port`` ("80/tcp") on the loopback; 0: any free one."""
    return {port: (PortBinding(host_ip="127.0.0.1", host_port=str(host_port or "")),)}


def free_subnet() -> ipaddress.IPv4Network:
    """A /24 that no route of this host meets, whatever else runs on it."""
    taken = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        # address and mask, each as the little-endian hex of a 32-bit word
        address, mask = (int(line.split()[n], 16).to_bytes(4, "little") for n in (1, 7))
        if any(mask):
            taken.append(
                ipaddress.ip_network(
                    f"{ipaddress.ip_address(address)}/{ipaddress.ip_address(mask)}"
                )
            )
    return next(
        subnet
        for subnet in ipaddress.IPv4Network("10.213.0.0/16").subnets(new_prefix=24)
        if not any(subnet.overlaps(other) for other in taken)
    )


def wish(**asked: str) -> EndpointSettings:
    return EndpointSettings(network_id="", network_name="", **asked)  # type: ignore[arg-type]


async def joined(
    networks: Networks, segment: Network, **asked: str
) -> tuple[Sandbox, EndpointSettings]:
    """A new sandbox on ``segment``."""
    sandbox = await networks.open_sandbox(container())
    return sandbox, await networks.attach(sandbox, segment, wish(**asked), default_route=True)


class NetworksContract:
    @pytest.fixture
    async def networks(self) -> Networks:
        """Started, with nothing in it."""
        raise NotImplementedError

    async def test_a_network_without_a_subnet_is_given_one(self, networks: Networks) -> None:
        made = await networks.create(network())
        (pool,) = made.pools
        subnet = ipaddress.ip_network(pool.subnet)
        assert ipaddress.ip_address(pool.gateway) == subnet[1]
        assert made.bridge

    async def test_two_networks_never_overlap(self, networks: Networks) -> None:
        one, other = await networks.create(network("a")), await networks.create(network("b"))
        assert not ipaddress.ip_network(one.pools[0].subnet).overlaps(
            ipaddress.ip_network(other.pools[0].subnet)
        )

    async def test_a_subnet_asked_for_twice_is_refused(self, networks: Networks) -> None:
        subnet = free_subnet()
        await networks.create(network("a", "bridge", IpamPool(subnet=str(subnet))))
        half = next(subnet.subnets())
        with pytest.raises(SubnetOverlap, match="Pool overlaps"):
            await networks.create(network("b", "bridge", IpamPool(subnet=str(half))))

    async def test_nonsense_is_no_subnet(self, networks: Networks) -> None:
        with pytest.raises(BadAddress):
            await networks.create(network("a", "bridge", IpamPool(subnet="banana")))

    async def test_an_unknown_driver_is_refused_by_name(self, networks: Networks) -> None:
        with pytest.raises(NotFound, match="could not find plugin weave in v1 plugin registry"):
            await networks.create(network(driver="weave"))

    async def test_an_unknown_address_manager_is_refused_by_name(self, networks: Networks) -> None:
        wanted = structs.replace(network(), ipam_driver="weave")
        with pytest.raises(NotFound, match="could not find plugin weave in v1 plugin registry"):
            await networks.create(wanted)

    async def test_a_removed_network_s_subnet_is_free(self, networks: Networks) -> None:
        pool = IpamPool(subnet="10.213.8.0/24")
        made = await networks.create(network("a", "bridge", pool))
        await networks.remove(made)
        await networks.remove(made)
        await networks.create(network("b", "bridge", pool))

    async def test_addresses_are_handed_out_in_order(self, networks: Networks) -> None:
        made = await networks.create(network("a", "bridge", IpamPool(subnet="10.213.9.0/24")))
        got = [(await joined(networks, made))[1] for _ in range(3)]
        assert [e.ipv4 for e in got] == ["10.213.9.2", "10.213.9.3", "10.213.9.4"]
        assert {(e.ipv4_prefix, e.gateway, e.interface) for e in got} == {
            (24, "10.213.9.1", "eth0")
        }
        assert got[0].mac == "02:42:0a:d5:09:02"
        assert len({e.endpoint_id for e in got}) == 3

    async def test_an_address_asked_for_is_given_once(self, networks: Networks) -> None:
        made = await networks.create(network("a", "bridge", IpamPool(subnet="10.213.10.0/24")))
        _, endpoint = await joined(networks, made, ipv4_wanted="10.213.10.77")
        assert endpoint.ipv4 == "10.213.10.77"
        with pytest.raises(AddressTaken):
            await joined(networks, made, ipv4_wanted="10.213.10.77")
        with pytest.raises(BadAddress):
            await joined(networks, made, ipv4_wanted="10.99.0.1")

    async def test_a_closed_sandbox_gives_everything_back(self, networks: Networks) -> None:
        made = await networks.create(network("a", "bridge", IpamPool(subnet="10.213.11.0/24")))
        sandbox, endpoint = await joined(networks, made, ipv4_wanted="10.213.11.9")
        binding = publishing("80/tcp")
        (port,) = await networks.publish(sandbox, endpoint, made, binding)
        await networks.close_sandbox(sandbox.container_id)
        await networks.close_sandbox(sandbox.container_id)
        sandbox, endpoint = await joined(networks, made, ipv4_wanted="10.213.11.9")
        again = publishing("80/tcp", port.host_port)
        assert (await networks.publish(sandbox, endpoint, made, again))[0] == port

    async def test_a_second_network_is_a_second_interface(self, networks: Networks) -> None:
        one, other = await networks.create(network("a")), await networks.create(network("b"))
        sandbox, first = await joined(networks, one)
        second = await networks.attach(sandbox, other, wish(), default_route=False)
        assert (first.interface, second.interface) == ("eth0", "eth1")
        await networks.detach(sandbox, one, first)
        await networks.detach(sandbox, one, first)

    async def test_a_port_is_published_once(self, networks: Networks) -> None:
        made = await networks.create(network())
        (one, at), (other, there) = await joined(networks, made), await joined(networks, made)
        free = publishing("80/tcp")
        (port,) = await networks.publish(one, at, made, free)
        assert port.host_port > 0
        assert (port.container_port, port.protocol) == (80, "tcp")
        taken = publishing("81/tcp", port.host_port)
        with pytest.raises(PortTaken, match="port is already allocated"):
            await networks.publish(other, there, made, taken)
        await networks.unpublish(one.container_id)
        await networks.unpublish(one.container_id)
        assert await networks.publish(other, there, made, taken)

    async def test_etc_files_name_the_container(self, networks: Networks) -> None:
        made = await networks.create(network())
        box = container()
        sandbox = await networks.open_sandbox(box)
        endpoint = await networks.attach(sandbox, made, wish(), default_route=True)
        files = networks.etc_files(box, [endpoint], host_network=False)
        assert f"{endpoint.ipv4}\t{box.hostname}\n" in files.hosts
        assert files.hosts.startswith("127.0.0.1\tlocalhost\n")
        assert files.hostname == box.hostname + "\n"
        assert "nameserver 127.0.0.11\n" in files.resolv_conf
