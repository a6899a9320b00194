"""A task is stopped when no node leads anything to it any more, however late some hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sampan.cluster.agent.listening import parse_waiting
from sampan.cluster.agent.runner import DRAIN_S
from sampan.cluster.agent.withdrawal import LEAVING_LIMIT_S, LIMIT_S
from sampan.cluster.records import ClusterNetwork, Node, Service, Task, TaskAttachment, TaskStatus
from sampan.cluster.spec import ContainerSpec, NetworkSpec, ServiceSpec, TaskSpec
from sampan.cluster.states import TaskState
from sampan.testing.agents import AgentWorld, FakeNode
from sampan.testing.clock import settle

S = TaskState


@pytest.fixture
async def world() -> AsyncIterator[AgentWorld]:
    async with AgentWorld() as world:
        await world.manager("m1")
        await world.put(
            ClusterNetwork(id="app", spec=NetworkSpec(name="app"), vni=4097, subnet="10.1.0.0/24"),
            ClusterNetwork(
                id="mesh",
                spec=NetworkSpec(name="ingress", ingress=True),
                vni=4096,
                subnet="10.2.0.0/24",
            ),
            Service(id="web", spec=ServiceSpec(name="web")),
        )
        yield world


def task(id: str, node: str, *networks: str) -> Task:
    return Task(
        id=id,
        service_id="web",
        service_name="web",
        node_id=node,
        spec=TaskSpec(container_spec=ContainerSpec(image="busybox")),
        attachments=tuple(
            TaskAttachment(network_id=name, ipv4=f"10.1.0.{ord(id[-1])}", prefix=24)
            for name in networks
        ),
        desired=S.RUNNING,
        status=TaskStatus(state=S.ASSIGNED),
    )


async def running(world: AgentWorld, *tasks: Task) -> None:
    """They run, and every node that has to do with them knows it."""
    await world.put(*tasks)
    await world.until(lambda: all(world.state_of(t.id) is S.RUNNING for t in tasks))
    await settle()


async def stop(world: AgentWorld, task_id: str) -> None:
    await world.change(Task, task_id, desired=S.SHUTDOWN)


async def stays(world: AgentWorld, node: FakeNode, seconds: float) -> None:
    """The one task of ``node`` goes on running for so long."""
    await world.clock.advance(seconds)
    assert len(node.host.running) == 1


async def test_a_node_that_hears_late_is_waited_for(world: AgentWorld) -> None:
    one, two = await world.node("w1"), await world.node("w2")
    await running(world, task("t1", "w1", "app"), task("t2", "w2", "app"))
    two.overlay.late.clear()
    await stop(world, "t1")
    await stays(world, one, 2.0)
    assert led_by(two) == {"t1", "t2"}
    two.overlay.late.set()
    took = await world.until(lambda: world.state_of("t1") is S.SHUTDOWN)
    assert took < DRAIN_S
    assert led_by(two) == {"t2"}


async def test_its_own_node_is_waited_for(world: AgentWorld) -> None:
    one = await world.node("w1")
    await running(world, task("t1", "w1", "app"))
    one.overlay.late.clear()
    await stop(world, "t1")
    await stays(world, one, 2.0)
    one.overlay.late.set()
    await world.until(lambda: world.state_of("t1") is S.SHUTDOWN)


async def test_every_node_of_the_mesh_is_waited_for_and_no_other(world: AgentWorld) -> None:
    one, entry, other = await world.node("w1"), await world.node("w2"), await world.node("w3")
    for id in ("w1", "w2"):
        await world.change(Node, id, ingress_ipv4=f"10.2.0.{id[-1]}")
    await running(world, task("t1", "w1", "app"), task("t2", "w1", "mesh"))
    entry.overlay.late.clear()
    other.overlay.late.clear()
    await stop(world, "t1")
    await world.until(lambda: world.state_of("t1") is S.SHUTDOWN, limit_s=DRAIN_S + 0.1)
    await stop(world, "t2")
    await stays(world, one, 2.0)
    entry.overlay.late.set()
    await world.until(lambda: world.state_of("t2") is S.SHUTDOWN)


async def test_without_anybody_late_a_stop_takes_no_longer_than_the_drain(
    world: AgentWorld,
) -> None:
    await world.node("w1")
    await world.node("w2")
    await running(world, task("t1", "w1", "app"), task("t2", "w2", "app"))
    await stop(world, "t1")
    took = await world.until(lambda: world.state_of("t1") is S.SHUTDOWN)
    assert DRAIN_S <= took < DRAIN_S + 0.05


async def test_a_node_that_is_down_is_not_waited_for(world: AgentWorld) -> None:
    one, two = await world.node("w1"), await world.node("w2")
    await running(world, task("t1", "w1", "app"), task("t2", "w2", "app"))
    world.hub.cut(two.address)
    await stop(world, "t1")
    await stays(world, one, 2.0)
    took = await world.until(lambda: world.state_of("t1") is S.SHUTDOWN)
    assert world.store.state.nodes["w2"].status.state == "down"
    assert 2.0 + took < LIMIT_S


async def test_nobody_is_waited_for_longer_than_the_limit(world: AgentWorld) -> None:
    one, two = await world.node("w1"), await world.node("w2")
    await running(world, task("t1", "w1", "app"), task("t2", "w2", "app"))
    two.overlay.late.clear()
    await stop(world, "t1")
    await stays(world, one, LIMIT_S - 0.1)
    await world.until(lambda: world.state_of("t1") is S.SHUTDOWN, limit_s=0.5)


async def test_a_node_that_leaves_waits_for_the_others_for_a_moment(world: AgentWorld) -> None:
    one, two = await world.node("w1"), await world.node("w2")
    await running(world, task("t1", "w1", "app"), task("t2", "w2", "app"))
    two.overlay.late.clear()
    begin = world.clock.monotonic()
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(one.agent.leave())
        await world.until(leaving.done)
    assert LEAVING_LIMIT_S <= world.clock.monotonic() - begin < LEAVING_LIMIT_S + 0.5
    assert not one.host.running


def led_by(node: FakeNode) -> set[str]:
    return {m.task_id for n in node.overlay.applied.networks for m in n.members if m.serving}


HEAD = (
    b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout\n"
)


@pytest.mark.parametrize(
    ("lines", "waiting"),
    [
        ([], False),
        (["00000000:0050 00000000:0000 0A 00000000:00000000"], False),
        # accepted by nobody yet
        (["00000000:0050 00000000:0000 0A 00000000:00000002"], True),
        # read by nobody yet, not sent yet, a handshake under way
        (["00000000:0050 00000000:0000 0A 00000000:00000000",
          "0200010A:0050 0300010A:9C40 01 00000000:0000004E"], True),
        (["00000000:0050 00000000:0000 0A 00000000:00000000",
          "0200010A:0050 0300010A:9C40 01 00000100:00000000"], True),
        (["00000000:0050 00000000:0000 0A 00000000:00000000",
          "0200010A:0050 0300010A:9C40 03 00000000:00000000"], True),
        # a connection that is kept for later
        (["00000000:0050 00000000:0000 0A 00000000:00000000",
          "0200010A:0050 0300010A:9C40 01 00000000:00000000"], False),
        # what the task has begun itself
        (["00000000:0050 00000000:0000 0A 00000000:00000000",
          "0200010A:9C40 0300010A:1538 01 00000000:0000004E"], False),
    ],
)  # fmt: skip
def test_what_waits_to_be_answered(lines: list[str], waiting: bool) -> None:
    table = HEAD + b"".join(f"   {n}: {line} 00:0\n".encode() for n, line in enumerate(lines))
    assert parse_waiting(table) is waiting
