"""Address management as a driver: the built-in one, and one of somebody else's behind a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sampan.aio import SystemClock
from sampan.config import DaemonConfig, Paths
from sampan.engine.drivers import Drivers
from sampan.errors import InvalidArgument
from sampan.network.drivers.contract import IpamDriver, Lease, Pool, PoolRequest
from sampan.network.drivers.ipam import HostIpam
from sampan.network.networks import HostNetworks
from sampan.store.records import IpamPool, Network
from sampan.testing.contracts.ipam import IpamDriverContract, asked
from sampan.testing.contracts.networks import container, joined, network, wish
from sampan.testing.host_networks import open_host_networks
from sampan.testing.linux import FEATURES, FakeLinux


def config_at(base: Path) -> DaemonConfig:
    paths = Paths(base / "root", base / "state")
    for directory in (paths.root, paths.state):
        directory.mkdir()
    return DaemonConfig(paths=paths)


class TestHostIpam(IpamDriverContract):
    @pytest.fixture
    async def ipam(self, tmp_path: Path) -> IpamDriver:
        return HostIpam(config_at(tmp_path))


async def test_options_of_another_driver_are_refused(tmp_path: Path) -> None:
    wanted = replace(asked("10.216.0.0/29"), options={"pool": "blue"})
    with pytest.raises(InvalidArgument, match="IPAM driver default has no option pool: leave it"):
        await HostIpam(config_at(tmp_path)).request_pool(wanted)


async def test_an_address_that_was_given_up_twice_is_free_once(tmp_path: Path) -> None:
    """A container that leaves, comes back to its address and fails: nobody's in the end."""
    ipam = HostIpam(config_at(tmp_path))
    pool = await ipam.request_pool(asked("10.216.0.0/29"))
    first = await ipam.request_address(pool, "c1")
    ipam.quarantine_address(pool, "c1", first.address)
    again = await ipam.request_address(pool, "c1")
    assert again == Lease(address=first.address, quarantined=True)
    await ipam.release_address(pool, "c1", again.address)  # its start has failed
    await ipam.release_address(pool, "c1", first.address)  # its first interface has gone
    lease = await ipam.request_address(pool, "c2", wanted=first.address)
    assert not lease.quarantined


class CountingIpam:
    """Somebody else's: 10.217.N.0/24 for the N-th pool, addresses from the top."""

    def __init__(self) -> None:
        self.pools: dict[str, dict[str, str]] = {}
        self.requests: list[PoolRequest] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.reached = asyncio.Event()

    async def request_pool(self, request: PoolRequest) -> Pool:
        self.requests.append(request)
        number = len(self.requests)
        record = IpamPool(
            subnet=f"10.217.{number}.0/24", gateway=f"10.217.{number}.254", id=f"pool {number}"
        )
        self.pools[record.id] = {}
        return Pool(request.network_id, record)

    async def release_pool(self, pool: Pool) -> None:
        self.pools.pop(pool.record.id, None)

    async def restore_pool(self, pool: Pool) -> None:
        self.pools.setdefault(pool.record.id, {})

    async def request_address(
        self, pool: Pool, owner: str, *, wanted: str = "", mac: str = ""
    ) -> Lease:
        self.reached.set()
        await self.answers.wait()
        given = self.pools[pool.record.id]
        stem = pool.record.subnet.rpartition(".")[0]
        address = next(a for n in range(253, 0, -1) if (a := f"{stem}.{n}") not in given)
        given[address] = owner
        return Lease(address=address)

    async def restore_address(self, pool: Pool, owner: str, address: str) -> None:
        self.pools[pool.record.id][address] = owner

    def quarantine_address(self, pool: Pool, owner: str, address: str) -> None:
        return

    async def release_address(self, pool: Pool, owner: str, address: str) -> None:
        self.pools[pool.record.id].pop(address, None)


@pytest.fixture
def ipam() -> CountingIpam:
    return CountingIpam()


@pytest.fixture
def kernel() -> FakeLinux:
    return FakeLinux()


@pytest.fixture
async def networks(
    tmp_path: Path, kernel: FakeLinux, ipam: CountingIpam
) -> AsyncIterator[HostNetworks]:
    drivers = Drivers()
    drivers.ipam.register("counting", ipam)
    config = config_at(tmp_path)
    async with open_host_networks(config, SystemClock(), kernel.linux, drivers) as made:
        await made.start([])
        yield made


def counted(**more: object) -> Network:
    return Network(
        id="1" * 64,
        name="counted",
        driver="bridge",
        created_at=1.0,
        ipam_driver="counting",
        ipam_options={"of": "mine"},
        **more,  # type: ignore[arg-type]
    )


async def test_a_network_has_the_addresses_of_its_own_manager(
    networks: HostNetworks, ipam: CountingIpam
) -> None:
    made = await networks.create(counted())
    (pool,) = made.pools
    assert (pool.subnet, pool.gateway, pool.id) == ("10.217.1.0/24", "10.217.1.254", "pool 1")
    assert ipam.requests[0].options == {"of": "mine"}
    sandbox, endpoint = await joined(networks, made)
    assert (endpoint.ipv4, endpoint.gateway) == ("10.217.1.253", "10.217.1.254")
    assert ipam.pools["pool 1"] == {"10.217.1.253": sandbox.container_id}
    await networks.detach(sandbox, made, endpoint)
    assert not ipam.pools["pool 1"]
    await networks.remove(made)
    assert not ipam.pools


async def test_a_manager_that_waits_holds_up_nobody_else(
    networks: HostNetworks, ipam: CountingIpam
) -> None:
    slow, quick = await networks.create(counted()), await networks.create(network("quick"))
    ipam.answers.clear()
    waiting = await networks.open_sandbox(container())
    async with asyncio.TaskGroup() as group:
        attach = group.create_task(networks.attach(waiting, slow, wish(), default_route=True))
        await ipam.reached.wait()
        sandbox, _ = await joined(networks, quick)
        await networks.close_sandbox(sandbox.container_id)
        assert not attach.done()
        ipam.answers.set()
    assert attach.result().ipv4 == "10.217.1.253"


async def test_a_container_ends_without_its_address_manager(
    tmp_path: Path, kernel: FakeLinux, ipam: CountingIpam
) -> None:
    drivers = Drivers()
    drivers.ipam.register("counting", ipam)
    config = config_at(tmp_path)
    async with open_host_networks(config, SystemClock(), kernel.linux, drivers) as networks:
        await networks.start([])
        sandbox, _ = await joined(networks, await networks.create(counted()))
        drivers.ipam.forget("counting")
        await networks.close_sandbox(sandbox.container_id)
        assert not kernel.spaces


async def test_a_network_that_cannot_be_made_gives_its_subnets_back(
    tmp_path: Path, ipam: CountingIpam
) -> None:
    drivers, kernel = Drivers(), FakeLinux(FEATURES - {"bridge"})
    drivers.ipam.register("counting", ipam)
    config = config_at(tmp_path)
    async with open_host_networks(config, SystemClock(), kernel.linux, drivers) as networks:
        await networks.start([])
        with pytest.raises(OSError, match="not supported"):
            await networks.create(counted())
    assert len(ipam.requests) == 1
    assert not ipam.pools
