"""Networks of a plugin's process, by the driver's contract."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sampan.kernel.linux import HOST
from sampan.network.contract import Sandbox
from sampan.network.drivers.contract import Joined, NetworkCapabilities, NetworkDriver, StaticRoute
from sampan.network.worker import NetworkWorker
from sampan.plugins.errors import BadAnswer, NoAnswer, PluginFailed, PluginRefused
from sampan.plugins.network_driver import GlobalScope, PluginNetworkDriver
from sampan.plugins.plugins import Plugins
from sampan.store.records import EndpointSettings, IpamPool, Network
from sampan.testing.contracts.network_driver import NetworkDriverContract
from sampan.testing.plugins.process import PluginProcess, Start

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the plugin makes interfaces: needs root")

NETWORK = Network(
    id=secrets.token_hex(32),
    name="net",
    driver="plug",
    created_at=1.0,
    options={"o": "1"},
    pools=(IpamPool(subnet="10.66.0.0/24", gateway="10.66.0.1", aux_addresses={"a": "10.66.0.9"}),),
)
ENDPOINT = EndpointSettings(
    network_id=NETWORK.id,
    network_name="net",
    endpoint_id=secrets.token_hex(32),
    driver_opts={"e": "2"},
    ipv4="10.66.0.2",
    ipv4_prefix=24,
    mac="02:42:0a:42:00:02",
    interface="eth3",
)
SANDBOX = Sandbox("c1", Path("/run/netns/c1"))


def links() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


@pytest.fixture
def plugin(start: Start) -> PluginProcess:
    return start("network")


@pytest.fixture
async def driver(
    plugin: PluginProcess, plugins: Plugins, base: Path
) -> AsyncIterator[PluginNetworkDriver]:
    client = await plugins.client("plug", "NetworkDriver")
    driver = await PluginNetworkDriver.open(client, base / "made")
    yield driver
    plugin.behave()
    await driver.remove(NETWORK)


async def join(driver: PluginNetworkDriver, endpoint: EndpointSettings = ENDPOINT) -> Joined:
    return await driver.join(NETWORK, endpoint, SANDBOX, default_route=True)


async def test_a_network_from_its_making_to_its_end(
    plugin: PluginProcess, driver: PluginNetworkDriver
) -> None:
    before = links()
    assert driver.capabilities == NetworkCapabilities()
    assert await driver.create(NETWORK) == NETWORK
    made = plugin.calls("NetworkDriver.CreateNetwork")[0].request
    assert made == {
        "NetworkID": NETWORK.id,
        "Options": {
            "com.docker.network.generic": {"o": "1"},
            "com.docker.network.enable_ipv4": True,
        },
        "IPv4Data": [
            {
                "AddressSpace": "LocalDefault",
                "Pool": "10.66.0.0/24",
                "Gateway": "10.66.0.1/24",
                "AuxAddresses": {"a": "10.66.0.9/24"},
            }
        ],
        "IPv6Data": [],
    }
    joined = await join(driver)
    assert joined.source in links()
    assert joined.endpoint == msgspec.structs.replace(ENDPOINT, gateway="10.66.0.1")
    assert joined.routes == (StaticRoute("198.51.100.0/24"),)
    assert joined.needs_egress is False
    asked = plugin.calls("NetworkDriver.CreateEndpoint")[0].request
    assert asked["Interface"] == {"Address": "10.66.0.2/24", "AddressIPv6": "", "MacAddress": ""}
    assert asked["Options"]["com.docker.network.generic"] == {"e": "2"}
    assert plugin.calls("NetworkDriver.Join")[0].request["SandboxKey"] == "/run/netns/c1"
    await driver.leave(NETWORK, ENDPOINT, SANDBOX, closing=False)
    assert joined.source not in links()
    await driver.leave(NETWORK, ENDPOINT, SANDBOX, closing=False)
    await driver.remove(NETWORK)
    await driver.remove(NETWORK)
    assert links() == before


@pytest.mark.parametrize(
    ("how", "error"),
    [("error", PluginRefused), ("die", NoAnswer), ("hang", NoAnswer), ("garbage", BadAnswer)],
)
async def test_a_join_that_fails_leaves_nothing(
    plugin: PluginProcess, driver: PluginNetworkDriver, how: str, error: type[PluginFailed]
) -> None:
    await driver.create(NETWORK)
    plugin.behave(NetworkDriver_Join=how)  # type: ignore[arg-type]
    with pytest.raises(error, match=r"NetworkDriver.Join"):
        await join(driver)
    if how == "die":
        plugin.wait()
        plugin.start()
    else:
        assert plugin.calls("NetworkDriver.DeleteEndpoint")


ANSWERS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"Address": "10.66.0.3/24"}, {}, "driver modified interface address"),
    ({}, {"Gateway": "nowhere"}, "unable to parse Gateway 'nowhere'"),
    ({}, {"GatewayIPv6": "10.66.0.1"}, "it is not an IPv6 address"),
    ({}, {"StaticRoutes": [{"Destination": "there"}]}, "'there' is not ADDRESS/PREFIX"),
    ({}, {"InterfaceName": {"SrcName": "x", "DstPrefix": "a/b"}}, "not the beginning of an"),
    ({}, {"InterfaceName": {"SrcName": "x", "DstPrefix": "a" * 15}}, "not the beginning of an"),
]


@pytest.mark.parametrize(("made", "joined", "problem"), ANSWERS)
async def test_what_a_plugin_answers_is_checked(
    plugin: PluginProcess,
    driver: PluginNetworkDriver,
    made: dict[str, Any],
    joined: dict[str, Any],
    problem: str,
) -> None:
    await driver.create(NETWORK)
    plugin.answer(NetworkDriver_CreateEndpoint={"Interface": made}, NetworkDriver_Join=joined)
    with pytest.raises(BadAnswer, match=problem):
        await join(driver)
    assert plugin.calls("NetworkDriver.DeleteEndpoint")


@pytest.mark.parametrize(
    ("said", "egress"),
    [
        ({}, True),
        ({"DisableGatewayService": True}, False),
        ({"Gateway": "10.66.0.1"}, False),
        ({"GatewayIPv6": "fe80::1"}, False),
        ({"StaticRoutes": [{"Destination": "0.0.0.0/0", "NextHop": "10.66.0.1"}]}, False),
        ({"StaticRoutes": [{"Destination": "10.0.0.0/8", "NextHop": "10.66.0.1"}]}, True),
    ],
)
async def test_a_network_that_leads_nowhere_gets_a_second_way_out(
    plugin: PluginProcess, driver: PluginNetworkDriver, said: dict[str, Any], egress: bool
) -> None:
    await driver.create(NETWORK)
    name = {"InterfaceName": {"SrcName": "x", "DstPrefix": "weave"}}
    chosen = {"MacAddress": "02:42:AC:00:00:05"}
    plugin.answer(
        NetworkDriver_CreateEndpoint={"Interface": chosen}, NetworkDriver_Join=said | name
    )
    joined = await join(driver)
    assert joined.needs_egress is egress
    assert (joined.source, joined.endpoint.interface) == ("x", "weave3")
    assert joined.endpoint.mac == "02:42:ac:00:00:05"


async def test_a_plugin_is_told_of_a_network_once_a_boot(
    plugin: PluginProcess, driver: PluginNetworkDriver, base: Path
) -> None:
    await driver.create(NETWORK)
    await driver.ensure(NETWORK)
    assert len(plugin.calls("NetworkDriver.CreateNetwork")) == 1
    (base / "made" / NETWORK.id).unlink()  # a reboot
    await driver.ensure(NETWORK)
    assert len(plugin.calls("NetworkDriver.CreateNetwork")) == 2, "which the plugin refuses"


class TestPlugin(NetworkDriverContract):
    @pytest.fixture
    async def worker(self) -> AsyncIterator[NetworkWorker]:
        made = NetworkWorker(HOST)
        await made.open()
        yield made
        await made.close()

    @pytest.fixture
    async def driver(self, driver: NetworkDriver) -> NetworkDriver:
        return driver


async def test_a_plugin_of_a_cluster_is_refused_with_the_reason(
    plugin: PluginProcess, plugins: Plugins
) -> None:
    client = await plugins.client("plug", "NetworkDriver")
    plugin.answer(NetworkDriver_GetCapabilities={"Scope": "global"})
    with pytest.raises(GlobalScope, match='the scope "global"'):
        await PluginNetworkDriver.open(client, Path("/nowhere"))
    plugin.answer(NetworkDriver_GetCapabilities={"Scope": "galaxy"})
    with pytest.raises(BadAnswer, match="expecting 'local' or 'global', got 'galaxy'"):
        await PluginNetworkDriver.open(client, Path("/nowhere"))


async def test_a_plugin_that_does_not_answer_keeps_the_address_out_of_use(
    plugin: PluginProcess, driver: PluginNetworkDriver
) -> None:
    await driver.create(NETWORK)
    await join(driver)
    plugin.behave(NetworkDriver_DeleteEndpoint="hang")
    with pytest.raises(NoAnswer):
        await driver.leave(NETWORK, ENDPOINT, SANDBOX, closing=False)
    plugin.behave()
    await driver.leave(NETWORK, ENDPOINT, SANDBOX, closing=False)
