"""Leaders and their loops on fakes, in virtual time, with puppets for agents.

    async with LoopWorld() as world:
        await world.manager("m1")
        await world.nodes(3)
        web = await world.serve("web", replicas=3)
        await world.until(lambda: world.running(web) == 3)

A puppet moves the tasks of its node through their states, by the delays and accidents that it is
told; it writes to the store as a dispatcher would. ``AgentWorld`` has real agents, and costs more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from msgspec.structs import replace

from sampan.aio import Tasks
from sampan.cluster.contract import ClusterStore, Draft, Presence
from sampan.cluster.leader import STANDARD, Leader, PartFactory
from sampan.cluster.records import (
    Cluster,
    JobStatus,
    Node,
    NodeDescription,
    NodeStatus,
    Object,
    Service,
    Task,
    TaskStatus,
    new_id,
)
from sampan.cluster.spec import (
    ContainerSpec,
    EndpointSpec,
    NodeSpec,
    Platform,
    ReplicatedMode,
    Resources,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)
from sampan.cluster.states import TaskState
from sampan.testing.clock import FakeClock, settle
from sampan.testing.cluster_store import MemoryCluster, MemoryStore

O = TypeVar("O", bound=Object)  # noqa: E741

End = Literal["complete", "fail", "reject"]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a task."""

    prepare_s: float = 0.05
    start_s: float = 0.05
    stop_s: float = 0.05
    end: End | None = None
    """None: it runs until it is stopped."""
    after_s: float = 0.0
    """How long it runs before ``end``."""


class Puppets:
    """The agents of all nodes: one follower of the store, a coroutine for each task under way."""

    def __init__(self, store: ClusterStore, clock: FakeClock) -> None:
        self._store, self._clock = store, clock
        self._tasks = Tasks()
        self._changed: dict[str, asyncio.Event] = {}
        self.silent: set[str] = set()
        """Nodes that say nothing."""
        self.fate: Callable[[Task], Fate] = lambda task: Fate()

    def start(self) -> None:
        self._tasks.spawn(self._follow(), name="puppets")

    async def close(self) -> None:
        await self._tasks.close()

    def wake(self) -> None:
        """Of silent nodes some speak again."""
        for event in self._changed.values():
            event.set()
        for task in list(self._store.state.tasks.values()):
            self._see(task)

    async def _follow(self) -> None:
        with self._store.feed("task") as feed:
            for task in list(self._store.state.tasks.values()):
                self._see(task)
            async for batch in feed:
                for change in batch.changes:
                    if change.after is not None:
                        self._see(change.after)
                    elif change.id in self._changed:
                        self._changed[change.id].set()

    def _see(self, task: Task) -> None:
        if task.id in self._changed:
            self._changed[task.id].set()
        elif (
            TaskState.ASSIGNED <= task.status.state <= TaskState.RUNNING
            and task.node_id not in self.silent
        ):
            self._changed[task.id] = asyncio.Event()
            self._tasks.spawn(self._live(task.id), name=f"puppet/{task.id}")

    async def _live(self, id: str) -> None:
        try:
            await self._through(id)
        finally:
            del self._changed[id]

    async def _through(self, id: str) -> None:
        task = self._store.state.tasks[id]
        fate = self.fate(task)
        if task.status.state < TaskState.READY:
            await self._clock.sleep(fate.prepare_s)
            if fate.end == "reject":
                await self._say(id, TaskState.REJECTED, "No such image: x")
                return
            await self._say(id, TaskState.READY, "")
        if not await self._until(id, lambda t: t.desired == TaskState.RUNNING):
            return
        if self._store.state.tasks[id].status.state < TaskState.RUNNING:
            await self._clock.sleep(fate.start_s)
            await self._say(id, TaskState.RUNNING, "")
        if fate.end is None:
            await self._until(id, lambda t: False)
            return
        await self._clock.sleep(fate.after_s)
        if fate.end == "complete":
            await self._say(id, TaskState.COMPLETE, "")
        else:
            await self._say(id, TaskState.FAILED, "task: non-zero exit (1)")

    async def _until(self, id: str, condition: Callable[[Task], bool]) -> bool:
        """False: it was asked to stop, or is gone."""
        while True:
            task = self._store.state.tasks.get(id)
            if task is None:
                return False
            if task.node_id not in self.silent:
                if task.desired > TaskState.RUNNING:
                    await self._clock.sleep(self.fate(task).stop_s)
                    await self._say(id, TaskState.SHUTDOWN, "")
                    return False
                if condition(task):
                    return True
            event = self._changed[id]
            event.clear()
            await event.wait()

    async def _say(self, id: str, state: TaskState, err: str) -> None:
        def draft(d: Draft) -> None:
            task = d.get(Task, id)
            if task is None or task.status.state >= state or task.node_id in self.silent:
                return
            now = self._clock.now()
            word = TaskStatus(state=state, timestamp=now, message=state.word, err=err)
            d.put(replace(task, status=word))

        await self._store.update(draft)


