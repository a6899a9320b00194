"""How long the scheduler takes for one pass: for the benchmark, without a store."""

from __future__ import annotations

import gc
import time
from collections import Counter
from dataclasses import dataclass

from sampan.cluster.model import Change, State
from sampan.cluster.records import Task, TaskStatus
from sampan.cluster.scheduler.plan import plan
from sampan.cluster.scheduler.room import rooms_of
from sampan.cluster.spec import (
    ContainerSpec,
    NodeSpec,
    Placement,
    PlacementPreference,
    ResourceRequirements,
    Resources,
    SpreadOver,
    TaskSpec,
)
from sampan.cluster.states import TaskState
from sampan.testing.loops import ready_node


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
    spec = TaskSpec(
        container_spec=ContainerSpec(image="x"),
        resources=ResourceRequirements(
            reservations=Resources(nano_cpus=1_000_000, memory_bytes=1 << 20)
        ),
        placement=Placement(
            constraints=("node.labels.disk==ssd",),
            preferences=(
                PlacementPreference(spread=SpreadOver(spread_descriptor="node.labels.zone")),
            ),
        ),
    )
    waiting = [
        Task(
            id=f"t{number}",
            service_id=f"s{number % services}",
            spec=spec,
            spec_version=1,
            desired=TaskState.RUNNING,
            status=TaskStatus(state=TaskState.PENDING),
        )
        for number in range(tasks)
    ]
    state.apply([Change(one.kind, one.id, None, one) for one in (*records, *waiting)], 1)
    gc.collect()
    begin = time.perf_counter()
    placed, _ = plan(waiting, rooms_of(state), state.networks, lambda service, node: 0)
    seconds = time.perf_counter() - begin
    on = Counter(one.node_id for one in placed)
    counts = [on[node.id] for node in records]
    return Measured(seconds, len(placed), min(counts), max(counts))
