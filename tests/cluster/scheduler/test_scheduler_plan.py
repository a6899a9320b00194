"""Filters, ranking and explanations, without a store."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from sampan.cluster.model import Change
from sampan.cluster.placement import fulfils
from sampan.cluster.records import Node, NodeDescription, NodeStatus, Plugin, Task, TaskStatus
from sampan.cluster.scheduler.filters import standard
from sampan.cluster.scheduler.node_index import NodeIndex
from sampan.cluster.scheduler.plan import Placed, Unplaced, plan
from sampan.cluster.scheduler.strategies import STRATEGIES
from sampan.cluster.scheduler.wanted import WantedTask
from sampan.cluster.spec import (
    ContainerSpec,
    DiscreteGenericResource,
    Driver,
    EndpointSpec,
    GenericResource,
    Mount,
    NamedGenericResource,
    NodeSpec,
    Placement,
    PlacementPreference,
    Platform,
    PortConfig,
    ResourceRequirements,
    Resources,
    SpreadOver,
    TaskSpec,
    VolumeOptions,
)
from sampan.cluster.states import TaskState as S
from sampan.testing.loops import ready_node
from sampan.testing.schedules import measure


def pending(id: str, service: str = "s", **fields: Any) -> Task:
    spec = TaskSpec(container_spec=ContainerSpec(image="x"), **fields)
    status = TaskStatus(state=S.PENDING)
    return Task(
        id=id, service_id=service, spec=spec, spec_version=1, desired=S.RUNNING, status=status
    )


def run(
    tasks: list[Task],
    nodes: list[Node],
    there: dict[str, list[Task]] | None = None,
    strategy: str = "spread",
    seed: int = 0,
    **failures: int,
) -> tuple[list[Placed[WantedTask]], list[Unplaced[WantedTask]]]:
    index = NodeIndex()
    for record in (*nodes, *(task for some in (there or {}).values() for task in some)):
        index.apply(Change(record.kind, record.id, None, record))
    before = index.snapshot()
    made = plan(
        [WantedTask(task, {}) for task in tasks],
        index,
        standard(),
        lambda _: STRATEGIES[strategy],
        failures=lambda _: failures,
        seed=seed,
    )
    assert index.snapshot() == before  # what is written comes back as a change
    return made


def why(tasks: list[Task], nodes: list[Node], there: dict[str, list[Task]] | None = None) -> str:
    placed, unplaced = run(tasks, nodes, there)
    assert not placed
    return unplaced[0].why


def nodes(count: int, **fields: Any) -> list[Node]:
    return [ready_node(f"n{number}", **fields) for number in range(count)]


def at(node: str, task: Task, state: S = S.RUNNING, desired: S = S.RUNNING) -> Task:
    return replace(task, node_id=node, desired=desired, status=TaskStatus(state=state))


def labelled(id: str, **labels: str) -> Node:
    return ready_node(id, spec=NodeSpec(labels=labels))


def test_no_node_at_all() -> None:
    assert why([pending("t")], []) == "no suitable node"


def test_the_sentence_counts_nodes_by_the_filter_that_refused() -> None:
    many = [
        ready_node("a", status=NodeStatus(state="down")),
        ready_node("b", spec=NodeSpec(availability="pause")),
        ready_node("c", description=NodeDescription(resources=Resources(memory_bytes=1))),
    ]
    need = ResourceRequirements(reservations=Resources(memory_bytes=2))
    assert why([pending("t", resources=need)], many) == (
        "no suitable node (2 nodes not available for new tasks; insufficient resources on 1 node)"
    )


def test_reservations_are_subtracted_as_tasks_are_placed() -> None:
    need = ResourceRequirements(reservations=Resources(nano_cpus=2_000_000_000))
    placed, unplaced = run([pending(f"t{n}", resources=need) for n in range(5)], nodes(2))
    assert Counter(one.node_id for one in placed) == {"n0": 2, "n1": 2}
    assert unplaced[0].why == "no suitable node (insufficient resources on 2 nodes)"


def test_a_stopping_task_holds_what_it_reserved_but_is_no_load() -> None:
    need = ResourceRequirements(reservations=Resources(nano_cpus=4_000_000_000))
    stopping = at("n0", pending("old", resources=need), desired=S.SHUTDOWN)
    assert why([pending("t", resources=need)], nodes(1), {"n0": [stopping]}) == (
        "no suitable node (insufficient resources on 1 node)"
    )
    placed, _ = run([pending("t")], nodes(2), {"n0": [stopping]})
    assert placed[0].node_id == "n0"


def test_generic_resources_are_given_by_name_or_number() -> None:
    def named(name: str) -> GenericResource:
        return GenericResource(named_resource_spec=NamedGenericResource(kind="gpu", value=name))

    def some(count: int) -> GenericResource:
        return GenericResource(
            discrete_resource_spec=DiscreteGenericResource(kind="gpu", value=count)
        )

    node = ready_node(
        "n",
        description=NodeDescription(
            resources=Resources(generic_resources=(named("a"), named("b")))
        ),
    )
    need = ResourceRequirements(reservations=Resources(generic_resources=(some(1),)))
    placed, unplaced = run([pending(f"t{n}", resources=need) for n in range(3)], [node])
    assert [one.generic_resources for one in placed] == [(named("a"),), (named("b"),)]
    assert len(unplaced) == 1
    number = ready_node(
        "n", description=NodeDescription(resources=Resources(generic_resources=(some(4),)))
    )
    placed, _ = run([pending("t", resources=need)], [number])
    assert placed[0].generic_resources == (some(1),)


def test_host_ports_exclude_each_other() -> None:
    ports = EndpointSpec(
        ports=(PortConfig(target_port=80, published_port=80, publish_mode="host"),)
    )
    tasks = [replace(pending(f"t{n}"), endpoint=ports) for n in range(3)]
    placed, unplaced = run(tasks, nodes(2))
    assert len(placed) == 2
    assert unplaced[0].why == "no suitable node (host-mode port already in use on 2 nodes)"


def test_max_replicas() -> None:
    placed, unplaced = run(
        [pending(f"t{n}", placement=Placement(max_replicas=2)) for n in range(5)], nodes(2)
    )
    assert len(placed) == 4
    assert unplaced[0].why == "no suitable node (max replicas per node limit exceed)"


def test_platforms() -> None:
    arm = Placement(platforms=(Platform(architecture="arm64", os="linux"),))
    assert why([pending("t", placement=arm)], nodes(2)) == (
        "no suitable node (unsupported platform on 2 nodes)"
    )
    amd = Placement(platforms=(Platform(architecture="amd64", os="linux"),))
    assert len(run([pending("t", placement=amd)], nodes(2))[0]) == 1


def test_plugins_count_only_where_the_node_says_which_it_has() -> None:
    mount = Mount(
        type="volume", target="/x", volume_options=VolumeOptions(driver_config=Driver(name="nfs"))
    )
    task = pending("t")
    task = replace(task, spec=replace(task.spec, container_spec=ContainerSpec(mounts=(mount,))))
    assert len(run([task], nodes(1))[0]) == 1
    told = replace(
        nodes(1)[0], description=NodeDescription(plugins=(Plugin(type="Volume", name="local"),))
    )
    assert why([task], [told]) == "no suitable node (missing plugin on 1 node)"


def test_a_global_services_task_is_tested_on_its_node() -> None:
    task = replace(pending("t"), node_id="n1")
    placed, _ = run([task], nodes(2))
    assert placed[0].node_id == "n1"
    need = ResourceRequirements(reservations=Resources(nano_cpus=1 << 50))
    task = replace(pending("t", resources=need), node_id="n1")
    assert why([task], nodes(2)) == "insufficient resources on 1 node"


def test_by_service_first_then_by_load() -> None:
    there = {
        "n0": [at("n0", pending("a", "s"))],
        "n1": [at("n1", pending(f"b{n}", "other")) for n in range(5)],
        "n2": [at("n2", pending(f"c{n}", "other")) for n in range(2)],
    }
    placed, _ = run([pending(f"t{n}") for n in range(2)], nodes(3), there)
    assert [one.node_id for one in placed] == ["n2", "n1"]


def test_a_node_where_it_failed_again_and_again_comes_last() -> None:
    placed, _ = run([pending("t")], nodes(2), None, n0=5)
    assert placed[0].node_id == "n1"
    placed, _ = run([pending("t")], nodes(2), None, n0=4)
    assert placed[0].node_id == "n0"


def test_spread_over_labels_then_nodes() -> None:
    many = [labelled("a1", zone="a"), labelled("a2", zone="a"), labelled("b1", zone="b")]
    over = Placement(
        preferences=(PlacementPreference(spread=SpreadOver(spread_descriptor="node.labels.zone")),)
    )
    placed, _ = run([pending(f"t{n}", placement=over) for n in range(8)], many)
    assert Counter(one.node_id for one in placed) == {"a1": 2, "a2": 2, "b1": 4}


def test_a_full_branch_gives_way() -> None:
    many = [labelled("a1", zone="a"), labelled("b1", zone="b")]
    over = Placement(
        max_replicas=3,
        preferences=(PlacementPreference(spread=SpreadOver(spread_descriptor="node.labels.zone")),),
    )
    there = {"a1": [at("a1", pending(f"x{n}")) for n in range(3)]}
    placed, _ = run([pending(f"t{n}", placement=over) for n in range(3)], many, there)
    assert {one.node_id for one in placed} == {"b1"}


@pytest.mark.parametrize(
    ("constraint", "fits"),
    [
        ("node.id==N", True),
        ("node.id!=n", False),
        ("node.hostname == N", True),
        ("node.role==worker", True),
        ("node.role!=manager", True),
        ("node.platform.os==LINUX", True),
        ("node.platform.arch==amd64", True),
        ("node.platform.arch==x86_64", True),
        ("node.labels.disk==ssd", True),
        ("node.labels.disk!=ssd", False),
        ("node.labels.none!=x", True),
        ("node.labels.none==x", False),
        ("node.labels.disk==s*", True),
        ("engine.labels.k==v", True),
        ("node.ip==10.1.0.0/24", True),
        ("node.ip!=10.1.0.9", False),
        ("node.colour==red", False),
        ("garbage", False),
    ],
)
def test_constraints(constraint: str, fits: bool) -> None:
    node = Node(
        id="n",
        spec=NodeSpec(labels={"disk": "ssd"}),
        status=NodeStatus(state="ready", address="10.1.0.9"),
        description=NodeDescription(
            hostname="n",
            platform=Platform(architecture="x86_64", os="linux"),
            engine_labels={"k": "v"},
        ),
    )
    assert fulfils(node, Placement(constraints=(constraint,))) is fits


def test_a_thousand_tasks_are_spread_evenly_over_a_hundred_nodes() -> None:
    measured = measure(tasks=1000, nodes=100)
    assert measured.placed == 1000
    assert measured.fewest_on_a_node == measured.most_on_a_node == 10
