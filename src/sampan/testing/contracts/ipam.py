"""What every IPAM driver keeps to. Subclass it as ``TestX`` and give the fixture ``ipam``."""

from __future__ import annotations

import ipaddress

import pytest

from sampan.network.contract import AddressTaken, BadAddress, NoAddressLeft
from sampan.network.drivers.contract import IpamDriver, Pool, PoolRequest

NETWORK = "a" * 64


def asked(subnet: str = "", **more: str) -> PoolRequest:
    return PoolRequest(network_id=NETWORK, version=4, subnet=subnet, **more)  # type: ignore[arg-type]


class IpamDriverContract:
    @pytest.fixture
    async def ipam(self) -> IpamDriver:
        """With nothing given."""
        raise NotImplementedError

    @pytest.fixture
    async def pool(self, ipam: IpamDriver) -> Pool:
        return await ipam.request_pool(asked("10.216.0.0/29"))

    async def test_a_pool_is_complete(self, ipam: IpamDriver) -> None:
        pool = await ipam.request_pool(asked("10.216.0.0/24"))
        assert pool.network_id == NETWORK
        assert pool.record.subnet == "10.216.0.0/24"
        gateway = ipaddress.ip_address(pool.record.gateway)
        assert gateway in ipaddress.ip_network(pool.record.subnet)
        lease = await ipam.request_address(pool, "c1")
        assert lease.address != pool.record.gateway
        await ipam.release_pool(pool)
        await ipam.release_pool(pool)

    async def test_a_subnet_is_chosen(self, ipam: IpamDriver) -> None:
        pool = await ipam.request_pool(asked())
        assert ipaddress.ip_network(pool.record.subnet).version == 4
        assert pool.record.gateway

    async def test_nonsense_is_refused(self, ipam: IpamDriver) -> None:
        with pytest.raises(BadAddress):
            await ipam.request_pool(asked("banana"))

    async def test_an_address_is_given_once(self, ipam: IpamDriver, pool: Pool) -> None:
        first = await ipam.request_address(pool, "c1")
        second = await ipam.request_address(pool, "c2")
        assert first.address != second.address
        assert ipaddress.ip_address(first.address) in ipaddress.ip_network(pool.record.subnet)
        with pytest.raises(AddressTaken):
            await ipam.request_address(pool, "c3", wanted=first.address)

    async def test_the_address_asked_for_is_given(self, ipam: IpamDriver, pool: Pool) -> None:
        lease = await ipam.request_address(pool, "c1", wanted="10.216.0.5")
        assert (lease.address, lease.quarantined) == ("10.216.0.5", False)

    async def test_one_of_another_subnet_is_refused(self, ipam: IpamDriver, pool: Pool) -> None:
        with pytest.raises(BadAddress):
            await ipam.request_address(pool, "c1", wanted="192.0.2.1")

    async def test_all_are_given_and_no_more(self, ipam: IpamDriver, pool: Pool) -> None:
        # of eight: the network, broadcast and the gateway are nobody's
        got = [(await ipam.request_address(pool, f"c{n}")).address for n in range(5)]
        assert len(set(got)) == 5
        with pytest.raises(NoAddressLeft):
            await ipam.request_address(pool, "one more")
        await ipam.release_address(pool, "c3", got[3])
        await ipam.release_address(pool, "c3", got[3])
        assert (await ipam.request_address(pool, "one more")).address == got[3]

    async def test_what_is_another_s_stays_another_s(self, ipam: IpamDriver, pool: Pool) -> None:
        lease = await ipam.request_address(pool, "c1", wanted="10.216.0.5")
        await ipam.release_address(pool, "c1", lease.address)
        await ipam.request_address(pool, "c2", wanted="10.216.0.5")
        await ipam.release_address(pool, "c1", lease.address)
        with pytest.raises(AddressTaken):
            await ipam.request_address(pool, "c3", wanted="10.216.0.5")

    async def test_who_is_leaving_may_come_back(self, ipam: IpamDriver, pool: Pool) -> None:
        """Whatever it gets then: what has left is free, and what has come stays taken."""
        first = await ipam.request_address(pool, "c1")
        ipam.quarantine_address(pool, "c1", first.address)
        again = await ipam.request_address(pool, "c1")
        assert again.quarantined == (again.address == first.address)
        await ipam.release_address(pool, "c1", first.address)
        with pytest.raises(AddressTaken):
            await ipam.request_address(pool, "c2", wanted=again.address)
        if again.address != first.address:
            await ipam.request_address(pool, "c2", wanted=first.address)

    async def test_what_was_given_is_taken_back(self, ipam: IpamDriver) -> None:
        pool = await ipam.request_pool(asked("10.216.0.0/29"))
        await ipam.restore_pool(pool)
        await ipam.restore_address(pool, "c1", "10.216.0.5")
        await ipam.restore_address(pool, "c1", "10.216.0.5")
        with pytest.raises(AddressTaken):
            await ipam.request_address(pool, "c2", wanted="10.216.0.5")
