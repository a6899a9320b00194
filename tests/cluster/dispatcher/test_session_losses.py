"""Dispatchers and agents that lose one another: silence, kills, other managers, the end."""

from __future__ import annotations

import msgspec
import pytest
from session_tasks import node_state, task

from sampan.aio import beside
from sampan.cluster.agent.manager_session import GOODBYE_S
from sampan.cluster.dispatcher.agent_session import KICK_S
from sampan.cluster.dispatcher.dispatcher import HELLO_DEADLINE_S
from sampan.cluster.peer.contract import SocketClosed
from sampan.cluster.protocol.messages import SESSION_PATH
from sampan.cluster.records import (
    Cluster,
    Node,
    Task,
)
from sampan.cluster.spec import (
    DispatcherConfig,
)
from sampan.cluster.states import TaskState
from sampan.testing.agents import AgentWorld
from sampan.testing.clock import settle
from sampan.testing.executor import Delays
from sampan.testing.peer_links import WINDOW

S = TaskState


async def test_a_silent_node_is_down_and_a_newer_session_counts(world: AgentWorld) -> None:
    node = await world.node("w1")
    await world.put(task("t1"))
    await world.until(lambda: world.state_of("t1") is S.RUNNING)
    world.hub.cut(node.address)
    took = await world.until(lambda: node_state(world, "w1") == "down", step_s=0.1)
    assert 2.5 < took < 4.1
    assert world.store.state.nodes["w1"].status.message == "heartbeat failure"
    assert len(node.host.running) == 1
    # Its task was replaced meanwhile: the old one goes when it is back.
    await world.delete(Task, "t1")
    await world.put(task("t2"))
    world.hub.heal(node.address)
    await world.until(lambda: node_state(world, "w1") == "ready", step_s=0.1)
    await world.until(lambda: world.state_of("t2") is S.RUNNING)
    await world.until(lambda: set(node.host.containers) == {"t2"})


async def beat_every(world: AgentWorld, seconds: int) -> None:
    cluster = world.store.state.cluster
    assert cluster is not None
    dispatcher = DispatcherConfig(heartbeat_period=seconds * 10**9)
    await world.change(
        Cluster, cluster.id, spec=msgspec.structs.replace(cluster.spec, dispatcher=dispatcher)
    )


async def test_nodes_outlive_a_shorter_heartbeat(world: AgentWorld) -> None:
    await beat_every(world, 30)
    node = await world.node("w1")
    await world.clock.advance(40)
    await beat_every(world, 1)
    for _ in range(320):  # longer than the manager slept by the longer one
        await world.clock.advance(0.1)
        assert node_state(world, "w1") == "ready"
    # and by the shorter one it is missed
    world.hub.cut(node.address)
    took = await world.until(lambda: node_state(world, "w1") == "down", step_s=0.1)
    assert took < 4.1


async def test_a_silent_node_is_missed_by_the_period_that_holds_now(world: AgentWorld) -> None:
    await beat_every(world, 30)
    node = await world.node("w1")
    await world.clock.advance(31)  # the manager has just begun to sleep by the longer one
    world.hub.cut(node.address)
    await beat_every(world, 1)
    took = await world.until(lambda: node_state(world, "w1") == "down", step_s=0.1)
    assert 2.9 < took < 4.1


async def test_an_agent_goes_to_another_manager(world: AgentWorld) -> None:
    await world.manager("m2")
    node = await world.node("w1")
    await world.put(task("t1"))
    await world.until(lambda: world.state_of("t1") is S.RUNNING)
    holder = world.store.state.nodes["w1"].status.manager
    other = {"m1": "m2", "m2": "m1"}[holder]
    await world.kill_manager(holder)
    node.executor.end("t1", 5)
    took = await world.until(
        lambda: world.store.state.nodes["w1"].status.manager == other, step_s=0.05
    )
    assert took < 1
    await world.until(lambda: world.state_of("t1") is S.FAILED)


