"""How long the leader's loops take: for the benchmark, on a store that answers at once.

``measure`` is the scheduler's plan alone. ``Giant`` is a cluster as large as it will ever be, on
which one loop after the other is run as the leader runs it: how long its first pass takes, how long
one change takes from the record to the answer, and for how long it ever kept the event loop.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar, TypeVar, cast

import msgspec
from msgspec.structs import replace

from sampan.aio import SystemClock, Tasks, breathe
from sampan.cluster.allocator.addresses import address_of
from sampan.cluster.allocator.allocator import Allocator
from sampan.cluster.contract import FEED_LIMIT, Batch, ClusterStore, Draft, Feed, Leadership
from sampan.cluster.etcd.copy import Copy
from sampan.cluster.etcd.drafting import Drafting
from sampan.cluster.loop import Loop, Term
from sampan.cluster.model import KINDS, Change, State
from sampan.cluster.orchestrator.orchestrator import Orchestrator
from sampan.cluster.orchestrator.reaper import TaskReaper
from sampan.cluster.records import (
    Cluster,
    ClusterNetwork,
    Endpoint,
    Object,
    Service,
    Task,
    TaskAttachment,
    TaskStatus,
)
from sampan.cluster.scheduler.filters import standard
from sampan.cluster.scheduler.node_index import NodeIndex
from sampan.cluster.scheduler.plan import plan
from sampan.cluster.scheduler.scheduler import Scheduler
from sampan.cluster.scheduler.strategies import STRATEGIES
from sampan.cluster.scheduler.wanted import WantedTask
from sampan.cluster.schema import SCHEMA
from sampan.cluster.spec import (
    ContainerSpec,
    NetworkAttachmentConfig,
    NetworkSpec,
    NodeSpec,
    Placement,
    PlacementPreference,
    ReplicatedMode,
    ResourceRequirements,
    Resources,
    ServiceMode,
    ServiceSpec,
    SpreadOver,
    TaskSpec,
)
from sampan.cluster.states import TaskState
from sampan.testing.loops import ready_node

T = TypeVar("T")

FIRST_ADDRESS = 0x0A010000
TURNS_OF_A_FEED = 3
"""Until a loop knows of a change."""


@dataclass(frozen=True, slots=True)
class Measured:
    seconds: float
    placed: int
    fewest_on_a_node: int
    most_on_a_node: int


def measure(*, tasks: int = 1000, nodes: int = 100, services: int = 10) -> Measured:
    """One pass over ``tasks`` pending tasks of ``services`` services with reservations, a
    constraint and a spread preference; from the state to the plan, without the commit."""
    state = State()
    records = [
        ready_node(f"n{number}", spec=NodeSpec(labels={"zone": str(number % 4), "disk": "ssd"}))
        for number in range(nodes)
    ]
    waiting = [_task(f"t{number}", f"s{number % services}") for number in range(tasks)]
    state.apply([Change(one.kind, one.id, None, one) for one in (*records, *waiting)], 1)
    gc.collect()
    begin = time.perf_counter()
    placed, _ = plan(
        [WantedTask(task, state.networks) for task in waiting],
        NodeIndex.of(state),
        standard(),
        lambda _: STRATEGIES["spread"],
    )
    seconds = time.perf_counter() - begin
    on = Counter(one.node_id for one in placed)
    counts = [on[node.id] for node in records]
    return Measured(seconds, len(placed), min(counts), max(counts))


SPEC = TaskSpec(
    container_spec=ContainerSpec(image="x"),
    resources=ResourceRequirements(
        reservations=Resources(nano_cpus=1_000_000, memory_bytes=1 << 20)
    ),
    placement=Placement(
        constraints=("node.labels.disk==ssd",),
        preferences=(PlacementPreference(spread=SpreadOver(spread_descriptor="node.labels.zone")),),
    ),
    networks=(NetworkAttachmentConfig(target="net"),),
)


def _task(id: str, service: str, **fields: object) -> Task:
    task = Task(
        id=id,
        service_id=service,
        service_name=service,
        spec=SPEC,
        spec_version=1,
        desired=TaskState.RUNNING,
        status=TaskStatus(state=TaskState.PENDING),
    )
    return replace(task, **fields)


# ---------------------------------------------------------------- a giant cluster


class InstantStore:
    """The reading and writing part of ``ClusterStore``: commits at once, and keeps nothing. For
    measurements, where the time of a real store would hide that of what uses it."""

    def __init__(self) -> None:
        self._copy = Copy()

    @property
    def state(self) -> State:
        return self._copy.state

    def feed(self, *kinds: str, limit: int = FEED_LIMIT) -> Feed:
        return self._copy.feeds.feed(frozenset(kinds), limit)

    async def update(self, draft: Callable[[Draft], T], *, fence: Leadership | None = None) -> T:
        work = Drafting(self._copy, time.time(), SCHEMA)
        result = draft(work)
        if work.written:
            self.put((*key, record) for key, record in work.written.items())
            await breathe()
        return result

    def put(self, records: Iterable[tuple[str, str, Object | None]]) -> None:
        revision = self.state.revision + 1
        changes = []
        for kind, id, record in records:
            if record is not None:
                msgspec.structs.force_setattr(record, "version", revision)
            before = self.state.get(KINDS[kind], id)
            changes.append(Change(kind, id, before, record))
        self.state.apply(changes, revision)
        self._copy.feeds.publish(Batch(revision, tuple(changes)))


@dataclass(frozen=True, slots=True)
class Pass:
    """What a loop cost, in processor time: what else the machine does, does not count."""

    seconds: float
    longest_turn_s: float
    """The longest that nobody else had the event loop."""


class Giant:
    """``tasks`` running tasks of ``services`` services on ``nodes`` nodes, on one network."""

    def __init__(self, *, tasks: int = 300_000, nodes: int = 10_000, services: int = 1_000) -> None:
        self.store = InstantStore()
        self._numbers = itertools.count()
        now = time.time()
        network = ClusterNetwork(
            id="net", spec=NetworkSpec(name="net", driver="overlay"), vni=4096, subnet="10.0.0.0/8"
        )
        mode = ServiceMode(replicated=ReplicatedMode(replicas=tasks // services))
        records: list[Object] = [Cluster(id="c"), network]
        records += [
            ready_node(f"n{n}", spec=NodeSpec(labels={"zone": str(n % 4), "disk": "ssd"}))
            for n in range(nodes)
        ]
        records += [
            Service(
                id=f"s{n}",
                spec=ServiceSpec(name=f"s{n}", task_template=SPEC, mode=mode),
                spec_version=1,
                endpoint=Endpoint(),
                allocated_spec_version=1,
            )
            for n in range(services)
        ]
        records += [
            _task(
                f"t{n}",
                f"s{n % services}",
                slot=n // services + 1,
                node_id=f"n{n % nodes}",
                created_at=now,
                attachments=(
                    TaskAttachment(network_id="net", ipv4=address_of(FIRST_ADDRESS + n), prefix=8),
                ),
                status=TaskStatus(state=TaskState.RUNNING, timestamp=now),
            )
            for n in range(tasks)
        ]
        self.put(*records)

    def put(self, *records: Object) -> None:
        self.store.put([(one.kind, one.id, one) for one in records])

    def one_new(self) -> None:
        self._one_more(TaskState.NEW)

    def one_pending(self) -> None:
        self._one_more(TaskState.PENDING)

    def one_that_fits_nowhere(self) -> None:
        nowhere = Placement(constraints=("node.labels.disk==none",))
        self._one_more(TaskState.PENDING, service_id="s1", spec=replace(SPEC, placement=nowhere))

    def one_failed(self) -> None:
        task = self.store.state.tasks[f"t{next(self._numbers)}"]
        self.put(replace(task, status=TaskStatus(state=TaskState.FAILED, timestamp=time.time())))

    def _one_more(self, state: TaskState, **fields: object) -> None:
        id, service = f"new{next(self._numbers)}", fields.pop("service_id", "s0")
        self.put(_task(id, str(service), slot=1, status=TaskStatus(state=state), **fields))

    @asynccontextmanager
    async def running(self, make: Callable[[Term], Loop]) -> AsyncIterator[Measurement]:
        """One loop; what is measured first is its first pass."""
        term = Term(
            store=cast("ClusterStore", self.store),
            clock=SystemClock(),
            leadership=cast("Leadership", None),
        )
        tasks = Tasks()
        gc.collect()
        gc.freeze()
        try:
            yield Measurement(make(term), tasks)
        finally:
            await tasks.close()
            gc.unfreeze()


class Measurement:
    def __init__(self, loop: Loop, tasks: Tasks) -> None:
        self.loop, self._tasks = loop, tasks
        self._longest = 0.0

    async def first_pass(self) -> Pass:
        self._tasks.spawn(self._watch(), name="measure/watch")
        await breathe()
        self._longest, begin = 0.0, time.thread_time()
        self._tasks.spawn(self.loop.run(), name="measure/loop")
        await self._idle()
        return Pass(time.thread_time() - begin, self._longest)

    async def change(self, put: Callable[[], object]) -> Pass:
        """``put`` something, until the loop has nothing left to do."""
        await breathe()
        self._longest, begin = 0.0, time.thread_time()
        put()
        for _ in range(TURNS_OF_A_FEED):
            await breathe()
        await self._idle()
        seconds = time.thread_time() - begin
        await breathe()  # the watch has seen the last turn, too
        return Pass(seconds, self._longest)

    async def _idle(self) -> None:
        while not self.loop.idle:
            await breathe()

    async def _watch(self) -> None:
        last = time.thread_time()
        while True:
            await breathe()
            now = time.thread_time()
            self._longest, last = max(self._longest, now - last), now


class HastyReaper(TaskReaper):
    """It does not wait for marks to come together, which would be measured."""

    settle_s: ClassVar[float] = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    case: str
    cost: Pass


async def measure_loops(
    *, tasks: int = 300_000, nodes: int = 10_000, services: int = 1_000
) -> list[Row]:
    """Of each loop of the leader: its first pass, and one changed task, after the first such."""
    giant = Giant(tasks=tasks, nodes=nodes, services=services)
    rows: list[Row] = []
    for make, change in (
        (Allocator, giant.one_new),
        (Scheduler, giant.one_pending),
        (Orchestrator, giant.one_failed),
        (HastyReaper, giant.one_failed),
    ):
        async with giant.running(make) as measurement:
            rows.append(Row(f"{make.name}, first pass", await measurement.first_pass()))
            for case in ("the first changed task", "one changed task"):
                rows.append(Row(f"{make.name}, {case}", await measurement.change(change)))
            if make is Scheduler:
                for case, put in (
                    ("a task that fits nowhere", giant.one_that_fits_nowhere),
                    ("then a task elsewhere ends", giant.one_failed),
                ):
                    rows.append(Row(f"{make.name}, {case}", await measurement.change(put)))
    return rows


def main() -> None:
    for row in asyncio.run(measure_loops()):
        seconds, turn = row.cost.seconds * 1e3, row.cost.longest_turn_s * 1e3
        print(f"{row.case:42} {seconds:9.2f} ms, longest turn {turn:7.2f} ms")


if __name__ == "__main__":
    main()
