"""The loop, in virtual time, beside the others."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sampan.cluster.records import ClusterNetwork, Service, Task
from sampan.cluster.spec import (
    ContainerSpec,
    EndpointSpec,
    IpamConfig,
    NetworkAttachmentConfig,
    NetworkSpec,
    PortConfig,
    TaskSpec,
)
from sampan.cluster.states import TaskState as S
from sampan.testing.loops import LoopWorld


@pytest.fixture
async def world() -> AsyncIterator[LoopWorld]:
    async with LoopWorld() as world:
        await world.put(ClusterNetwork(id="ing", spec=NetworkSpec(name="ingress", ingress=True)))
        await world.manager("m1")
        await world.nodes(2)
        yield world


def on(*networks: str) -> TaskSpec:
    return TaskSpec(
        container_spec=ContainerSpec(image="one"),
        networks=tuple(NetworkAttachmentConfig(target=id) for id in networks),
    )


def web(port: int = 0) -> EndpointSpec:
    return EndpointSpec(ports=(PortConfig(target_port=80, published_port=port),))


async def network(world: LoopWorld, id: str, subnet: str = "") -> ClusterNetwork:
    configs = (IpamConfig(subnet=subnet),) if subnet else ()
    await world.put(ClusterNetwork(id=id, spec=NetworkSpec(name=id, ipam_configs=configs)))
    await world.clock.advance(0.1)
    return world.store.state.networks[id]


def addresses(world: LoopWorld) -> list[str]:
    state = world.store.state
    found = [n.ingress_ipv4 for n in state.nodes.values() if n.ingress_ipv4]
    found += [n.gateway for n in state.networks.values() if n.gateway]
    for service in state.services.values():
        if service.endpoint is not None:
            found += [v.address.split("/")[0] for v in service.endpoint.virtual_addresses]
    for task in state.tasks.values():
        if not task.status.state.ended:
            found += [place.ipv4 for place in task.attachments]
    return found


async def test_ingress_and_every_node_have_their_addresses(world: LoopWorld) -> None:
    await world.clock.advance(0.1)
    ingress = world.store.state.networks["ing"]
    assert (ingress.vni, ingress.subnet, ingress.gateway) == (4096, "10.0.0.0/24", "10.0.0.1")
    mine = {node.ingress_ipv4 for node in world.store.state.nodes.values()}
    assert mine == {"10.0.0.2", "10.0.0.3"}


async def test_a_service_and_its_tasks_have_all_they_asked_for(world: LoopWorld) -> None:
    assert (await network(world, "back")).subnet == "10.0.1.0/24"
    id = await world.serve("web", replicas=3, task=on("back", "host"), endpoint=web())
    await world.until(lambda: world.running(id) == 3)
    endpoint = world.service(id).endpoint
    assert endpoint is not None
    assert [v.network_id for v in endpoint.virtual_addresses] == ["ing", "back"]
    assert endpoint.ports[0].published_port == 30000
    for task in world.tasks(id):
        assert [place.network_id for place in task.attachments] == ["ing", "back"]
        assert task.endpoint.ports[0].published_port == 30000
    found = addresses(world)
    assert len(found) == len(set(found))


async def test_dnsrr_has_no_virtual_address(world: LoopWorld) -> None:
    await network(world, "back")
    id = await world.serve("db", task=on("back"), endpoint=EndpointSpec(mode="dnsrr"))
    await world.until(lambda: world.running(id) == 1)
    endpoint = world.service(id).endpoint
    assert endpoint is not None
    assert endpoint.virtual_addresses == ()


async def test_what_is_missing_is_said_and_got_when_it_comes(world: LoopWorld) -> None:
    await network(world, "small", "10.5.0.0/29")
    one = await world.serve("one", replicas=4, task=on("small"))
    await world.until(lambda: world.running(one) == 4)
    two = await world.serve(
        "two", replicas=1, task=on("small"), endpoint=EndpointSpec(mode="dnsrr")
    )
    await world.clock.advance(1)
    (waiting,) = world.tasks(two)
    assert waiting.status.state == S.NEW
    assert "no address is left on network small (10.5.0.0/29)" in waiting.status.err
    await world.delete(Service, one)
    await world.until(lambda: world.running(two) == 1)
    assert world.tasks(two)[0].status.err == ""


async def test_a_port_that_is_taken_waits_for_its_holder(world: LoopWorld) -> None:
    one = await world.serve("one", endpoint=web(8080))
    await world.until(lambda: world.running(one) == 1)
    two = await world.serve("two", endpoint=web(8080))
    await world.clock.advance(1)
    assert "port '8080' is already in use by service 'one'" in world.tasks(two)[0].status.err
    await world.delete(Service, one)
    await world.until(lambda: world.running(two) == 1)


async def test_a_network_that_cannot_be_says_why(world: LoopWorld) -> None:
    await network(world, "a", "10.7.0.0/24")
    b = await network(world, "b", "10.7.0.128/25")
    assert "Pool overlaps" in b.error
    id = await world.serve("x", task=on("b"))
    await world.clock.advance(1)
    assert "Pool overlaps" in world.tasks(id)[0].status.err
    await world.delete(ClusterNetwork, "a")
    await world.until(lambda: world.running(id) == 1)


async def test_an_update_keeps_addresses_and_adds_what_is_new(world: LoopWorld) -> None:
    await network(world, "a")
    await network(world, "b")
    id = await world.serve("x", task=on("a"), endpoint=web())
    await world.until(lambda: world.running(id) == 1)
    before = world.service(id).endpoint
    await world.respecify(id, task_template=on("a", "b"))
    await world.clock.advance(3)
    after = world.service(id).endpoint
    assert before is not None
    assert after is not None
    assert after.virtual_addresses[:2] == before.virtual_addresses
    assert after.virtual_addresses[2].network_id == "b"
    assert after.ports == before.ports


async def test_freed_addresses_come_back_late_under_the_next_leader_too(world: LoopWorld) -> None:
    await network(world, "a")
    id = await world.serve("x", replicas=2, task=on("a"))
    await world.until(lambda: world.running(id) == 2)
    used = {place.ipv4 for task in world.tasks(id) for place in task.attachments}
    await world.manager("m2")
    await world.scale(id, 1)
    await world.kill("m1")
    await world.until(lambda: len(world.tasks(id)) == 1)
    await world.scale(id, 2)
    await world.until(lambda: world.running(id) == 2)
    assert len({place.ipv4 for task in world.tasks(id) for place in task.attachments} - used) == 1


async def test_a_container_made_by_hand_gets_its_address(world: LoopWorld) -> None:
    await network(world, "a")
    task = Task(id="t", node_id="n1", spec=on("a"), desired=S.RUNNING)
    await world.put(task)
    await world.until(lambda: world.store.state.tasks["t"].status.state == S.RUNNING)
    assert world.store.state.tasks["t"].attachments[0].ipv4.startswith("10.0.1.")


async def test_a_new_ingress_network_gives_every_node_a_new_address(world: LoopWorld) -> None:
    await world.clock.advance(0.1)
    await world.delete(ClusterNetwork, "ing")
    configs = (IpamConfig(subnet="10.99.0.0/24"),)
    spec = NetworkSpec(name="ingress", ingress=True, ipam_configs=configs)
    await world.put(ClusterNetwork(id="ing2", spec=spec))
    await world.clock.advance(0.1)
    mine = {node.ingress_ipv4 for node in world.store.state.nodes.values()}
    assert mine == {"10.99.0.2", "10.99.0.3"}