async def test_a_manager_that_does_not_answer_is_left(world: AgentWorld) -> None:
    await world.manager("m2")
    node = await world.node("w1")
    await world.until(lambda: node_state(world, "w1") == "ready")
    holder = world.store.state.nodes["w1"].status.manager
    world.hub.cut(world.managers[holder].address, node.address)
    other = {"m1": "m2", "m2": "m1"}[holder]
    took = await world.until(
        lambda: world.store.state.nodes["w1"].status.manager == other, 20, step_s=0.05
    )
    assert took < 8
    # The manager that was left has nothing to say about the node any more.
    await world.clock.advance(10)
    assert node_state(world, "w1") == "ready"
    assert world.store.state.nodes["w1"].status.manager == other


async def test_a_killed_daemon_finds_its_tasks(world: AgentWorld) -> None:
    node = await world.node("w1", Delays(stop=0.2))
    await world.put(task("t1"), task("t2", "w1", "sleep", "30"), task("t3", desired=S.READY))
    await world.until(lambda: world.state_of("t2") is S.RUNNING and world.state_of("t3") is S.READY)
    before = {id: c.id for id, c in node.host.containers.items()}
    await world.clock.advance(1)
    await world.kill("w1")
    node.host.containers["t1"].end(9)
    await world.restart("w1")
    await world.until(lambda: world.state_of("t1") is S.FAILED)
    assert {id: c.id for id, c in node.host.containers.items()} == before
    assert world.state_of("t2") is S.RUNNING
    await world.clock.advance(30)
    await world.until(lambda: world.state_of("t2") is S.COMPLETE)


async def test_a_task_runs_since_it_began_whoever_watches_it(world: AgentWorld) -> None:
    await world.node("w1")
    await world.put(task("t1"))
    await world.until(lambda: world.state_of("t1") is S.RUNNING)
    since = world.task("t1").status
    await world.clock.advance(30)
    await world.kill("w1")
    await world.restart("w1")
    await world.clock.advance(30)
    assert world.store.state.nodes["w1"].status.state == "ready"
    assert world.task("t1").status == since


async def test_without_managers_everything_runs_on(world: AgentWorld) -> None:
    node = await world.node("w1")
    await world.put(task("t1"), task("t2", "w1", "sleep", "20"), task("t3", desired=S.READY))
    await world.until(lambda: world.state_of("t3") is S.READY and world.state_of("t2") is S.RUNNING)
    await world.clock.advance(1)
    manager = world.managers["m1"]
    world.hub.cut(manager.address)
    await world.kill("w1")
    await world.restart("w1")
    await world.clock.advance(60)
    assert [c.task.id for c in node.host.running] == ["t1"]
    assert set(node.host.containers) == {"t1", "t2", "t3"}
    world.hub.heal(manager.address)
    await world.until(lambda: world.state_of("t2") is S.COMPLETE, step_s=0.2)
    assert world.state_of("t1") is S.RUNNING


async def test_a_removed_node_stops_and_says_so(world: AgentWorld) -> None:
    node = await world.node("w1")
    await world.put(task("t1"))
    await world.until(lambda: world.state_of("t1") is S.RUNNING)
    await world.delete(Node, "w1")
    await world.until(lambda: node.removed)
    assert not node.host.containers
    assert node.overlay.left
    # And one that was away when it happened.
    other = await world.node("w2")
    await world.put(task("t2", "w2"))
    await world.until(lambda: world.state_of("t2") is S.RUNNING)
    world.hub.cut(other.address)
    await world.clock.advance(10)
    await world.delete(Node, "w2")
    world.hub.heal(other.address)
    await world.until(lambda: other.removed, step_s=0.2)
    assert not other.host.containers


async def test_leaving_is_told_at_once(world: AgentWorld) -> None:
    node = await world.node("w1")
    await world.put(task("t1"))
    await world.until(lambda: world.state_of("t1") is S.RUNNING)
    await node.agent.leave()
    await settle()
    assert node_state(world, "w1") == "down"
    assert not node.host.containers


