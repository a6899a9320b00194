"""Dispatchers and agents together, in virtual time: what is sent, run and told."""

from __future__ import annotations

import errno

from session_tasks import node_state, task

from sampan.cluster.records import (
    ClusterNetwork,
    Config,
    Endpoint,
    Node,
    Secret,
    Service,
    Task,
    TaskAttachment,
    TaskStatus,
    VirtualAddress,
)
from sampan.cluster.spec import (
    ConfigSpec,
    ContainerSpec,
    FileTarget,
    NetworkAttachmentConfig,
    NetworkSpec,
    PortConfig,
    SecretReference,
    SecretSpec,
    ServiceSpec,
    TaskSpec,
)
from sampan.cluster.states import TaskState
from sampan.errors import Unavailable
from sampan.testing.agents import AgentWorld
from sampan.testing.executor import Delays

S = TaskState


async def test_a_node_is_ready_and_described(world: AgentWorld) -> None:
    await world.node("w1")
    await world.until(lambda: node_state(world, "w1") == "ready")
    node = world.store.state.nodes["w1"]
    assert node.description.hostname == "w1"
    assert node.status.address == "10.0.1.1"
    assert node.status.manager == "m1"
    assert node.data_path_address == "10.0.1.1"


async def test_a_node_says_when_it_has_joined(world: AgentWorld) -> None:
    nodes = world.store.state.nodes
    node = await world.node("w1", joining=True)
    await world.until(lambda: nodes["w1"].status.state == "ready")
    assert nodes["w1"].joining
    await node.agent.joined()
    await world.until(lambda: not nodes["w1"].joining)
    # one that was killed before it could say so says it when it is back
    await world.node("w2", joining=True)
    await world.until(lambda: nodes["w2"].status.state == "ready")
    await world.kill("w2")
    await world.restart("w2")
    await world.until(lambda: not nodes["w2"].joining)


async def test_a_task_runs_ends_and_goes(world: AgentWorld) -> None:
    node = await world.node("w1")
    await world.put(task("t1"), task("t2", "w1", "exit", "3"), task("t3", "w1", "exit", "0"))
    took = await world.until(
        lambda: world.state_of("t1") is S.RUNNING and world.state_of("t2") is S.FAILED
    )
    assert took < 0.1
    assert world.task("t1").status.message == "started"
    assert world.task("t1").status.container_id == node.host.containers["t1"].id
    assert world.task("t2").status.err == "task: non-zero exit (3)"
    assert world.task("t2").status.exit_code == 3
    await world.until(lambda: world.state_of("t3") is S.COMPLETE)
    assert world.task("t3").status.message == "finished"
    # Dead ones are kept until they are nobody's any more.
    assert set(node.host.containers) == {"t1", "t2", "t3"}
    await world.delete(Task, "t2")
    await world.until(lambda: set(node.host.containers) == {"t1", "t3"})
    await world.change(Task, "t1", desired=S.SHUTDOWN)
    await world.until(lambda: world.state_of("t1") is S.SHUTDOWN)
    assert not node.host.running
    await world.delete(Task, "t1")
    await world.delete(Task, "t3")
    await world.until(lambda: not node.host.containers)


async def test_only_what_is_assigned_is_sent(world: AgentWorld) -> None:
    node = await world.node("w1")
    await world.put(task("t1", state=S.PENDING), task("t2", "another"))
    await world.clock.advance(1)
    assert not node.host.containers
    await world.change(Task, "t1", status=TaskStatus(state=S.ASSIGNED))
    await world.until(lambda: world.state_of("t1") is S.RUNNING)


async def test_ready_waits_for_the_word_to_run(world: AgentWorld) -> None:
    await world.node("w1")
    await world.put(task("t1", desired=S.READY))
    await world.until(lambda: world.state_of("t1") is S.READY)
    await world.clock.advance(2)
    assert world.state_of("t1") is S.READY
    await world.change(Task, "t1", desired=S.RUNNING)
    await world.until(lambda: world.state_of("t1") is S.RUNNING)


async def test_failures_are_told_apart(world: AgentWorld) -> None:
    node = await world.node("w1")
    attempts = []

    def broken(step: str, assignment: object) -> Exception | None:
        id = assignment.id  # type: ignore[attr-defined]
        if (id, step) == ("again", "fetch"):
            attempts.append(step)
            return Unavailable("the registry sleeps") if len(attempts) < 3 else None
        if (id, step) == ("bad", "start"):
            return ValueError("a bug")
        if (id, step) == ("full", "create"):
            return OSError(errno.ENOSPC, "No space left on device")
        return None

    node.executor.broken = broken
    node.executor.missing_images.add("none")
    missing = task("missing")
    spec = TaskSpec(container_spec=ContainerSpec(image="none"))
    await world.put(
        Task(
            **{f: getattr(missing, f) for f in missing.__struct_fields__ if f != "spec"}, spec=spec
        ),
        task("again"),
        task("bad"),
        task("full"),
    )
    await world.until(lambda: world.state_of("missing") is S.REJECTED)
    assert world.task("missing").status.err == "No such image: none"
    assert world.task("missing").status.message == "preparing"
    await world.until(lambda: world.state_of("bad") is S.FAILED)
    assert world.task("bad").status.err == "a bug"
    await world.until(lambda: world.state_of("full") is S.REJECTED)
    assert world.task("full").status.err == "No space left on device"
    await world.until(lambda: world.task("again").status.err == "the registry sleeps")
    await world.until(lambda: world.state_of("again") is S.RUNNING)
    assert len(attempts) == 3


