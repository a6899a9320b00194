"""What is kept of services' places: equal to what is read off everything, and cheap to keep."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sampan.cluster.model import Change, State
from sampan.cluster.orchestrator.jobs import plan_job
from sampan.cluster.orchestrator.orchestrator import Orchestrator
from sampan.cluster.orchestrator.places import PlaceIndex
from sampan.cluster.orchestrator.plan import Observed, ServicePlan
from sampan.cluster.orchestrator.services import plan_service
from sampan.cluster.records import JobStatus, Node, NodeStatus, Object, Service, Task, TaskStatus
from sampan.cluster.spec import (
    ContainerSpec,
    GlobalJobMode,
    GlobalMode,
    NodeSpec,
    ReplicatedJobMode,
    ReplicatedMode,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    TaskSpec,
    UpdateConfig,
)
from sampan.cluster.states import TaskState as S
from sampan.testing.schedules import Giant

BEGIN = 1000.0
AT_MOST = 3
"""Places a plan: few, so that most need several."""


class World:
    """A state and an index that follows it. What plans write comes back as changes."""

    def __init__(self) -> None:
        self.state, self.index = State(), PlaceIndex()
        self.now = BEGIN
        self._revision = 0

    def put(self, *records: Object) -> None:
        for record in records:
            self._change(record.kind, record.id, record)

    def delete(self, record: Object) -> None:
        self._change(record.kind, record.id, None)

    def _change(self, kind: str, id: str, after: Object | None) -> None:
        self._revision += 1
        if after is not None:
            at = self.now + self._revision * 1e-6
            since = after.created_at or at
            after = replace(after, version=self._revision, created_at=since, updated_at=at)
        tables = {"task": Task, "node": Node, "service": Service}
        before = self.state.get(tables[kind], id)
        self.state.apply([Change(kind, id, before, after)], self._revision)
        match before, after:
            case (_, Service() as service):
                self.index.put_service(service, self.state)
                self.index.mark_all(id, self.state)
            case (Service(), None):
                self.index.drop_service(id)
            case (_, Task() as task):
                self.index.put_task(task.service_id, id, task)
            case (Task() as task, None):
                self.index.put_task(task.service_id, id, None)
            case _:
                self.index.put_node(id, self.state.tasks_on(id).values())

    def settle(self) -> None:
        """Plan and write until nothing is left to be done."""
        for _ in range(200):
            more = [self.plan(self.index, id) for id in list(self.index.services)]
            if not any(more):
                return
        raise AssertionError("it never ends")

    def plan(self, index: PlaceIndex, service_id: str) -> bool:
        """One plan, written; whether there may be more to do."""
        places = index.services[service_id]
        service = self.state.services[service_id]
        plan = ServicePlan(service, None, self.state.nodes, self.now, Observed())
        plan_places = plan_job if service.spec.mode.is_job else plan_service
        looked_at = plan_places(plan, places, AT_MOST)
        self.put(*plan.changes.values(), *plan.created)
        if plan.new_service is not None:
            self.put(plan.new_service)
        places.looked_at(looked_at.marks)
        return looked_at.more or bool(plan.steps) or plan.new_service is not None


NODES = ("n0", "n1", "n2")
SERVICES = ("web", "each", "batch", "sweep")


def service(id: str, image: str, replicas: int, version: int, parallelism: int) -> Service:
    modes = {
        "web": ServiceMode(replicated=ReplicatedMode(replicas=replicas)),
        "each": ServiceMode(global_=GlobalMode()),
        "batch": ServiceMode(
            replicated_job=ReplicatedJobMode(max_concurrent=2, total_completions=replicas)
        ),
        "sweep": ServiceMode(global_job=GlobalJobMode()),
    }
    return Service(
        id=id,
        spec=ServiceSpec(
            name=id,
            mode=modes[id],
            task_template=TaskSpec(
                container_spec=ContainerSpec(image=image),
                restart_policy=RestartPolicy(condition="on-failure", delay=2 * 10**9),
            ),
            update_config=UpdateConfig(parallelism=parallelism, delay=10**9, monitor=3 * 10**9),
        ),
        spec_version=version,
        job_status=JobStatus(iteration=version // 8) if modes[id].is_job else None,
    )


def node(id: str, state: str, availability: str) -> Node:
    return Node(
        id=id,
        spec=NodeSpec(availability=availability),  # type: ignore[arg-type]
        status=NodeStatus(state=state),  # type: ignore[arg-type]
    )


@st.composite
def steps(draw: st.DrawFn) -> tuple[object, ...]:
    match draw(
        st.sampled_from(
            ["service", "drop", "node", "lost", "move", "move", "move", "forget", "time"]
        )
    ):
        case "service":
            numbers = (st.integers(0, 8), st.integers(0, 2))
            wanted = (draw(st.sampled_from(SERVICES)), draw(st.sampled_from(["a", "b"])))
            return ("service", *wanted, *(draw(number) for number in numbers))
        case "drop":
            return ("drop", draw(st.sampled_from(SERVICES)))
        case "node":
            states = st.sampled_from(["ready", "ready", "down"])
            how = st.sampled_from(["active", "active", "pause", "drain"])
            return ("node", draw(st.sampled_from(NODES)), draw(states), draw(how))
        case "lost":
            return ("lost", draw(st.sampled_from(NODES)))
        case "move":
            to = st.sampled_from([S.RUNNING, S.RUNNING, S.FAILED, S.COMPLETE])
            return ("move", draw(st.integers(0, 50)), draw(st.sampled_from(NODES)), draw(to))
        case "forget":
            return ("forget", draw(st.integers(0, 50)))
    return ("time", draw(st.sampled_from([0.5, 1.0, 3.0, 100.0])))


def carry_out(world: World, step: tuple[object, ...], number: int) -> None:
    state = world.state
    match step:
        case ("service", str(id), str(image), int(replicas), int(parallelism)):
            known = state.services.get(id)
            new = service(id, image, replicas, number, parallelism)
            if known is not None:
                new = replace(new, previous_spec=known.spec, update_status=known.update_status)
            world.put(new)
        case ("drop", str(id)):
            if (known := state.services.get(id)) is not None:
                world.delete(known)
        case ("node", str(id), str(how), str(availability)):
            world.put(node(id, how, availability))
        case ("lost", str(id)):
            if (gone := state.nodes.get(id)) is not None:
                world.delete(gone)
        case ("move", int(which), str(at), S() as to):
            # a task goes on, or stops as it shall
            tasks = [t for t in state.tasks.values() if not t.status.state.ended]
            if tasks:
                task = tasks[which % len(tasks)]
                if task.desired > S.RUNNING:
                    to = S.SHUTDOWN
                at = task.node_id or at
                status = TaskStatus(state=max(task.status.state, to), timestamp=world.now)
                world.put(replace(task, node_id=at, status=status))
        case ("forget", int(which)):
            over = [t for t in state.tasks.values() if t.status.state.ended]
            if over:
                world.delete(over[which % len(over)])
        case ("time", float(seconds)):
            world.now += seconds
        case _:
            raise AssertionError(step)


def everything_again(world: World, known: Iterable[str]) -> PlaceIndex:
    """The index that a new leader would begin with, after it has looked at all places."""
    fresh = PlaceIndex.of(world.state)
    before = dict(world.state.tasks), dict(world.state.services)
    for id in known:
        for _ in range(100):
            if not world.plan(fresh, id):
                break
    assert (dict(world.state.tasks), dict(world.state.services)) == before, (
        "a plan over everything finds something to do that the marked places did not show"
    )
    return fresh


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(steps(), st.booleans()), max_size=40))
def test_after_any_history_the_index_is_what_is_read_off_the_state(
    history: list[tuple[tuple[object, ...], bool]],
) -> None:
    world = World()
    world.put(*(node(id, "ready", "active") for id in NODES[:2]))
    for number, (step, planned) in enumerate(history, 1):
        carry_out(world, step, number)
        if planned:
            world.settle()
    world.settle()
    fresh = everything_again(world, list(world.index.services))
    assert world.index.snapshot() == fresh.snapshot()
    assert world.index.on_nodes == fresh.on_nodes


async def test_one_failure_in_ten_thousand_costs_a_place() -> None:
    giant = Giant(tasks=10_000, nodes=1_000, services=1)
    async with giant.running(Orchestrator) as measurement:
        await measurement.first_pass()
        loop = measurement.loop
        assert isinstance(loop, Orchestrator)
        before = loop.index.looked_at
        assert before >= 10_000
        await measurement.change(giant.one_failed)
        tasks = giant.store.state.tasks
        assert len(tasks) == 10_001, "it has a successor"
        assert loop.index.looked_at - before <= 3


async def test_one_completion_of_a_job_of_ten_thousand_costs_a_place() -> None:
    giant = Giant(tasks=10_000, nodes=1_000, services=1)
    job = giant.store.state.services["s0"]
    mode = ServiceMode(
        replicated_job=ReplicatedJobMode(max_concurrent=10_000, total_completions=20_000)
    )
    giant.put(replace(job, spec=replace(job.spec, mode=mode)))
    async with giant.running(Orchestrator) as measurement:
        await measurement.first_pass()
        loop = measurement.loop
        assert isinstance(loop, Orchestrator)
        before = loop.index.looked_at
        done = giant.store.state.tasks["t7"]
        status = TaskStatus(state=S.COMPLETE, timestamp=giant.store.state.tasks["t8"].created_at)
        await measurement.change(lambda: giant.put(replace(done, status=status)))
        assert len(giant.store.state.tasks) == 10_001, "the next one is begun"
        assert loop.index.looked_at - before <= 3


async def test_a_changed_node_costs_its_tasks_and_a_place_of_each_global_service() -> None:
    giant = Giant(tasks=10_000, nodes=1_001, services=2)  # each service on every node
    state = giant.store.state
    each = state.services["s0"]
    mode = ServiceMode(global_=GlobalMode())
    giant.put(replace(each, spec=replace(each.spec, mode=mode)))
    giant.put(*(replace(task, slot=0) for task in list(state.tasks_of("s0").values())))
    async with giant.running(Orchestrator) as measurement:
        await measurement.first_pass()
        loop = measurement.loop
        assert isinstance(loop, Orchestrator)
        before = loop.index.looked_at
        lost = state.nodes["n1"]
        on = 1 + sum(task.service_id == "s1" for task in state.tasks_on("n1").values())
        giant_put = replace(lost, status=replace(lost.status, state="down"))
        await measurement.change(lambda: giant.put(giant_put))
        # each is looked at once for the node, and once more for what was written then
        assert on <= loop.index.looked_at - before <= 2 * on + 1