async def test_a_stopping_daemon_is_disconnected_then_down(world: AgentWorld) -> None:
    node = await world.node("w1")
    await world.until(lambda: node_state(world, "w1") == "ready")
    await node.agent.close()
    await settle()
    assert node_state(world, "w1") == "disconnected"
    await world.clock.advance(10)
    assert node_state(world, "w1") == "disconnected"
    await world.until(lambda: node_state(world, "w1") == "down", 4, step_s=0.1)


async def test_a_node_that_was_called_down_by_mistake_is_ready_again(world: AgentWorld) -> None:
    await world.node("w1")
    await world.until(lambda: node_state(world, "w1") == "ready")
    status = world.store.state.nodes["w1"].status
    await world.change(Node, "w1", status=msgspec.structs.replace(status, state="down"))
    await world.until(lambda: node_state(world, "w1") == "ready", 1)


async def test_a_manager_without_quorum_has_no_sessions_and_nobody_is_down(
    world: AgentWorld,
) -> None:
    node = await world.node("w1")
    await world.put(task("t1"))
    await world.until(lambda: world.state_of("t1") is S.RUNNING)
    world.cluster.lose_quorum()
    # the only manager waits longer than one of several
    await world.until(lambda: not world.managers["m1"].dispatcher.sessions, 40, step_s=0.1)
    await world.clock.advance(30)
    assert len(node.host.running) == 1
    node.executor.end("t1", 4)
    states = []
    world.cluster.regain_quorum()

    def back() -> bool:
        states.append(node_state(world, "w1"))
        return world.state_of("t1") is S.FAILED

    await world.until(back, 20, step_s=0.05)

    def joined() -> bool:
        states.append(node_state(world, "w1"))
        return world.managers["m1"].dispatcher.sessions == {"w1"}

    # what was asked of the store before has its time, too, until nothing of it is left
    await world.until(joined, 40, step_s=0.05)
    assert "down" not in states


async def test_new_roots_and_managers_are_told(world: AgentWorld) -> None:
    node = await world.node("w1")
    await world.until(lambda: node.roots == ["root"])
    await world.change(Cluster, "c", trusted_roots="root and new")
    await world.until(lambda: node.roots == ["root", "root and new"])
    second = await world.manager("m2")
    await world.until(lambda: second.address in node.agent.managers)
    assert node.files.memory.managers or await world.until(
        lambda: len(node.files.memory.managers) == 2
    )


async def test_who_does_not_say_who_it_is_is_not_waited_for(world: AgentWorld) -> None:
    node = await world.node("w1")
    await world.until(lambda: node_state(world, "w1") == "ready")
    mute = await node.peer.client.socket(world.managers["m1"].address, SESSION_PATH)
    await world.clock.advance(HELLO_DEADLINE_S - 0.1)
    assert node.peer.sockets[-1].open
    await world.clock.advance(0.2)
    with pytest.raises(SocketClosed):
        await mute.receive()


async def test_an_agent_does_not_wait_for_a_manager_that_does_not_read(world: AgentWorld) -> None:
    node = await world.node("w1")
    await world.until(lambda: node_state(world, "w1") == "ready")
    world.hub.cut(node.address)
    socket = node.peer.sockets[-1]
    await socket.send(bytes(WINDOW))  # nothing more fits
    async with beside(node.agent.close(), name="closing") as closing:
        await settle()
        assert not closing.done()
        await world.clock.advance(GOODBYE_S + 0.1)
        assert closing.done()
    world.hub.heal(node.address)


async def test_a_manager_does_not_wait_for_an_agent_that_does_not_read(world: AgentWorld) -> None:
    await beat_every(world, 30)  # the agent does not end it by itself meanwhile
    node = await world.node("w1")
    await world.until(lambda: node_state(world, "w1") == "ready")
    _, session = world.managers["m1"].peer.inbound[-1]
    world.hub.cut(node.address)
    await session.send(bytes(WINDOW))  # nothing more fits
    await world.delete(Node, "w1")  # which the agent must be told
    await world.clock.advance(KICK_S - 0.1)
    assert session.open
    await world.clock.advance(0.2)
    assert not session.open
