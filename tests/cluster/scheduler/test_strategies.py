"""Strategies: which of the nodes that fit, by name."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from msgspec.structs import replace

from sampan.cluster.model import Change
from sampan.cluster.records import Node, NodeDescription, Plugin, Service
from sampan.cluster.scheduler.filters import standard
from sampan.cluster.scheduler.node_index import Hold, NodeIndex
from sampan.cluster.scheduler.plan import Placed, plan
from sampan.cluster.scheduler.strategies import LABEL, STRATEGIES, strategy_of
from sampan.cluster.scheduler.wanted import ANYWHERE, Driver
from sampan.cluster.spec import (
    ContainerSpec,
    NodeSpec,
    Placement,
    PlacementPreference,
    Resources,
    ServiceSpec,
    SpreadOver,
    TaskSpec,
)
from sampan.cluster.spec import Driver as DriverConfig
from sampan.cluster.states import TaskState as S
from sampan.testing.loops import LoopWorld, ready_node


@dataclass(frozen=True, kw_only=True)
class Container:
    """``Wanted``, and no task: what a front over many engines places."""

    id: str
    alike: str = "image"
    node_id: str = ""
    affinity: str = "app"
    reservations: Resources = Resources()  # noqa: RUF009 - frozen
    ports: frozenset[tuple[str, int]] = frozenset()
    placement: Placement = ANYWHERE
    drivers: frozenset[Driver] = frozenset()


def containers(count: int, **fields: Any) -> list[Container]:
    return [Container(id=f"c{number}", **fields) for number in range(count)]


def index_of(*nodes: Node, loads: dict[str, int] | None = None) -> NodeIndex:
    index = NodeIndex()
    for node in nodes:
        index.apply(Change("node", node.id, None, node))
    for node_id, load in (loads or {}).items():
        for _ in range(load):
            index.hold(node_id, Hold(0, 0, (), frozenset(), "other", goes_on=True))
    return index


def place(
    wanted: list[Container], index: NodeIndex, strategy: str, seed: int = 0, **failures: int
) -> list[Placed[Container]]:
    placed, _ = plan(
        wanted,
        index,
        standard(),
        lambda _: STRATEGIES[strategy],
        failures=lambda _: failures,
        seed=seed,
    )
    return placed


def on(placed: list[Placed[Container]]) -> dict[str, int]:
    return dict(Counter(one.node_id for one in placed))


NODES = [ready_node(f"n{number}") for number in range(4)]
HALF = Resources(nano_cpus=2_000_000_000, memory_bytes=4 << 30)
ZONED = [ready_node(f"n{n}", spec=NodeSpec(labels={"zone": "ab"[n % 2]})) for n in range(4)]
BY_ZONE = Placement(
    preferences=(PlacementPreference(spread=SpreadOver(spread_descriptor="node.labels.zone")),)
)


def test_spread_keeps_apart_and_binpack_fills_up() -> None:
    wanted = containers(4, reservations=HALF)
    assert on(place(wanted, index_of(*NODES), "spread")) == {"n0": 1, "n1": 1, "n2": 1, "n3": 1}
    assert on(place(wanted, index_of(*NODES), "binpack")) == {"n0": 2, "n1": 2}


def test_binpack_prefers_what_is_reserved_most_and_then_what_has_most() -> None:
    index = index_of(*NODES, loads={"n1": 3, "n2": 1})
    index.hold("n2", Hold(1_000_000_000, 0, (), frozenset(), "other", goes_on=True))
    assert on(place(containers(1), index, "binpack")) == {"n2": 1}
    assert on(place(containers(5), index_of(*NODES, loads={"n1": 3}), "binpack")) == {"n1": 5}


def test_random_is_a_matter_of_the_seed() -> None:
    wanted = containers(40)
    once = place(wanted, index_of(*NODES), "random", seed=7)
    assert place(wanted, index_of(*NODES), "random", seed=7) == once
    assert place(wanted, index_of(*NODES), "random", seed=8) != once
    assert set(on(once)) == {"n0", "n1", "n2", "n3"}


def test_random_draws_among_those_that_fit() -> None:
    wanted = containers(9, reservations=HALF)
    assert on(place(wanted, index_of(*NODES), "random")) == dict.fromkeys(on_all(), 2)


def on_all() -> list[str]:
    return [node.id for node in NODES]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_where_it_failed_again_and_again_comes_last(strategy: str) -> None:
    index = index_of(*NODES[:2], loads={"n0": 1} if strategy == "binpack" else {"n1": 1})
    for seed in range(10):
        assert on(place(containers(1), index, strategy, seed, n0=5)) == {"n1": 1}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_preferences_divide_first_whatever_the_strategy(strategy: str) -> None:
    index = index_of(*ZONED, loads={"n0": 9})
    for seed in range(5):
        placed = on(place(containers(6, placement=BY_ZONE), index, strategy, seed))
        zones = Counter[str]()
        for node_id, count in placed.items():
            zones["ab"[int(node_id[1]) % 2]] += count
        assert zones == {"a": 3, "b": 3}
        if strategy == "binpack":  # inside of a branch the strategy decides
            assert placed == {"n0": 3, "n1": 3}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_choice_has_its_reason(strategy: str) -> None:
    (placed,) = place(containers(1), index_of(*NODES), strategy)
    assert placed.why.startswith(f"{strategy}: ")


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), max_size=6),
    st.lists(st.integers(0, 7), max_size=6),
    st.integers(1, 9),
    st.integers(0, 3),
)
def test_reading_on_in_an_order_finds_what_looking_at_every_node_would(
    loads: list[int], own: list[tuple[int, int]], failures: list[int], count: int, most: int
) -> None:
    nodes = [ready_node(f"n{number}") for number in range(len(loads))]
    index = index_of(*nodes, loads={f"n{n}": load for n, load in enumerate(loads)})
    for number, some in own:
        if number < len(loads):
            for _ in range(some):
                index.hold(f"n{number}", Hold(0, 0, (), frozenset(), "app", goes_on=True))
    failed = {f"n{n}": some for n, some in enumerate(failures[: len(loads)])}
    mine = {node.id: index.with_some_of("app").get(node.id, 0) for node in nodes}
    all_of = {node.id: index.nodes[node.id].load for node in nodes}
    expected = []
    for _ in range(count):
        fitting = [id for id in mine if not most or mine[id] < most]
        if not fitting:
            break
        best = min(
            fitting,
            key=lambda id: (
                failed.get(id, 0) if failed.get(id, 0) >= 5 else 0,
                mine[id],
                all_of[id],
                id,
            ),
        )
        mine[best] += 1
        all_of[best] += 1
        expected.append(best)
    wanted = containers(count, placement=Placement(max_replicas=most))
    assert [one.node_id for one in place(wanted, index, "spread", **failed)] == expected


def test_a_service_chooses_by_its_label() -> None:
    def service(**labels: str) -> Service:
        return Service(id="s", spec=ServiceSpec(labels=labels))

    assert strategy_of(service()).name == "spread"
    assert strategy_of(service(**{LABEL: "binpack"})).name == "binpack"
    assert strategy_of(service(**{LABEL: "gone"})).name == "spread"
    assert strategy_of(None).name == "spread"


async def test_the_scheduler_places_each_service_by_its_own_strategy() -> None:
    async with LoopWorld() as world:
        await world.manager("m1")
        await world.nodes(4)
        apart = await world.serve("apart", replicas=4)
        await world.until(lambda: world.running(apart) == 4)
        packed = await world.serve("packed", replicas=0)
        await world.respecify(packed, labels={LABEL: "binpack"})
        await world.scale(packed, 3)
        await world.until(lambda: world.running(packed) == 3)
        assert len({task.node_id for task in world.live(apart)}) == 4
        (node_id,) = {task.node_id for task in world.live(packed)}
        reasons = {task.placement_reason for task in world.live(packed)}
        assert {reason.partition(":")[0] for reason in reasons} == {"binpack"}
        assert node_id in world.store.state.nodes


# ---------------------------------------------------------------- drivers


def telling(id: str, *drivers: Driver) -> Node:
    plugins = tuple(Plugin(type=kind, name=name) for kind, name in drivers)
    return replace(
        ready_node(id), description=NodeDescription(plugins=plugins, resources=Resources())
    )


def refusal(node: Node, *drivers: Driver) -> str:
    wanted = containers(1, drivers=frozenset(drivers))
    _, unplaced = plan(wanted, index_of(node), standard(), lambda _: STRATEGIES["spread"])
    return unplaced[0].why if unplaced else ""


def test_each_kind_of_driver_is_looked_for_among_its_own() -> None:
    node = telling("n", ("Volume", "local"), ("Network", "overlay"), ("Log", "json-file"))
    missing = "no suitable node (missing plugin on 1 node)"
    assert refusal(node, ("Volume", "local"), ("Network", "overlay"), ("Log", "json-file")) == ""
    assert refusal(node, ("Network", "local")) == missing
    assert refusal(node, ("Log", "local")) == missing
    assert refusal(node, ("Volume", "overlay")) == missing


async def test_a_log_driver_that_no_node_has_leaves_the_task_pending() -> None:
    async with LoopWorld() as world:
        await world.manager("m1")
        tells = NodeDescription(plugins=(Plugin(type="Log", name="json-file"),))
        await world.nodes(3, description=tells)
        spec = TaskSpec(
            container_spec=ContainerSpec(image="x"), log_driver=DriverConfig(name="journald")
        )
        web = await world.serve("web", task=spec)
        await world.clock.advance(1)
        (task,) = world.tasks(web)
        assert task.status.state == S.PENDING
        assert task.status.err == "no suitable node (missing plugin on 3 nodes)"
        has = (*tells.plugins, Plugin(type="Log", name="journald"))
        await world.change(Node, "n2", description=replace(tells, plugins=has))
        await world.until(lambda: world.running(web) == 1)
        assert world.live(web)[0].node_id == "n2"
