"""Whatever breaks in whatever order: in the end every node runs exactly what it should."""

from __future__ import annotations

import random

import pytest

from sampan.cluster.records import ClusterNetwork, Task, TaskAttachment, TaskStatus
from sampan.cluster.spec import ContainerSpec, NetworkSpec, TaskSpec
from sampan.cluster.states import TaskState
from sampan.testing.agents import AgentWorld
from sampan.testing.executor import Delays

S = TaskState
NODES = ["w1", "w2", "w3", "w4"]
NETWORK = ClusterNetwork(
    id="n", spec=NetworkSpec(name="n"), vni=4097, subnet="10.1.0.0/16", gateway="10.1.0.1"
)


def task(number: int, rng: random.Random) -> Task:
    arguments = rng.choice([(), (), ("exit", "1"), ("sleep", str(rng.randrange(20)))])
    attached = (
        TaskAttachment(network_id="n", ipv4=f"10.1.{number // 250}.{number % 250 + 2}", prefix=16),
    )
    return Task(
        id=f"t{number}",
        service_id="s",
        service_name="s",
        slot=number,
        node_id=rng.choice(NODES),
        desired=rng.choice([S.READY, S.RUNNING, S.RUNNING]),
        status=TaskStatus(state=S.ASSIGNED),
        spec=TaskSpec(container_spec=ContainerSpec(image="i", args=arguments)),
        attachments=rng.choice([(), attached]),
    )


class Chaos:
    def __init__(self, world: AgentWorld, rng: random.Random) -> None:
        self.world, self.rng = world, rng
        self.dead: set[str] = set()
        self.cut: set[str] = set()
        self.count = 0
        self.seen: dict[str, TaskState] = {}

    def check(self) -> None:
        """Observed states only grow, and no task has ever two containers."""
        for id, known in self.world.store.state.tasks.items():
            assert known.status.state >= self.seen.get(id, S.NEW), f"{id} went back"
            self.seen[id] = known.status.state

    async def step(self) -> None:
        world, rng = self.world, self.rng
        tasks = list(world.store.state.tasks.values())
        match rng.randrange(10):
            case 0 | 1 | 2:
                new = [task(self.count + n, rng) for n in range(rng.randrange(1, 6))]
                self.count += len(new)
                await world.put(*new)
            case 3 if tasks:
                await world.change(Task, rng.choice(tasks).id, desired=S.RUNNING)
            case 4 | 5 if tasks:
                await world.change(Task, rng.choice(tasks).id, desired=S.SHUTDOWN)
            case 6 if tasks:
                await world.delete(Task, rng.choice(tasks).id)
            case 7:
                node = rng.choice(NODES)
                if node in self.dead:
                    self.dead.discard(node)
                    await world.restart(node)
                else:
                    self.dead.add(node)
                    await world.kill(node)
            case 8:
                address = world.nodes[rng.choice(NODES)].address
                if address in self.cut:
                    self.cut.discard(address)
                    world.hub.heal(address)
                else:
                    self.cut.add(address)
                    world.hub.cut(address)
            case 9 if len(world.managers) > 1 and rng.random() < 0.2:
                await world.kill_manager(rng.choice(sorted(world.managers)))
        await world.clock.advance(rng.choice([0.0, 0.01, 0.3, 2.0, 6.0]))
        self.check()

    async def calm_down(self) -> None:
        for address in self.cut:
            self.world.hub.heal(address)
        for node in sorted(self.dead):
            await self.world.restart(node)
        for _ in range(40):
            await self.world.clock.advance(1.0)
            self.check()


@pytest.mark.parametrize("seed", range(6))
async def test_every_node_ends_with_exactly_its_tasks(seed: int) -> None:
    rng = random.Random(seed)
    async with AgentWorld() as world:
        for name in ("m1", "m2", "m3"):
            await world.manager(name)
        for name in NODES:
            delays = Delays(fetch=0.2, create=0.05, start=0.05, ready=0.2, stop=0.3)
            await world.node(name, delays)
        await world.put(NETWORK)
        chaos = Chaos(world, rng)
        for _ in range(120):
            await chaos.step()
        await chaos.calm_down()
        state = world.store.state
        for name in NODES:
            node = world.nodes[name]
            mine = {t.id: t for t in state.tasks.values() if t.node_id == name}
            assert set(node.host.containers) <= set(mine)
            running = {c.task.id for c in node.host.running}
            assert running == {id for id, t in mine.items() if t.status.state is S.RUNNING}
            for id, t in mine.items():
                ended = t.status.state.ended
                assert ended or (t.desired <= S.RUNNING and t.status.state == t.desired), (id, t)
                if ended and t.status.state is not S.SHUTDOWN:
                    assert id in node.host.containers
            assert state.nodes[name].status.state == "ready"
            used = any(t.attachments for t in mine.values())
            assert [n.id for n in node.overlay.applied.networks] == (["n"] if used else [])
            assert node.host.networks == ({"n"} if used else set())
            if used:
                members = {m.task_id: m.serving for m in node.overlay.applied.networks[0].members}
                assert members == {
                    t.id: t.status.state is S.RUNNING
                    for t in state.tasks.values()
                    if t.attachments and not t.status.state.ended
                }
