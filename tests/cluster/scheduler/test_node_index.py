"""The index of nodes is, after any history, what it would be if it were read off the state."""

from __future__ import annotations

from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import given

from sampan.cluster.leader import STANDARD
from sampan.cluster.loop import Term
from sampan.cluster.model import Change, State
from sampan.cluster.records import Node, NodeDescription, NodeStatus, Object, Task, TaskStatus
from sampan.cluster.scheduler.filters import Test, standard
from sampan.cluster.scheduler.node_index import NodeIndex, NodeInfo
from sampan.cluster.scheduler.scheduler import Scheduler
from sampan.cluster.scheduler.strategies import STRATEGIES
from sampan.cluster.scheduler.wanted import ANYWHERE, Wanted
from sampan.cluster.spec import (
    ContainerSpec,
    DiscreteGenericResource,
    EndpointSpec,
    GenericResource,
    NamedGenericResource,
    NetworkAttachmentSpec,
    NodeSpec,
    Placement,
    PortConfig,
    ResourceRequirements,
    Resources,
    TaskSpec,
)
from sampan.cluster.states import TaskState as S
from sampan.testing.loops import LoopWorld, ready_node

ZONES = ("node.labels.zone",)


def device(name: str) -> GenericResource:
    return GenericResource(named_resource_spec=NamedGenericResource(kind="gpu", value=name))


def some(count: int) -> GenericResource:
    return GenericResource(discrete_resource_spec=DiscreteGenericResource(kind="ssd", value=count))


generic = st.lists(
    st.one_of(st.sampled_from("abc").map(device), st.integers(1, 3).map(some)), max_size=3
).map(tuple)


@st.composite
def node_records(draw: st.DrawFn) -> Node:
    return Node(
        id=draw(st.sampled_from(("n0", "n1", "n2"))),
        spec=NodeSpec(
            labels={"zone": draw(st.sampled_from("xy"))},
            availability=draw(st.sampled_from(("active", "drain"))),
        ),
        status=NodeStatus(state=draw(st.sampled_from(("ready", "down")))),
        description=NodeDescription(
            resources=Resources(
                nano_cpus=draw(st.integers(0, 4)), memory_bytes=8, generic_resources=draw(generic)
            )
        ),
    )


@st.composite
def task_records(draw: st.DrawFn) -> Task:
    number = draw(st.integers(0, 5))
    port = PortConfig(target_port=80, published_port=80 + number % 2, publish_mode="host")
    by_hand = NetworkAttachmentSpec() if number == 5 else None
    return Task(
        id=f"t{number}",
        service_id=draw(st.sampled_from(("s0", "s1"))),
        # once it has a node it stays there
        node_id=draw(st.sampled_from(("", f"n{number % 4}"))),
        spec=TaskSpec(
            resources=ResourceRequirements(
                reservations=Resources(nano_cpus=draw(st.integers(0, 2)), memory_bytes=1)
            ),
            network_attachment_spec=by_hand,
        ),
        endpoint=EndpointSpec(ports=(port,) if draw(st.booleans()) else ()),
        generic_resources=draw(generic),
        desired=draw(st.sampled_from((S.READY, S.RUNNING, S.SHUTDOWN))),
        status=TaskStatus(
            state=draw(st.sampled_from((S.PENDING, S.ASSIGNED, S.RUNNING, S.FAILED)))
        ),
    )


Step = tuple[Object, bool]
steps = st.tuples(st.one_of(node_records(), task_records()), st.booleans())


@given(st.lists(steps, max_size=40), st.integers(0, 40))
def test_after_any_history_it_is_what_the_state_says(history: list[Step], asked: int) -> None:
    state, index = State(), NodeIndex()
    standings = [strategy.standing for strategy in STRATEGIES.values()]
    for number, (record, there) in enumerate(history):
        if number == asked:  # an order is kept from the moment that somebody has asked for it
            for standing in standings:
                index.order(standing, ZONES)
        before = state.get(type(record), record.id)
        change = Change(record.kind, record.id, before, record if there else None)
        if before is None and not there:
            continue
        state.apply([change], number + 1)
        index.apply(change)
    anew = NodeIndex.of(state)
    assert index.snapshot() == anew.snapshot()
    for standing in standings:
        assert index.order(standing, ZONES).branches == anew.order(standing, ZONES).branches


