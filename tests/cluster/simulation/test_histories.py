"""Random histories, and what holds in all of them."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from sampan.aio import Tasks
from sampan.cluster.allocator.allocator import Allocator
from sampan.cluster.allocator.ledger import Ledger
from sampan.cluster.contract import Batch
from sampan.cluster.leader import STANDARD
from sampan.cluster.loop import Term
from sampan.cluster.records import ClusterNetwork, Node, Service, Task
from sampan.cluster.scheduler.node_index import NodeIndex
from sampan.cluster.scheduler.scheduler import Scheduler
from sampan.cluster.scheduler.strategies import LABEL, STRATEGIES
from sampan.cluster.spec import (
    ContainerSpec,
    EndpointSpec,
    NetworkAttachmentConfig,
    NetworkSpec,
    NodeSpec,
    PortConfig,
    RestartPolicy,
    TaskSpec,
    UpdateConfig,
)
from sampan.cluster.states import TaskState as S
from sampan.testing.loops import Fate, LoopWorld

STEPS = 30


class Watch:
    """Looks at every revision of the store."""

    def __init__(self, world: LoopWorld) -> None:
        self.world = world
        self.start_first: set[str] = set()
        self.ever_lost: set[str] = set()
        self.wrong: list[str] = []
        self._tasks = Tasks()

    def start(self) -> None:
        self._tasks.spawn(self._follow(), name="watch")

    async def close(self) -> None:
        await self._tasks.close()

    async def _follow(self) -> None:
        with self.world.store.feed("task") as feed:
            async for batch in feed:
                self._steps(batch)
                self._places()
                self._addresses()

    def _steps(self, batch: Batch) -> None:
        for change in batch.changes:
            before, after = change.before, change.after
            if before is None or after is None:
                continue
            if after.status.state < before.status.state:
                self.wrong.append(f"{after.id} went back to {after.status.state.word}")
            if after.desired < before.desired:
                self.wrong.append(f"{after.id} is wanted again")
            if before.node_id and after.node_id != before.node_id:
                self.wrong.append(f"{after.id} has changed its node")

    def _places(self) -> None:
        """In a slot there is never a second task that runs beside one that does; but who was given
        up with its node may be found to run still when the node comes back."""
        state = self.world.store.state
        busy: Counter[tuple[str, int]] = Counter()
        for task in state.tasks.values():
            given_up = task.desired > S.RUNNING and task.node_id in self.ever_lost
            if S.STARTING <= task.status.state <= S.RUNNING and not given_up:
                busy[task.service_id, task.slot] += 1
        for (service, slot), count in busy.items():
            if count > 1 and service not in self.start_first:
                self.wrong.append(f"{count} tasks in slot {slot}")

    def _addresses(self) -> None:
        state = self.world.store.state
        taken: Counter[tuple[str, str]] = Counter()
        for task in state.tasks.values():
            if not task.status.state.ended and task.status.state >= S.PENDING:
                taken.update((place.network_id, place.ipv4) for place in task.attachments)
        for service in state.services.values():
            for place in service.endpoint.virtual_addresses if service.endpoint else ():
                taken[place.network_id, place.address.partition("/")[0]] += 1
        for node in state.nodes.values():
            taken["ing", node.ingress_ipv4] += bool(node.ingress_ipv4)
        self.wrong += [f"{count} have {what}" for what, count in taken.items() if count > 1]


class Indexes:
    """What the leader's loops derive from the state is what the state says."""

    def __init__(self) -> None:
        self._allocator: Allocator | None = None
        self._scheduler: Scheduler | None = None
        self.parts = [
            {Allocator: self._make_allocator, Scheduler: self._make_scheduler}.get(part, part)  # type: ignore[call-overload]
            for part in STANDARD
        ]

    def _make_allocator(self, term: Term) -> Allocator:
        self._allocator = Allocator(term)
        return self._allocator

    def _make_scheduler(self, term: Term) -> Scheduler:
        self._scheduler = Scheduler(term)
        return self._scheduler

    def check(self) -> None:
        if self._allocator is not None and self._allocator.idle:
            self._allocator.catch_up()
            anew = Ledger.of(self._allocator.state)
            assert self._allocator.ledger.snapshot() == anew.snapshot()
        if self._scheduler is not None and self._scheduler.idle:
            self._scheduler.catch_up()
            assert (
                self._scheduler.nodes.snapshot() == NodeIndex.of(self._scheduler.state).snapshot()
            )


