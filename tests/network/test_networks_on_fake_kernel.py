"""The host's networks on the kernel in memory: whole, and with a failure at every call of it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from sampan.aio import SystemClock
from sampan.config import DaemonConfig, Paths
from sampan.engine.drivers import Drivers
from sampan.errors import SampanError
from sampan.network.contract import Networks, Survivor
from sampan.network.networks import HostNetworks
from sampan.store.records import IpamPool, Network
from sampan.testing.contracts.networks import (
    NetworksContract,
    container,
    joined,
    network,
    publishing,
    wish,
)
from sampan.testing.faults import Faults
from sampan.testing.host_networks import open_host_networks
from sampan.testing.linux import FakeLinux
from sampan.testing.toy_network import NAME, ToyNetworkDriver

SUBNET = IpamPool(subnet="10.215.0.0/24")


@pytest.fixture
def config(tmp_path: Path) -> DaemonConfig:
    paths = Paths(tmp_path / "root", tmp_path / "state")
    for directory in (paths.root, paths.state):
        directory.mkdir()
    return DaemonConfig(paths=paths)


@pytest.fixture
def kernel() -> FakeLinux:
    return FakeLinux()


@pytest.fixture
def drivers() -> Drivers:
    return Drivers()


@pytest.fixture
async def networks(
    config: DaemonConfig, kernel: FakeLinux, drivers: Drivers
) -> AsyncIterator[HostNetworks]:
    async with open_host_networks(config, SystemClock(), kernel.linux, drivers) as made:
        await made.start([])
        yield made


class TestOnFakeKernel(NetworksContract):
    @pytest.fixture
    async def networks(self, networks: HostNetworks) -> Networks:
        return networks


def elements(kernel: FakeLinux) -> dict[str, dict[str, str]]:
    """What is in the sets and maps of the host's tables."""
    return {
        f"{table[1]} {name}": found
        for table, held in kernel.home.tables.items()
        for name, found in held.sets.items()
        if found
    }


async def test_a_container_comes_and_goes_without_a_trace(
    networks: HostNetworks, kernel: FakeLinux
) -> None:
    made = await networks.create(network("a", "bridge", SUBNET))
    sandbox, endpoint = await joined(networks, made)
    await networks.publish(sandbox, endpoint, made, publishing("80/tcp"))
    inside = kernel.space(sandbox.path)
    (eth0,) = (link for link in inside.links.values() if link.name == "eth0")
    assert [(i, str(a)) for i, a in inside.addresses] == [(eth0.index, "10.215.0.2/24")]
    assert [r.gateway for r in inside.routes] == ["10.215.0.1"]
    assert inside.sysctls["net/ipv4/ip_unprivileged_port_start"] == "0"
    assert any("exact4" in name for name in elements(kernel))
    await networks.close_sandbox(sandbox.container_id)
    await networks.remove(made)
    assert kernel.home.empty
    assert not kernel.spaces
    assert not elements(kernel)


@pytest.mark.parametrize("driver", ["bridge", NAME])
async def test_a_failure_at_any_call_of_the_kernel_leaves_nothing(
    config: DaemonConfig, driver: str
) -> None:
    """Create, open, attach, a second network, publish: each fails once at each of its calls."""
    hits = []
    for fail_at in range(1, 200):
        kernel, drivers = FakeLinux(), Drivers()
        drivers.network.register(NAME, ToyNetworkDriver(kernel.linux))
        async with open_host_networks(config, SystemClock(), kernel.linux, drivers) as networks:
            await networks.start([])
            kernel.faults = faults = Faults(fail_at=fail_at)
            faults.armed = True
            made: list[Network] = []
            box = container()
            try:
                for name in ("a", "b"):
                    made.append(await networks.create(network(name, driver)))
                sandbox = await networks.open_sandbox(box)
                first = await networks.attach(sandbox, made[0], wish(), default_route=True)
                second = await networks.attach(sandbox, made[1], wish(), default_route=False)
                await networks.publish(sandbox, first, made[0], publishing("80/tcp"))
                await networks.detach(sandbox, made[1], second)
            except (OSError, SampanError):
                assert faults.hit
            faults.armed = False
            if faults.hit and len(made) < 2:
                # What failed is not half there: the next of its name is made.
                made.append(await networks.create(network("c", driver)))
            await networks.close_sandbox(box.container_id)
            for one in made:
                await networks.remove(one)
            # as a host that leaves its cluster: the way out that nobody uses goes
            await networks.overlay.leave()
            left = (kernel.home.links.keys() - {1}, kernel.spaces, elements(kernel))
            assert left == (set(), {}, {}), f"failing {fail_at}: {faults.hit}"
            if not faults.hit:
                break
            hits.append(faults.hit)
    assert len(hits) > 20
    assert {"new link", "new address", "new route", "unshare", "setns", "nft"} <= set(hits)


