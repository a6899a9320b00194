"""Subnets and addresses of a plugin's process, by the driver's contract."""

from __future__ import annotations

import pytest

from sampan.network.contract import AddressTaken, BadAddress, NoAddressLeft
from sampan.network.drivers.contract import IpamDriver, PoolRequest
from sampan.plugins.errors import BadAnswer, PluginRefused
from sampan.plugins.ipam_driver import PluginIpamDriver
from sampan.plugins.plugins import Plugins
from sampan.testing.contracts.ipam import IpamDriverContract
from sampan.testing.plugins.process import PluginProcess, Start


@pytest.fixture
def plugin(start: Start) -> PluginProcess:
    return start("ipam")


@pytest.fixture
async def driver(plugin: PluginProcess, plugins: Plugins) -> IpamDriver:
    return await PluginIpamDriver.open(await plugins.client("plug", "IpamDriver"))


class TestPlugin(IpamDriverContract):
    @pytest.fixture
    async def ipam(self, driver: IpamDriver) -> IpamDriver:
        return driver


def wanted(**words: object) -> PoolRequest:
    return PoolRequest(network_id="n", version=4, **words)  # type: ignore[arg-type]


async def test_a_pool_from_its_making_to_its_end(plugin: PluginProcess, driver: IpamDriver) -> None:
    pool = await driver.request_pool(
        wanted(subnet="10.9.0.0/24", aux_addresses={"router": "10.9.0.9"}, options={"o": "1"})
    )
    assert pool.record.subnet == "10.9.0.0/24"
    assert pool.record.gateway == "10.9.0.254", "the plugin's choice"
    assert pool.record.id == "here/10.9.0.0/24"
    asked = plugin.calls("IpamDriver.RequestPool")[0].request
    assert asked["Options"] == {"o": "1"}
    gateway = plugin.calls("IpamDriver.RequestAddress")[0].request
    assert gateway["Options"] == {"RequestAddressType": "com.docker.network.gateway"}
    first = await driver.request_address(pool, "a")
    assert first.address == "10.9.0.253"
    assert (await driver.request_address(pool, "b", wanted="10.9.0.7")).address == "10.9.0.7"
    for taken in ("10.9.0.7", "10.9.0.9"):
        with pytest.raises(AddressTaken, match=f"{taken} is in use"):
            await driver.request_address(pool, "c", wanted=taken)
    with pytest.raises(BadAddress):
        await driver.request_address(pool, "c", wanted="10.10.0.1")
    await driver.release_address(pool, "a", "10.9.0.253")
    await driver.release_address(pool, "b", "10.9.0.7")
    await driver.release_pool(pool)
    await driver.release_pool(pool)
    with pytest.raises(NoAddressLeft, match="does not exist"):
        await driver.request_address(pool, "a")


async def test_an_address_is_released_by_its_owner_once(driver: IpamDriver) -> None:
    pool = await driver.request_pool(wanted())
    address = (await driver.request_address(pool, "a")).address
    await driver.release_address(pool, "somebody else", address)
    with pytest.raises(AddressTaken):
        await driver.request_address(pool, "b", wanted=address)
    await driver.release_address(pool, "a", address)
    await driver.request_address(pool, "b", wanted=address)
    await driver.release_address(pool, "a", address)
    with pytest.raises(AddressTaken):
        await driver.request_address(pool, "c", wanted=address)
    with pytest.raises(AddressTaken):
        await driver.restore_address(pool, "c", address)


async def test_a_request_that_fails_in_its_middle_gives_everything_back(
    plugin: PluginProcess, driver: IpamDriver
) -> None:
    with pytest.raises(PluginRefused, match=r"10.9.0.1 is in use"):
        await driver.request_pool(
            wanted(subnet="10.9.0.0/24", gateway="10.9.0.1", aux_addresses={"a": "10.9.0.1"})
        )
    with pytest.raises(BadAddress):
        await driver.request_pool(wanted(subnet="10.9.0.0/24", gateway="10.8.0.1"))
    assert [c.request["Address"] for c in plugin.calls("IpamDriver.ReleaseAddress")] == ["10.9.0.1"]
    assert len(plugin.calls("IpamDriver.ReleasePool")) == 2
    with pytest.raises(PluginRefused, match="there is no IPv6 here"):
        await driver.request_pool(PoolRequest(network_id="n", version=6))


async def test_what_a_plugin_says_of_an_address_is_checked(
    plugin: PluginProcess, driver: IpamDriver
) -> None:
    pool = await driver.request_pool(wanted())
    plugin.behave(IpamDriver_RequestAddress="garbage")
    with pytest.raises(BadAnswer):
        await driver.request_address(pool, "a")


async def test_a_plugin_that_keeps_its_state_is_not_asked_again_after_a_restart(
    plugin: PluginProcess, driver: IpamDriver, plugins: Plugins
) -> None:
    pool = await driver.request_pool(wanted())
    address = (await driver.request_address(pool, "a")).address
    plugin.forget_calls()
    later = await PluginIpamDriver.open(await plugins.client("plug", "IpamDriver"))
    await later.restore_pool(pool)
    await later.restore_address(pool, "a", address)
    assert not plugin.calls("IpamDriver.RequestPool", "IpamDriver.RequestAddress")
    await later.release_address(pool, "a", address)
    assert plugin.calls("IpamDriver.ReleaseAddress")[0].request["Address"] == address