def fates(rng: random.Random) -> dict[str, Fate]:
    return {
        "good": Fate(prepare_s=rng.uniform(0, 0.5), stop_s=rng.uniform(0, 1)),
        "bad": Fate(end="fail", after_s=rng.uniform(0, 2)),
        "worse": Fate(end="reject"),
    }


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_happens_the_rules_hold_and_it_converges(seed: int) -> None:
    rng = random.Random(seed)
    indexes = Indexes()
    async with LoopWorld(parts=indexes.parts) as world:
        await world.put(ClusterNetwork(id="ing", spec=NetworkSpec(name="ingress", ingress=True)))
        await world.put(ClusterNetwork(id="net", spec=NetworkSpec(name="net")))
        for id in ("m1", "m2", "m3"):
            await world.manager(id)
        nodes = await world.nodes(5)
        watch = Watch(world)
        watch.start()
        by_image = fates(rng)

        def fate(task: Task) -> Fate:
            assert task.spec.container_spec is not None
            return by_image[task.spec.container_spec.image]

        world.puppets.fate = fate
        services: list[str] = []
        lost: set[str] = set()
        managers = 3
        for number in range(STEPS):
            match rng.randrange(30):
                case 0 | 1 if len(services) < 4:
                    order = rng.choice(["stop-first", "start-first"])
                    id = await world.serve(
                        f"s{number}",
                        replicas=rng.randrange(1, 8),
                        task=TaskSpec(
                            container_spec=ContainerSpec(image="good"),
                            restart_policy=RestartPolicy(delay=rng.choice([0, 500_000_000])),
                            networks=(NetworkAttachmentConfig(target="net"),),
                        ),
                        update=UpdateConfig(
                            parallelism=rng.randrange(3),
                            order=order,  # type: ignore[arg-type]
                            failure_action=rng.choice(["pause", "continue", "rollback"]),
                            monitor=1_000_000_000,
                        ),
                        endpoint=EndpointSpec(ports=(PortConfig(target_port=80),)),
                    )
                    services.append(id)
                    if order == "start-first":
                        watch.start_first.add(id)
                case 2 if services:
                    await world.scale(rng.choice(services), rng.randrange(0, 9))
                case 3 | 4 if services:
                    image = rng.choice(["good", "good", "bad", "worse"])
                    await world.image(rng.choice(services), image)
                case 5 if services:
                    id = services.pop(rng.randrange(len(services)))
                    await world.delete(Service, id)
                case 6 if len(lost) < 3:
                    id = rng.choice([id for id in nodes if id not in lost])
                    lost.add(id)
                    watch.ever_lost.add(id)
                    await world.lose(id)
                case 7 if lost:
                    await world.find(lost.pop())
                case 8:
                    word = rng.choice(["active", "pause", "drain"])
                    await world.change(
                        Node,
                        rng.choice(nodes),
                        spec=NodeSpec(availability=word),  # type: ignore[arg-type]
                    )
                case 10 if services:
                    labels = {LABEL: rng.choice(sorted(STRATEGIES))}
                    await world.respecify(rng.choice(services), labels=labels)
                case 9 if managers > 1 and world.leader:
                    managers -= 1
                    await world.kill(world.leader)
            await world.clock.advance(rng.choice([0.02, 0.1, 0.5, 3.0]))
            assert not watch.wrong
            indexes.check()

        for id in list(lost):
            await world.find(id)
        for id in nodes:
            await world.change(Node, id, spec=NodeSpec())
        for id in services:
            await world.image(id, "good")
        await world.until(lambda: all(_settled(world, id) for id in services), step_s=0.25)
        await world.until(
            lambda: {t.service_id for t in world.store.state.tasks.values()} <= set(services),
            step_s=0.25,
        )
        assert not watch.wrong
        indexes.check()
        await watch.close()


def _settled(world: LoopWorld, id: str) -> bool:
    mode = world.service(id).spec.mode.replicated
    assert mode is not None
    going = [t for t in world.tasks(id) if not t.status.state.ended]
    return (
        world.images(id) == ["good"] * (mode.replicas or 0)
        and len(going) == mode.replicas
        and sorted(t.slot for t in going) == sorted({t.slot for t in going})
    )
