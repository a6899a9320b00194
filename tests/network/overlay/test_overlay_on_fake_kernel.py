"""The data plane on the kernel in memory: what a view makes, what stays of it, and a failure at
every call."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from sampan.aio import SystemClock
from sampan.config import DaemonConfig, Paths
from sampan.errors import SampanError, Unavailable
from sampan.network.contract import ContainerNet, Sandbox, Survivor
from sampan.network.networks import HostNetworks
from sampan.network.overlay.contract import (
    DataPlaneView,
    IngressNode,
    OverlayMember,
    OverlayNetwork,
    PublishedTarget,
    ServiceEntry,
)
from sampan.store.records import EndpointSettings, IpamPool, Network
from sampan.testing.contracts.networks import container, wish
from sampan.testing.faults import Faults
from sampan.testing.host_networks import open_host_networks
from sampan.testing.linux import FEATURES, FakeLinux
from sampan.testing.linux_state import Space

HERE, THERE = "10.77.0.1", "10.77.0.2"
PLAIN, INGRESS = "a" * 64, "b" * 64
MINE, OTHERS, VIP = "10.0.1.3", "10.0.1.4", "10.0.1.2"


def member(address: str, node: str, host: str) -> OverlayMember:
    return OverlayMember(
        task_id=address,
        task_name=f"web.{address}",
        service_id="web",
        ipv4=address,
        node_id=node,
        node_address=host,
        serving=True,
    )


def view(*, members: bool = True) -> DataPlaneView:
    plain = OverlayNetwork(
        id=PLAIN,
        name="plain",
        vni=4097,
        subnet="10.0.1.0/24",
        members=(member(MINE, "n1", HERE), member(OTHERS, "n2", THERE)) if members else (),
        services=(ServiceEntry(service_id="web", name="web", vip=VIP),),
    )
    ingress = OverlayNetwork(
        id=INGRESS,
        name="ingress",
        vni=4096,
        subnet="10.0.0.0/24",
        ingress=True,
        members=(member("10.0.0.9", "n2", THERE),) if members else (),
        services=(
            ServiceEntry(
                service_id="web",
                name="web",
                ports=(PublishedTarget(protocol="tcp", published=8080, target=80),),
            ),
        ),
    )
    return DataPlaneView(
        node_id="n1",
        node_address=HERE,
        networks=(plain, ingress),
        ingress_nodes=(
            IngressNode(node_id="n1", ipv4="10.0.0.2", node_address=HERE),
            IngressNode(node_id="n2", ipv4="10.0.0.3", node_address=THERE),
        ),
    )


@asynccontextmanager
async def opened(base: Path, kernel: FakeLinux) -> AsyncIterator[HostNetworks]:
    paths = Paths(base / "root", base / "state")
    for directory in (paths.root, paths.state):
        directory.mkdir(parents=True, exist_ok=True)
    config = DaemonConfig(paths=paths)
    async with open_host_networks(config, SystemClock(), kernel.linux) as networks:
        await networks.start([])
        await networks.restore([])
        yield networks


async def attached(networks: HostNetworks) -> tuple[Sandbox, Network, EndpointSettings]:
    wanted = Network(
        id=PLAIN,
        name="plain",
        driver="overlay",
        created_at=1.0,
        scope="swarm",
        pools=(IpamPool(subnet="10.0.1.0/24"),),
    )
    network = await networks.create(wanted)
    sandbox = await networks.open_sandbox(container())
    endpoint = await networks.attach(sandbox, network, wish(ipv4_wanted=MINE), default_route=True)
    return sandbox, network, endpoint


def seen(space: Space) -> dict[str, Any]:
    """What of a namespace must be the same, whatever happened on the way there."""
    names = {link.index: link.name for link in space.links.values()}
    return {
        "links": sorted(
            (link.name, link.kind, names.get(link.master, ""), link.vni, link.mtu, link.up)
            for link in space.links.values()
            if not link.name.startswith("ve")
        ),
        "addresses": sorted((names[at], str(address)) for at, address in space.addresses),
        "neighbours": sorted((names[at], ip, mac) for (at, ip), mac in space.neighbours.items()),
        "forwarding": sorted((names[at], mac, to) for (at, mac), to in space.forwarding.items()),
        "sets": {
            (key, name): sorted(found)
            for key, table in space.tables.items()
            for name, found in table.sets.items()
        },
        "chains": {
            (key, name): len(rules)
            for key, table in space.tables.items()
            for name, rules in table.rules.items()
        },
    }


async def test_a_view_is_what_the_kernel_has(tmp_path: Path) -> None:
    kernel = FakeLinux()
    async with opened(tmp_path, kernel) as networks:
        sandbox, _, endpoint = await attached(networks)
        await networks.overlay.apply(view())
        host, inside = kernel.home, kernel.space(sandbox.path)
        vxlan = {link.vni: link for link in host.links.values() if link.vni}
        assert vxlan.keys() == {4096, 4097}
        assert host.forwarding[vxlan[4097].index, "02:42:0a:00:01:04"] == THERE
        assert (vxlan[4097].master, OTHERS) in host.neighbours
        assert (vxlan[4097].master, MINE) in host.neighbours
        (bridge,) = (at for at, a in host.addresses if str(a) == "10.0.0.2/24")
        assert bridge == vxlan[4096].master, "the host's own address, on the ingress network"
        assert inside.tables["ip", "sampan"].sets["services"].keys() == {VIP}
        assert [link.name for link in inside.links.values()] == ["lo", "eth0", "eth1"]
        assert endpoint.gateway == ""
        assert "tcp . 8080" in next(
            t.sets["ports"] for (_, name), t in host.tables.items() if name.endswith("-mesh")
        )


async def test_a_cluster_that_is_left_leaves_nothing(tmp_path: Path) -> None:
    kernel = FakeLinux()
    async with opened(tmp_path, kernel) as networks:
        sandbox, network, _ = await attached(networks)
        await networks.overlay.apply(view())
        await networks.close_sandbox(sandbox.container_id)
        await networks.remove(network)
        await networks.overlay.leave()
        assert kernel.home.empty
        assert not kernel.spaces
        assert [name for _, name in kernel.home.tables if name.endswith("-mesh")] == []
        left = {name for t in kernel.home.tables.values() for name, held in t.sets.items() if held}
        assert not left


async def test_a_detached_container_keeps_nothing_of_the_network(tmp_path: Path) -> None:
    kernel = FakeLinux()
    async with opened(tmp_path, kernel) as networks:
        sandbox, network, endpoint = await attached(networks)
        await networks.overlay.apply(view())
        await networks.detach(sandbox, network, endpoint)
        inside = kernel.space(sandbox.path)
        assert [link.name for link in inside.links.values()] == ["lo"], "nor the way out"
        assert not inside.tables["ip", "sampan"].sets["services"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_whatever_fails_the_next_try_makes_it_true(tmp_path: Path, restarted: bool) -> None:
    """Each call of the kernel fails once; the same view again, by this daemon or the next one,
    comes to what it would have come to."""
    expected: list[dict[str, Any]] = []
    hits = []
    for fail_at in range(400):  # 0: nothing fails, to compare with
        # the same each time: interfaces have its hash in their names
        kernel, base = FakeLinux(), tmp_path / "d"
        shutil.rmtree(base, ignore_errors=True)
        async with opened(base, kernel) as networks:
            sandbox, network, endpoint = await attached(networks)
            kernel.faults = faults = Faults(fail_at=fail_at)
            faults.armed = True
            with suppress(Unavailable):
                await networks.overlay.apply(view())
            faults.armed = False
            if not restarted:
                await networks.overlay.apply(view())
        if restarted:
            async with opened_again(base, kernel, network, sandbox, endpoint) as networks:
                await networks.overlay.apply(view())
        now = [seen(kernel.home), seen(kernel.space(sandbox.path))]
        if not expected:
            expected = now
        assert now == expected, f"failing {fail_at}: {faults.hit}"
        if fail_at and not faults.hit:
            break
        hits.append(faults.hit)
    assert {"new link", "new neighbour", "nft", "setns"} <= set(hits)


@asynccontextmanager
async def opened_again(
    base: Path, kernel: FakeLinux, network: Network, sandbox: Sandbox, endpoint: EndpointSettings
) -> AsyncIterator[HostNetworks]:
    config = DaemonConfig(paths=Paths(base / "root", base / "state"))
    box = ContainerNet(container_id=sandbox.container_id, name="c", hostname="c")
    # Names are not asked for here: on a predefined network nobody answers for them.
    known = replace(network, predefined=True)
    async with open_host_networks(config, SystemClock(), kernel.linux) as networks:
        await networks.start([known])
        await networks.restore([Survivor(box, (endpoint,))])
        yield networks


async def test_a_kernel_without_vxlan_says_so_and_the_rest_goes_on(tmp_path: Path) -> None:
    kernel = FakeLinux(FEATURES - {"vxlan"})
    async with opened(tmp_path, kernel) as networks:
        with pytest.raises(SampanError, match="not supported"):
            await networks.overlay.apply(view())
        made = await networks.create(
            Network(id="c" * 64, name="b", driver="bridge", created_at=1.0)
        )
        assert kernel.home.index_of(made.bridge)