async def test_an_attach_that_fails_gives_its_address_back(
    networks: HostNetworks, kernel: FakeLinux
) -> None:
    made = await networks.create(network("a", "bridge", SUBNET))
    sandbox = await networks.open_sandbox(container())
    kernel.faults = Faults(fail_at=2)
    kernel.faults.armed = True
    with pytest.raises(OSError, match="injected"):
        await networks.attach(sandbox, made, wish(ipv4_wanted="10.215.0.9"), default_route=True)
    again = await networks.attach(sandbox, made, wish(ipv4_wanted="10.215.0.9"), default_route=True)
    assert (again.ipv4, again.interface) == ("10.215.0.9", "eth0")


async def test_a_namespace_has_docker_s_parameters_unless_asked_otherwise(
    networks: HostNetworks, kernel: FakeLinux
) -> None:
    asked = {"net.ipv4.ip_unprivileged_port_start": "1024"}
    plain = await networks.open_sandbox(container())
    other = await networks.open_sandbox(replace(container(), sysctls=asked))
    for sandbox, start in ((plain, "0"), (other, "1024")):
        written = kernel.space(sandbox.path).sysctls
        assert written["net/ipv4/ip_unprivileged_port_start"] == start
        assert written["net/ipv4/ping_group_range"] == "0 2147483647"


async def test_a_port_is_bound_on_the_worker_and_not_on_the_loop(
    networks: HostNetworks,
) -> None:
    made = await networks.create(network("a", "bridge", SUBNET))
    sandbox, endpoint = await joined(networks, made)
    bound: list[str] = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "socket.bind" and watching:
            bound.append(threading.current_thread().name)

    watching = True
    sys.addaudithook(watch)
    try:
        await networks.publish(sandbox, endpoint, made, publishing("80/tcp"))
    finally:
        watching = False
    assert bound
    assert {name.rpartition("_")[0] for name in bound} == {"network"}


# ---------------------------------------------------------------- a driver of somebody else's


async def test_a_driver_is_one_line(
    networks: HostNetworks, kernel: FakeLinux, drivers: Drivers
) -> None:
    drivers.network.register(NAME, toy := ToyNetworkDriver(kernel.linux))
    wanted = network("t", NAME, SUBNET)
    wanted = Network(
        id=wanted.id,
        name="t",
        driver=NAME,
        created_at=1.0,
        pools=wanted.pools,
        options={"route": "192.0.2.0/24"},
    )
    made = await networks.create(wanted)
    sandbox, endpoint = await joined(networks, made)
    inside = kernel.space(sandbox.path)
    assert {link.name: link.kind for link in inside.links.values() if link.kind} == {
        "eth0": "macvlan",
        "eth1": "veth",
    }, "its own interface, and the way out that it needs"
    assert "192.0.2.0/24" in {str(route.destination) for route in inside.routes}
    assert endpoint.ipv4 == "10.215.0.2"
    assert endpoint.gateway == "", "it leads nowhere"
    (default,) = (route for route in inside.routes if not route.destination.prefixlen)
    assert inside.links[default.interface].name == "eth1"
    assert await networks.publish(sandbox, endpoint, made, publishing("80/tcp"))
    await networks.detach(sandbox, made, endpoint)
    assert {link.kind for link in inside.links.values()} == {""}
    assert not toy.endpoints
    await networks.remove(made)
    assert not toy.networks