@given(st.lists(node_records(), max_size=4), st.lists(task_records(), max_size=8))
def test_what_is_held_for_a_plan_leaves_nothing(nodes: list[Node], tasks: list[Task]) -> None:
    index = NodeIndex()
    for record in nodes:
        index.apply(Change("node", record.id, None, record))
    standing = STRATEGIES["binpack"].standing
    before = index.snapshot()
    order = {values: list(some) for values, some in index.order(standing, ()).branches.items()}
    taken = [
        (info.node.id, info.share_for(_Plain(task)))
        for task in tasks
        for info in index.nodes.values()
    ]
    for node_id, hold in taken:
        index.hold(node_id, hold)
    for node_id, hold in taken:
        index.release(node_id, hold)
    assert index.snapshot() == before
    assert index.order(standing, ()).branches == order


@dataclass(frozen=True)
class _Plain:
    """Not a task: what somebody else may want to place."""

    task: Task
    alike: str = "alike"
    node_id: str = ""
    affinity: str = "a"
    ports: frozenset[tuple[str, int]] = frozenset({("tcp", 80)})
    placement: Placement = ANYWHERE
    drivers: frozenset[tuple[str, str]] = frozenset()

    @property
    def id(self) -> str:
        return self.task.id

    @property
    def reservations(self) -> Resources:
        resources = self.task.spec.resources
        assert resources is not None
        return resources.reservations or Resources()


# ---------------------------------------------------------------- what a pass costs


@dataclass
class Asked:
    """A filter that lets everything through, and counts whom it was asked of."""

    nodes: list[str] = field(default_factory=list)

    def bind(self, wanted: Wanted) -> Test | None:
        def ask(info: NodeInfo) -> bool:
            self.nodes.append(info.node.id)
            return True

        return ask

    def explain(self, nodes: int) -> str:
        return ""


class Watched:
    """A world whose leader's scheduler can be looked into."""

    def __init__(self) -> None:
        self.asked = Asked()
        self.made: list[Scheduler] = []
        parts = [self.make if part is Scheduler else part for part in STANDARD]
        self.world = LoopWorld(parts=parts)

    def make(self, term: Term) -> Scheduler:
        self.made.append(Scheduler(term, (*standard(), self.asked)))
        return self.made[-1]

    def forget(self) -> None:
        self.asked.nodes.clear()
        self.made[-1].nodes.changes = 0


async def test_a_pass_looks_at_what_has_changed_and_at_nothing_else() -> None:
    watched = Watched()
    async with watched.world as world:
        await world.manager("m1")
        await world.nodes(40)
        web = await world.serve("web", replicas=120)
        await world.until(lambda: world.running(web) == 120)
        watched.forget()
        await world.scale(web, 121)
        await world.until(lambda: world.running(web) == 121)
        (scheduler,) = watched.made
        assert len(watched.asked.nodes) == 1  # the best one
        # of one task: new, pending, assigned, and what the node says of it
        assert 0 < scheduler.nodes.changes < 12
        assert scheduler.nodes.snapshot() == NodeIndex.of(world.store.state).snapshot()


async def test_where_nothing_fits_only_the_nodes_with_more_room_are_asked_again() -> None:
    watched = Watched()
    async with watched.world as world:
        await world.manager("m1")
        await world.nodes(10)
        need = ResourceRequirements(reservations=Resources(nano_cpus=3_000_000_000))
        spec = TaskSpec(container_spec=ContainerSpec(image="x"), resources=need)
        first = [await world.serve(f"s{n}", task=spec) for n in range(10)]
        await world.until(lambda: all(world.running(id) == 1 for id in first))
        late = await world.serve("late", task=spec)
        await world.clock.advance(1)
        (task,) = world.tasks(late)
        assert task.status.err == "no suitable node (insufficient resources on 10 nodes)"
        (leaving,) = world.tasks(first[3])
        watched.forget()
        await world.scale(first[3], 0)
        await world.until(lambda: world.running(late) == 1)
        assert set(watched.asked.nodes) == {leaving.node_id}


async def test_what_is_said_of_nodes_is_said_anew_when_a_node_changes() -> None:
    watched = Watched()
    async with watched.world as world:
        await world.manager("m1")
        await world.nodes(2)
        spec = TaskSpec(
            container_spec=ContainerSpec(image="x"),
            placement=Placement(constraints=("node.labels.disk==ssd",)),
        )
        web = await world.serve("web", task=spec)
        await world.clock.advance(1)
        await world.put(ready_node("n3"))
        await world.clock.advance(1)
        (task,) = world.tasks(web)
        assert task.status.err == (
            "no suitable node (scheduling constraints not satisfied on 3 nodes)"
        )
        await world.change(Node, "n1", spec=NodeSpec(availability="drain"))
        await world.clock.advance(1)
        (task,) = world.tasks(web)
        assert "1 node not available for new tasks" in task.status.err
        assert not task.node_id
