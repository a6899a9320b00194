"""Containers that a person puts on the cluster's networks: agents, a manager and its loops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace

from sampan.aio import Tasks
from sampan.cluster.agent.contract import ContainerPresence, Supplies
from sampan.cluster.agent.networks import NodeNetworks
from sampan.cluster.control import networks as control
from sampan.cluster.errors import Precondition
from sampan.cluster.leader import Leader
from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.records import ClusterNetwork, Node, Task, TaskAttachment, TaskStatus
from sampan.cluster.spec import IpamConfig, NetworkSpec
from sampan.cluster.states import TaskState
from sampan.engine.cluster_networks import ClusterNetworks, Joining
from sampan.errors import Conflict, Unavailable
from sampan.network.overlay.contract import OverlayMember
from sampan.store.records import EndpointSettings, Network
from sampan.testing.agents import AgentWorld
from sampan.testing.contracts.cluster_networks import SUBNET, ClusterNetworksContract
from sampan.testing.world import World as EngineWorld

T = TypeVar("T")


class World(AgentWorld):
    """With a manager that leads, and two networks."""

    async def begin(self) -> None:
        manager = await self.manager("m1")
        self.tasks = Tasks()
        self.leader = Leader(manager.store, self.clock, "m1")
        self.leading = self.tasks.spawn(self.leader.run(), name="leader")
        for name, attachable in (("net", True), ("shut", False)):
            configs = (IpamConfig(subnet=SUBNET),) if attachable else ()
            spec = NetworkSpec(name=name, attachable=attachable, ipam_configs=configs)
            await self.put(ClusterNetwork(id=f"{name:0<25}", spec=spec))
        await self.node("w1")
        await self.node("w2")
        await self.until(lambda: all(n.subnet for n in self.store.state.networks.values()))

    async def wait(self, doing: Awaitable[T]) -> T:
        """``doing``, while time passes."""

        async def done() -> T:
            return await doing

        task = self.tasks.spawn(done(), name="test")
        await self.until(task.done)
        return task.result()

    async def attach(self, node: str, container: str, address: str = "") -> EndpointSettings:
        """The container has its place; it does not run yet."""
        endpoint = EndpointSettings(
            network_id=f"{'net':0<25}", network_name="net", ipv4_wanted=address, cluster="requested"
        )
        joining = Joining(container_id=container, endpoint=endpoint, names=(container, "alias"))
        return await self.wait(self.nodes[node].attachments.attach(joining))

    async def run(self, node: str, container: str, address: str = "") -> str:
        """Returns the address of the container, which runs."""
        place = await self.attach(node, container, address)
        endpoint = replace(place, ipv4=place.ipv4_wanted)
        self.nodes[node].host.attached[container] = ContainerPresence(
            container_id=container, endpoint=endpoint, names=(container, "alias")
        )
        return endpoint.ipv4

    @property
    def by_hand(self) -> list[Task]:
        found = [t for t in self.store.state.tasks.values() if t.spec.network_attachment_spec]
        return sorted(found, key=lambda task: task.created_at)

    def seen(self, node: str) -> list[OverlayMember]:
        """Members of the network, as a node knows them."""
        view = self.nodes[node].overlay.applied
        return [m for n in view.networks if n.name == "net" for m in n.members]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        await world.begin()
        yield world
        await world.tasks.close()


class Pumped:
    """``ClusterNetworks`` of a node, with time passing while one waits."""

    def __init__(self, world: World) -> None:
        self.world, self._inner = world, world.nodes["w1"].attachments

    async def resolve(self, ref: str) -> Network:
        return await self.world.wait(self._inner.resolve(ref))

    async def attach(self, joining: Joining) -> EndpointSettings:
        return await self.world.wait(self._inner.attach(joining))

    def detach(self, container_id: str, network_id: str) -> None:
        self._inner.detach(container_id, network_id)

    async def ready(self) -> None:
        await self._inner.ready()


class TestAttachments(ClusterNetworksContract):
    @pytest.fixture
    async def networks(self, world: World) -> ClusterNetworks:
        return Pumped(world)

    async def heard(self, networks: ClusterNetworks) -> None:
        assert isinstance(networks, Pumped)
        world = networks.world
        await world.until(lambda: not world.by_hand)


async def test_the_life_of_an_attachment(world: World) -> None:
    address = await world.run("w1", "boat")
    other = await world.run("w2", "ship")
    await world.until(lambda: [t.status.state for t in world.by_hand] == [TaskState.RUNNING] * 2)
    task = world.by_hand[0]
    assert (task.node_id, task.service_id, task.spec.runtime) == ("w1", "", "attachment")
    assert task.status.container_id == "boat"
    assert "net" in {n.name for n in world.nodes["w1"].overlay.applied.networks}
    assert world.nodes["w1"].host.networks == {task.attachments[0].network_id}
    await world.until(lambda: len([m for m in world.seen("w2") if m.serving]) == 2)
    boat = next(m for m in world.seen("w2") if m.ipv4 == address)
    assert (boat.task_name, boat.aliases, boat.node_id) == ("boat", ("boat", "alias"), "w1")
    assert address != other
    world.nodes["w1"].host.disconnect("boat")
    await world.until(lambda: [m.ipv4 for m in world.seen("w2")] == [other])
    await world.until(lambda: len(world.by_hand) == 1)
    await world.until(lambda: not world.nodes["w1"].overlay.applied.networks)


async def test_a_network_is_not_removed_under_a_container(world: World) -> None:
    await world.run("w1", "boat")
    parts = ManagerParts(node_id="m1", store=world.store, sealing=world.sealing)
    with pytest.raises(Precondition, match="in use by task"):
        await control.remove(parts, "net")
    world.nodes["w1"].host.disconnect("boat")
    await world.until(lambda: not world.by_hand)
    await control.remove(parts, "net")


async def test_stopped_and_started_at_once(world: World) -> None:
    first = await world.run("w1", "boat")
    world.nodes["w1"].host.disconnect("boat")
    second = await world.run("w1", "boat")
    assert first != second
    await world.until(lambda: [t.status.state for t in world.by_hand] == [TaskState.RUNNING])
    assert world.by_hand[0].attachments[0].ipv4 == second


async def test_what_a_killed_daemon_had_asked_for_goes(world: World) -> None:
    await world.attach("w1", "boat")  # and the container never runs
    assert len(world.by_hand) == 1
    await world.kill("w1")
    await world.restart("w1")
    await world.until(lambda: not world.by_hand)


async def test_a_container_keeps_its_place_through_a_kill(world: World) -> None:
    address = await world.run("w1", "boat")
    await world.until(lambda: world.by_hand[0].status.state is TaskState.RUNNING)
    (before,) = world.by_hand
    await world.kill("w1")
    await world.restart("w1")
    await world.clock.advance(10.0)
    (after,) = world.by_hand
    assert (after.id, after.status.state) == (before.id, TaskState.RUNNING)
    # and ends while nobody watches
    await world.kill("w1")
    del world.nodes["w1"].host.attached["boat"]
    await world.restart("w1")
    await world.until(lambda: not world.by_hand)
    assert await world.run("w2", "ship", address) == address


async def test_without_managers_one_is_told_so(world: World) -> None:
    world.hub.cut("10.0.1.1:2377", "10.0.0.1:2377")
    begin = world.clock.monotonic()
    for doing in (
        world.attach("w1", "boat"),
        world.wait(world.nodes["w1"].attachments.resolve("x")),
    ):
        with pytest.raises(
            Unavailable, match=r"no manager of its swarm can be asked|lost its managers"
        ):
            await doing
        assert world.clock.monotonic() - begin < 5.5
        begin = world.clock.monotonic()


async def test_without_a_leader_nothing_is_left(world: World) -> None:
    world.leading.cancel()
    await world.clock.advance(0.1)
    with pytest.raises(Unavailable, match="no manager leads"):
        await world.attach("w1", "boat")
    assert not world.by_hand


async def test_a_lost_place_is_asked_for_again(world: World) -> None:
    address = await world.run("w1", "boat")
    await world.until(lambda: world.by_hand[0].status.state is TaskState.RUNNING)
    (before,) = world.by_hand
    given_up = TaskStatus(state=TaskState.ORPHANED, timestamp=world.clock.now())
    await world.change(Task, before.id, status=given_up)
    await world.until(
        lambda: (
            [(t.id != before.id, t.status.state) for t in world.by_hand]
            == [(True, TaskState.RUNNING)]
        )
    )
    assert world.by_hand[0].attachments[0].ipv4 == address


async def test_a_node_that_is_removed_takes_its_attachments_along(world: World) -> None:
    await world.run("w1", "boat")
    await world.kill("w1")
    await world.delete(Node, "w1")
    await world.until(lambda: not world.by_hand)


async def test_a_host_that_leaves_takes_its_containers_off(world: World) -> None:
    await world.run("w1", "boat")
    await world.wait(world.nodes["w1"].agent.leave())
    assert world.nodes["w1"].host.attached == {}
    await world.until(lambda: not world.by_hand)


async def test_a_wish_that_another_nodes_container_has(world: World) -> None:
    address = await world.run("w1", "boat")
    with pytest.raises(Conflict, match=f"Address already in use: {address}"):
        await world.attach("w2", "ship", address)
    await world.until(lambda: len(world.by_hand) == 1)


async def test_a_network_that_was_made_again_under_its_name(tmp_path: Path) -> None:
    world = EngineWorld(tmp_path)
    engine = await world.boot()
    here = NodeNetworks(engine)
    spec = NetworkSpec(name="net", attachable=True)
    old, new = (
        ClusterNetwork(id=f"{id:0<25}", spec=spec, vni=4097, subnet=f"10.9.{n}.0/24")
        for n, id in enumerate(("old", "new"))
    )
    place = {
        n.id: (TaskAttachment(network_id=n.id, ipv4="10.9.0.9", prefix=24),) for n in (old, new)
    }
    await here.ensure(place[old.id], Supplies(networks={old.id: old}))
    endpoint = EndpointSettings(
        network_id="", network_name="", ipv4_wanted="10.9.0.9", cluster="allocated"
    )
    boat = await world.run("forever", network_mode=old.id, networks={old.id: endpoint})
    with pytest.raises(Unavailable, match="called net before is still in use"):
        await here.ensure(place[new.id], Supplies(networks={new.id: new}))
    await engine.remove(boat.id, force=True)
    await world.still()
    await here.ensure(place[new.id], Supplies(networks={new.id: new}))
    assert [n.id for n in engine.networks() if n.name == "net"] == [new.id]
    await world.stop()
    await world.runs.close()