async def test_a_driver_that_waits_holds_up_nobody_else(
    networks: HostNetworks, kernel: FakeLinux, drivers: Drivers
) -> None:
    drivers.network.register(NAME, toy := ToyNetworkDriver(kernel.linux))
    slow = await networks.create(network("slow", NAME))
    quick = await networks.create(network("quick"))
    toy.answers.clear()
    waiting = await networks.open_sandbox(container())
    async with asyncio.TaskGroup() as group:
        join = group.create_task(networks.attach(waiting, slow, wish(), default_route=True))
        await toy.reached.wait()
        # the whole life of another container, and of another network of its own
        sandbox, endpoint = await joined(networks, quick)
        await networks.publish(sandbox, endpoint, quick, publishing("80/tcp"))
        await networks.close_sandbox(sandbox.container_id)
        await networks.remove(quick)
        assert not join.done()
        toy.answers.set()
    assert join.result().ipv4


async def test_a_join_that_is_given_up_leaves_nothing(
    networks: HostNetworks, kernel: FakeLinux, drivers: Drivers
) -> None:
    drivers.network.register(NAME, toy := ToyNetworkDriver(kernel.linux))
    made = await networks.create(network("slow", NAME, SUBNET))
    toy.answers.clear()
    sandbox = await networks.open_sandbox(container())
    async with asyncio.TaskGroup() as group:
        join = group.create_task(networks.attach(sandbox, made, wish(), default_route=True))
        await toy.reached.wait()
        join.cancel()
    toy.answers.set()
    assert not toy.endpoints
    again = await networks.attach(sandbox, made, wish(), default_route=True)
    assert (again.ipv4, again.interface) == ("10.215.0.2", "eth0")


async def test_a_driver_that_comes_after_the_daemon_is_found_again(
    config: DaemonConfig, kernel: FakeLinux
) -> None:
    before = Drivers()
    before.network.register(NAME, ToyNetworkDriver(kernel.linux))
    box = container()
    async with open_host_networks(config, SystemClock(), kernel.linux, before) as networks:
        await networks.start([])
        made = await networks.create(network("t", NAME, SUBNET))
        sandbox = await networks.open_sandbox(box)
        endpoint = await networks.attach(sandbox, made, wish(), default_route=True)
    after, asked = Drivers(), asyncio.Event()
    toy = ToyNetworkDriver(kernel.linux)
    plugin_runs = asyncio.Event()

    async def plugin(name: str) -> ToyNetworkDriver | None:
        asked.set()
        await plugin_runs.wait()
        return toy if name == NAME else None

    after.network.add_resolver(plugin)
    async with open_host_networks(config, SystemClock(), kernel.linux, after) as networks:
        # Names are not asked for here: on a predefined network nobody answers for them.
        made = structs.replace(made, predefined=True)
        await networks.start([made])
        await networks.restore([Survivor(box, (endpoint,))])
        await asked.wait()
        other, _ = await joined(networks, await networks.create(network("b")))
        assert other, "nobody waits for the plugin"
        plugin_runs.set()
        third, at_third = await joined(networks, made)
        assert at_third.ipv4 == "10.215.0.3", "who lives on has his address"
        assert toy.endpoints.keys() >= {endpoint.endpoint_id, at_third.endpoint_id}
        for one in (third, other, box):
            await networks.close_sandbox(one.container_id)


async def test_an_option_of_the_driver_is_checked_before_anything_is_made(
    networks: HostNetworks, kernel: FakeLinux
) -> None:
    wanted = Network(
        id="1" * 64,
        name="x",
        driver="bridge",
        created_at=1.0,
        options={"com.docker.network.driver.mtu": "banana"},
    )
    with pytest.raises(SampanError, match="banana"):
        await networks.create(wanted)
    assert kernel.home.empty