@dataclass(eq=False)
class LoopManager:
    id: str
    store: MemoryStore
    leader: Leader
    tasks: Tasks = field(default_factory=Tasks)


class LoopWorld:
    def __init__(
        self, cluster: Cluster | None = None, parts: Sequence[PartFactory] = STANDARD
    ) -> None:
        self.clock = FakeClock()
        self.hub = MemoryCluster(self.clock)
        self.managers: dict[str, LoopManager] = {}
        self._record = cluster or Cluster(id="c")
        self._parts = parts
        self._stack = AsyncExitStack()
        self._node_count = 0

    async def __aenter__(self) -> LoopWorld:
        await self._stack.enter_async_context(self.hub)
        self.store = await self.hub.store()
        """A client's: no manager that dies takes it along."""
        self.puppets = Puppets(self.store, self.clock)
        await self.put(self._record)
        self.puppets.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.puppets.close()
        for manager in self.managers.values():
            await manager.tasks.close()
        await self._stack.aclose()

    # -- making

    async def manager(self, id: str) -> LoopManager:
        store = await self.hub.store()
        leader = Leader(store, self.clock, id, self._parts)
        manager = self.managers[id] = LoopManager(id, store, leader)
        await store.announce(Presence(node_id=id, address=f"{id}:2377"))
        manager.tasks.spawn(leader.run(), name=f"leader/{id}")
        await settle()
        return manager

    async def kill(self, id: str) -> None:
        """The manager is gone as by kill -9: it says nothing more to the store."""
        manager = self.managers.pop(id)
        manager.store.member.cut()
        manager.store.member.closed = True  # its last words wait for nothing
        await manager.tasks.close()

    @property
    def leader(self) -> str:
        return next((m.id for m in self.managers.values() if m.leader.leading), "")

    async def nodes(self, count: int, **fields: object) -> list[str]:
        """Ready workers ``n1``, ``n2`` ..."""
        made: list[str] = []
        for _ in range(count):
            self._node_count += 1
            id = f"n{self._node_count}"
            made.append(id)
            await self.put(replace(ready_node(id), **fields))
        return made

    async def serve(
        self,
        name: str,
        *,
        replicas: int = 1,
        mode: ServiceMode | None = None,
        task: TaskSpec | None = None,
        update: UpdateConfig | None = None,
        rollback: UpdateConfig | None = None,
        endpoint: EndpointSpec | None = None,
    ) -> str:
        """A service; returns its id."""
        mode = mode or ServiceMode(replicated=ReplicatedMode(replicas=replicas))
        job = mode.replicated_job is not None or mode.global_job is not None
        service = Service(
            id=new_id(),
            spec=ServiceSpec(
                name=name,
                task_template=task or TaskSpec(container_spec=ContainerSpec(image="one")),
                mode=mode,
                update_config=update,
                rollback_config=rollback,
                endpoint_spec=endpoint,
            ),
            spec_version=1,
            job_status=JobStatus() if job else None,
        )
        await self.put(service)
        return service.id

    async def put(self, *records: Object) -> None:
        def draft(d: Draft) -> None:
            for record in records:
                d.put(record)

        await self.store.update(draft)
        await settle()

    async def change(self, kind: type[O], id: str, **fields: object) -> None:
        def draft(d: Draft) -> None:
            record = d.get(kind, id)
            assert record is not None
            d.put(replace(record, **fields))

        await self.store.update(draft)
        await settle()

    async def respecify(self, id: str, **fields: object) -> None:
        """What a user's ``service update`` writes."""

        def draft(d: Draft) -> None:
            service = d.get(Service, id)
            assert service is not None
            d.put(
                replace(
                    service,
                    spec=replace(service.spec, **fields),
                    spec_version=service.spec_version + 1,
                    previous_spec=service.spec,
                    update_status=None,
                )
            )

        await self.store.update(draft)
        await settle()

    async def image(self, id: str, image: str) -> None:
        """Update a service to another image."""
        template = self.service(id).spec.task_template
        container = replace(template.container_spec or ContainerSpec(), image=image)
        await self.respecify(id, task_template=replace(template, container_spec=container))

    async def scale(self, id: str, replicas: int) -> None:
        mode = ServiceMode(replicated=ReplicatedMode(replicas=replicas))
        await self.respecify(id, mode=mode)

    async def delete(self, kind: type[O], id: str) -> None:
        def draft(d: Draft) -> None:
            record = d.get(kind, id)
            assert record is not None
            d.delete(record)

        await self.store.update(draft)
        await settle()

    async def lose(self, node_id: str) -> None:
        """The node says nothing more, and its manager has noticed."""
        self.puppets.silent.add(node_id)
        await self._node_state(node_id, "down")

    async def find(self, node_id: str) -> None:
        """It is back."""
        self.puppets.silent.discard(node_id)
        await self._node_state(node_id, "ready")
        self.puppets.wake()

    async def _node_state(self, id: str, state: Literal["ready", "down"]) -> None:
        status = replace(self.store.state.nodes[id].status, state=state, since=self.clock.now())
        await self.change(Node, id, status=status)

    # -- looking

    def service(self, id: str) -> Service:
        return self.store.state.services[id]

    def tasks(self, service_id: str) -> list[Task]:
        """Oldest first."""
        found = self.store.state.tasks_of(service_id).values()
        return sorted(found, key=lambda task: task.created_at)

    def live(self, service_id: str) -> list[Task]:
        """Running, and meant to."""
        return [
            task
            for task in self.tasks(service_id)
            if task.status.state == TaskState.RUNNING and task.desired == TaskState.RUNNING
        ]

    def running(self, service_id: str) -> int:
        return len(self.live(service_id))

    def images(self, service_id: str) -> list[str]:
        """Of the running tasks, sorted."""
        return sorted(
            task.spec.container_spec.image
            for task in self.live(service_id)
            if task.spec.container_spec is not None
        )

    async def until(
        self, condition: Callable[[], object], limit_s: float = 60.0, step_s: float = 0.01
    ) -> float:
        """Let virtual time pass until ``condition()``; returns how much did."""
        begin = self.clock.monotonic()
        await settle()
        while not condition():
            assert self.clock.monotonic() - begin < limit_s, "it did not come about"
            await self.clock.advance(step_s)
        return self.clock.monotonic() - begin


def ready_node(id: str, **fields: object) -> Node:
    node = Node(
        id=id,
        spec=NodeSpec(),
        description=NodeDescription(
            hostname=id,
            platform=Platform(architecture="x86_64", os="linux"),
            resources=Resources(nano_cpus=4_000_000_000, memory_bytes=8 << 30),
        ),
        status=NodeStatus(state="ready", address="10.1.0.1"),
    )
    return replace(node, **fields)
