"""Three managers and a hundred agents in one process, in virtual time.

The leader dies in the middle of a rollout, nodes are lost and come back, and in the end every count
is exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import msgspec
import pytest

from sampan.aio import Tasks
from sampan.cluster.contract import Presence
from sampan.cluster.leader import Leader
from sampan.cluster.records import ClusterNetwork, Service
from sampan.cluster.spec import (
    ContainerSpec,
    GlobalMode,
    NetworkAttachmentConfig,
    NetworkSpec,
    Placement,
    ReplicatedMode,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)
from sampan.cluster.states import TaskState as S
from sampan.testing.agents import AgentWorld
from sampan.testing.clock import settle
from sampan.testing.executor import Delays

AGENTS = 100
REPLICAS = 200
ON_A_NETWORK = 12
"""Few: each node of a network is told of every change on it, and here all are in one process."""
WANTED = {"web:two": REPLICAS, "log:one": AGENTS, "db:two": ON_A_NETWORK}


class Simulation:
    def __init__(self, world: AgentWorld) -> None:
        self.world = world
        self.leaders: dict[str, Tasks] = {}

    async def manager(self, id: str) -> None:
        manager = await self.world.manager(id)
        await manager.store.announce(Presence(node_id=id, address=manager.address))
        self.leaders[id] = Tasks()
        leader = Leader(manager.store, self.world.clock, id)
        self.leaders[id].spawn(leader.run(), name=f"leader/{id}")

    async def kill_leader(self) -> str:
        """Its host is gone: store, dispatcher and loops at once."""
        id = self.world.store.state.leader
        manager = self.world.managers[id]
        member = self.world.cluster.member(manager.store)  # type: ignore[arg-type]
        member.cut()
        member.closed = True
        await self.leaders.pop(id).close()
        await self.world.kill_manager(id)
        return id

    async def serve(
        self,
        id: str,
        mode: ServiceMode,
        *constraints: str,
        parallelism: int,
        networks: tuple[str, ...] = (),
    ) -> None:
        spec = ServiceSpec(
            name=id,
            task_template=TaskSpec(
                container_spec=ContainerSpec(image="one"),
                placement=Placement(constraints=constraints) if constraints else None,
                networks=tuple(NetworkAttachmentConfig(target=name) for name in networks),
            ),
            mode=mode,
            update_config=UpdateConfig(parallelism=parallelism),
        )
        await self.world.put(Service(id=id, spec=spec, spec_version=1))

    async def image(self, id: str, image: str) -> None:
        service = self.world.store.state.services[id]
        template = service.spec.task_template
        container = msgspec.structs.replace(template.container_spec, image=image)  # type: ignore[type-var]
        template = msgspec.structs.replace(template, container_spec=container)
        await self.world.change(
            Service,
            id,
            spec=msgspec.structs.replace(service.spec, task_template=template),
            spec_version=service.spec_version + 1,
            previous_spec=service.spec,
            update_status=None,
        )

    def count(self, id: str, image: str) -> int:
        """Tasks that run, and shall."""
        return sum(
            task.status.state == task.desired == S.RUNNING
            and task.spec.container_spec is not None
            and task.spec.container_spec.image == image
            for task in self.world.store.state.tasks_of(id).values()
        )

    def containers(self) -> Counter[str]:
        """Running on the hosts, whatever the managers believe: by service and image."""
        return Counter(
            f"{container.task.service_name}:{container.task.spec.container_spec.image}"
            for node in self.world.nodes.values()
            for container in node.host.running
            if container.task.spec.container_spec is not None
        )

    def addresses(self) -> list[tuple[str, str]]:
        """Of the containers that run on the hosts."""
        return [
            (place.network_id, place.ipv4)
            for node in self.world.nodes.values()
            for container in node.host.running
            for place in container.task.attachments
        ]

    def state_of_node(self, id: str) -> str:
        return self.world.store.state.nodes[id].status.state


@pytest.fixture
async def simulation() -> AsyncIterator[Simulation]:
    async with AgentWorld() as world:
        simulation = Simulation(world)
        for id in ("m1", "m2", "m3"):
            await simulation.manager(id)
        for name in ("ingress", "net"):
            spec = NetworkSpec(name=name, ingress=name == "ingress")
            await world.put(ClusterNetwork(id=name, spec=spec))
        for number in range(AGENTS):
            await world.node(f"w{number}", Delays(fetch=0.05, create=0.02, start=0.02, stop=0.05))
        await world.until(
            lambda: all(simulation.state_of_node(id) == "ready" for id in world.nodes)
        )
        yield simulation
        for tasks in simulation.leaders.values():
            await tasks.close()


async def test_counts_are_exact_after_everything(simulation: Simulation) -> None:
    world = simulation.world
    await simulation.serve(
        "web", ServiceMode(replicated=ReplicatedMode(replicas=REPLICAS)), parallelism=10
    )
    await simulation.serve(
        "log", ServiceMode(global_=GlobalMode()), "node.role==worker", parallelism=0
    )
    await simulation.serve(
        "db",
        ServiceMode(replicated=ReplicatedMode(replicas=ON_A_NETWORK)),
        parallelism=1,
        networks=("net",),
    )
    await world.until(
        lambda: (
            simulation.count("web", "one") == REPLICAS
            and simulation.count("log", "one") == AGENTS
            and simulation.count("db", "one") == ON_A_NETWORK
        ),
        step_s=0.05,
    )
    spread = Counter(t.node_id for t in world.store.state.tasks.values() if t.service_id == "web")
    assert set(spread.values()) == {REPLICAS // AGENTS}

    await simulation.image("web", "two")
    await simulation.image("db", "two")
    await world.until(lambda: simulation.count("web", "two") >= 40, step_s=0.05)
    lost = ["w3", "w4", "w5"]
    for id in lost:
        await world.kill(id)
    killed = await simulation.kill_leader()
    took = await world.until(
        lambda: world.store.state.leader not in ("", killed), step_s=0.05, limit_s=5
    )
    assert took < 4.0

    await world.until(lambda: simulation.count("web", "two") == REPLICAS, step_s=0.25)
    await world.until(
        lambda: (
            all(simulation.state_of_node(id) == "down" for id in lost)
            and simulation.count("web", "two") == REPLICAS
            and simulation.count("log", "one") == AGENTS - len(lost)
        ),
        step_s=0.25,
    )
    for id in lost:
        await world.restart(id)
    await world.until(lambda: simulation.count("log", "one") == AGENTS, step_s=0.25)
    await world.until(lambda: simulation.containers() == WANTED, step_s=0.25)
    await settle()
    slots = Counter(
        t.slot
        for t in world.store.state.tasks_of("web").values()
        if t.desired == S.RUNNING and not t.status.state.ended
    )
    assert slots == dict.fromkeys(range(1, REPLICAS + 1), 1)
    addresses = simulation.addresses()
    assert len(addresses) == len(set(addresses)) == ON_A_NETWORK
