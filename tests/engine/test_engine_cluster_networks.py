"""Containers on networks that the cluster gives addresses of."""

from __future__ import annotations

import pytest

from sampan.engine.cluster_networks import ClusterNetworks
from sampan.errors import Conflict, Forbidden, InvalidArgument, Unavailable
from sampan.network.contract import NoSuchNetwork
from sampan.store.records import EndpointSettings, Network, RestartPolicy
from sampan.testing.cluster_networks import FakeClusterNetworks
from sampan.testing.contracts.cluster_networks import SUBNET, ClusterNetworksContract
from sampan.testing.world import World


class TestFakeClusterNetworks(ClusterNetworksContract):
    @pytest.fixture
    async def networks(self) -> ClusterNetworks:
        fake = FakeClusterNetworks()
        fake.add("net", SUBNET)
        fake.add("shut", "10.9.2.0/24", attachable=False)
        return fake


@pytest.fixture
def net(world: World) -> Network:
    world.cluster.add("shut", "10.9.2.0/24", attachable=False)
    return world.cluster.add("net", "10.9.1.0/24")


def wants(**fields: object) -> EndpointSettings:
    return EndpointSettings(network_id="", network_name="", **fields)  # type: ignore[arg-type]


async def test_a_run_has_a_place_from_start_to_end(world: World, net: Network) -> None:
    boat = await world.create(
        "forever", network_mode="net", networks={"net": wants(aliases=("b",))}
    )
    assert world.cluster.held == {}
    assert "net" not in {n.name for n in world.engine.networks()}
    await world.engine.start("boat")
    assert list(world.cluster.held) == [(boat.id, net.id)]
    assert world.cluster.names[boat.id, net.id] == ("boat", "b", boat.id[:12])
    endpoint = world.engine.get("boat").networks["net"]
    assert endpoint.ipv4 == world.cluster.held[boat.id, net.id]
    assert endpoint.ipv4_wanted == ""
    world.cluster.held["another", net.id] = world.cluster.held[boat.id, net.id]
    await world.engine.stop("boat")
    await world.still()
    assert list(world.cluster.held) == [("another", net.id)]
    await world.engine.start("boat")
    assert world.engine.get("boat").networks["net"].ipv4 != world.cluster.held["another", net.id]
    await world.engine.remove("boat", force=True)
    await world.still()
    assert list(world.cluster.held) == [("another", net.id)]


async def test_what_cannot_be_is_said_before_anything_is_made(world: World, net: Network) -> None:
    with pytest.raises(Forbidden, match="network shut not manually attachable"):
        await world.create("forever", network_mode="shut")
    with pytest.raises(InvalidArgument, match="network nope not found"):
        await world.create("forever", network_mode="nope")
    world.cluster.away = True
    with pytest.raises(Unavailable, match="no manager"):
        await world.create("forever", network_mode="net")
    assert world.engine.all() == []


async def test_a_network_that_is_here_for_a_task_is_not_everybodys(world: World) -> None:
    shut = world.cluster.add("shut", "10.9.2.0/24", attachable=False)
    await world.engine.network_create(shut)
    with pytest.raises(Forbidden, match="Could not attach to network shut"):
        await world.create("forever", network_mode="shut")
    # The task itself was given its place, and nobody is asked.
    given = wants(ipv4_wanted="10.9.2.9", cluster="allocated")
    await world.run("forever", network_mode=shut.id, networks={shut.id: given})
    assert world.engine.get("boat").networks["shut"].ipv4 == "10.9.2.9"
    assert world.cluster.held == {}


async def test_what_is_left_here_of_a_network_is_not_taken_for_it(
    world: World, net: Network
) -> None:
    await world.engine.network_create(net)
    del world.cluster.networks[net.id]
    with pytest.raises(InvalidArgument, match="network net not found"):
        await world.create("forever", network_mode="net")


async def test_a_wish(world: World, net: Network) -> None:
    boat = await world.run(
        "forever", network_mode="net", networks={"net": wants(ipv4_wanted="10.9.1.77")}
    )
    assert boat.networks["net"].ipv4 == boat.networks["net"].ipv4_wanted == "10.9.1.77"
    with pytest.raises(Conflict, match="Address already in use"):
        await world.run(
            "forever",
            name="ship",
            network_mode="net",
            networks={"net": wants(ipv4_wanted="10.9.1.77")},
        )
    assert list(world.cluster.held) == [(boat.id, net.id)]


async def test_connect_and_disconnect(world: World, net: Network) -> None:
    boat = await world.run("forever")
    await world.engine.network_connect(net.id[:6], "boat", wants(aliases=("b",)))
    assert "b" in world.cluster.names[boat.id, net.id]
    assert world.engine.get("boat").networks["net"].ipv4 == world.cluster.held[boat.id, net.id]
    await world.engine.network_disconnect("net", "boat")
    assert world.cluster.held == {}
    assert "net" not in world.engine.get("boat").networks
    with pytest.raises(NoSuchNetwork):
        await world.engine.network_connect("nope", "boat", wants())


async def test_connect_that_fails_gives_back(world: World, net: Network) -> None:
    await world.run("forever")
    world.networks.fail_next = Conflict("no")
    with pytest.raises(Conflict):
        await world.engine.network_connect("net", "boat", wants())
    assert world.cluster.held == {}


async def test_a_stopped_container_is_taken_off_a_network_that_is_not_here(
    world: World, net: Network
) -> None:
    await world.create("forever", network_mode="net")
    await world.engine.network_disconnect("net", "boat")
    assert world.engine.get("boat").networks == {}


async def test_a_start_that_fails_gives_back(world: World, net: Network) -> None:
    await world.create("nonsense", network_mode="net")
    world.networks.fail_next = Conflict("no")
    with pytest.raises(Conflict):
        await world.engine.start("boat")
    assert world.cluster.held == {}
    assert world.networks.sandboxes == {}


async def test_a_policy_waits_for_the_cluster(world: World, net: Network) -> None:
    always = RestartPolicy(name="always")
    boat = await world.run("forever", network_mode="net", restart_policy=always)
    # at its end no manager answers, and later one does
    world.cluster.away = True
    world.runs.finish(boat.id, 1)
    for _ in range(3):
        await world.still()
        await world.clock.advance(60.0)
    row = world.engine.get("boat")
    assert row.run is not None
    assert row.run.restarting
    world.cluster.away = False
    await world.clock.advance(60.0)
    await world.until(lambda: world.engine.get("boat").running)


async def test_a_start_with_the_daemon_waits_for_the_cluster(world: World, net: Network) -> None:
    always = RestartPolicy(name="always")
    boat = await world.run("forever", network_mode="net", restart_policy=always)
    await world.crash()
    world.runs.runs.clear()
    world.cluster.held.clear()
    world.cluster.away = True
    await world.boot()
    await world.clock.advance(12.0)
    assert not world.engine.get("boat").running
    world.cluster.away = False
    await world.clock.advance(12.0)
    await world.until(lambda: world.engine.get("boat").running)
    assert list(world.cluster.held) == [(boat.id, net.id)]


async def test_a_running_container_keeps_its_place_through_a_kill(
    world: World, net: Network
) -> None:
    boat = await world.run("forever", network_mode="net")
    held = dict(world.cluster.held)
    await world.crash()
    await world.boot()
    assert world.engine.get("boat").networks == boat.networks
    assert world.cluster.held == held
    world.runs.finish(boat.id, 0)
    await world.still()
    assert world.cluster.held == {}