async def test_a_pull_is_given_up_when_the_task_is_not_wanted(world: AgentWorld) -> None:
    node = await world.node("w1", Delays(fetch=100))
    await world.put(task("t1"))
    await world.until(lambda: world.state_of("t1") is S.PREPARING)
    await world.change(Task, "t1", desired=S.SHUTDOWN)
    took = await world.until(lambda: world.state_of("t1") is S.SHUTDOWN)
    assert took < 0.1
    assert not node.host.containers


def network(id: str, name: str, vni: int = 4097, **spec: object) -> ClusterNetwork:
    return ClusterNetwork(
        id=id,
        spec=NetworkSpec(name=name, **spec),  # type: ignore[arg-type]
        vni=vni,
        subnet="10.1.0.0/24",
        gateway="10.1.0.1",
    )


def on(network_id: str, ipv4: str) -> tuple[TaskAttachment, ...]:
    return (TaskAttachment(network_id=network_id, ipv4=ipv4, prefix=24),)


async def test_the_data_plane_follows(world: AgentWorld) -> None:
    one, two, three = await world.node("w1"), await world.node("w2"), await world.node("w3")
    service = Service(
        id="svc",
        spec=ServiceSpec(
            name="web",
            task_template=TaskSpec(
                networks=(NetworkAttachmentConfig(target="n1", aliases=("a",)),)
            ),
        ),
        endpoint=Endpoint(
            virtual_addresses=(
                VirtualAddress(network_id="n1", address="10.1.0.2/24"),
                VirtualAddress(network_id="in", address="10.2.0.2/24"),
            ),
            ports=(PortConfig(protocol="tcp", target_port=80, published_port=8080),),
        ),
    )
    await world.put(
        network("n1", "net"),
        network("in", "ingress", 4096, ingress=True),
        service,
    )
    await world.put(
        task("t1", "w1", attachments=on("n1", "10.1.0.3")),
        task("t2", "w2", attachments=on("n1", "10.1.0.4")),
    )
    await world.until(
        lambda: world.state_of("t2") is S.RUNNING and world.state_of("t1") is S.RUNNING
    )

    def members(node: object, network_id: str = "n1") -> dict[str, bool]:
        for found in node.overlay.applied.networks:  # type: ignore[attr-defined]
            if found.id == network_id:
                return {m.task_id: m.serving for m in found.members}
        return {}

    await world.until(lambda: members(one) == members(two) == {"t1": True, "t2": True})
    assert one.overlay.applied.vxlan_port == 4789
    assert one.overlay.applied.node_address == "10.0.1.1"
    known = {n.id: n for n in one.overlay.applied.networks}
    assert known["n1"].services[0].vip == "10.1.0.2"
    assert known["n1"].services[0].aliases == ("a",)
    assert not known["n1"].services[0].ports
    # The mesh is everybody's, the network only of those who have a task on it.
    assert {n.id for n in three.overlay.applied.networks} == {"in"}
    assert three.overlay.applied.networks[0].services[0].ports[0].published == 8080
    assert "n1" in one.host.networks
    assert not three.host.networks

    # A task that is to stop leaves every table at once, its process only after the drain.
    await world.change(Task, "t1", desired=S.SHUTDOWN)
    assert members(two) == {"t1": False, "t2": True}
    assert one.host.running
    await world.until(lambda: world.state_of("t1") is S.SHUTDOWN)
    assert members(two) == {"t2": True}
    await world.delete(Task, "t1")
    await world.until(lambda: "n1" not in one.host.networks)
    assert {n.id for n in one.overlay.applied.networks} == {"in"}

    # Where a node's tunnel ends is known to all; and a failing kernel is asked again.
    two.overlay.broken = Unavailable("no")
    await world.change(Node, "w1", ingress_ipv4="10.2.0.9")
    await world.clock.advance(1)
    assert two.overlay.applied.ingress_nodes == ()
    two.overlay.broken = None
    await world.until(lambda: len(two.overlay.applied.ingress_nodes) == 1)


async def test_secrets_reach_only_those_who_use_them(world: AgentWorld) -> None:
    one, two = await world.node("w1"), await world.node("w2")
    await world.put(
        Secret(id="s1", spec=SecretSpec(name="key"), sealed=world.sealing.seal(b"x", about="s1")),
        Config(id="c1", spec=ConfigSpec(name="conf", data="aGk=")),
    )
    uses = (SecretReference(file=FileTarget(name="key"), secret_id="s1", secret_name="key"),)
    await world.put(task("t1", secrets=uses), task("t2", "w2"))
    await world.until(lambda: world.state_of("t1") is S.RUNNING)
    supplies = one.agent._worker.supplies
    assert supplies.secrets["s1"].data == b"x"
    assert not two.agent._worker.supplies.secrets
    # Not written down, and taken back when the last task that used it is not wanted any more.
    assert b"key" not in repr(one.files.memory.statuses).encode()
    await world.change(Task, "t1", desired=S.SHUTDOWN)
    await world.until(lambda: not supplies.secrets)
