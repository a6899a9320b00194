"""The ledger is, after any history, what the objects say of themselves."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from sampan.cluster.allocator.allocator import Allocator
from sampan.cluster.allocator.ledger import Ledger
from sampan.cluster.leader import STANDARD
from sampan.cluster.loop import Term
from sampan.cluster.model import Change, State
from sampan.cluster.records import (
    ClusterNetwork,
    Endpoint,
    Node,
    NodeDescription,
    Object,
    Service,
    Task,
    TaskAttachment,
    TaskStatus,
    VirtualAddress,
)
from sampan.cluster.spec import (
    ContainerSpec,
    NetworkAttachmentConfig,
    NetworkSpec,
    PortConfig,
    ServiceSpec,
    TaskSpec,
)
from sampan.cluster.states import TaskState as S
from sampan.testing.loops import LoopWorld

networks = st.sampled_from(("a", "b"))
addresses = st.integers(2, 6).map(lambda n: f"10.0.0.{n}")


@st.composite
def records(draw: st.DrawFn) -> Object:
    id = draw(st.sampled_from("xyz"))
    match draw(st.sampled_from(("network", "service", "node", "task"))):
        case "network":
            ingress = draw(st.booleans())
            return ClusterNetwork(id=id, spec=NetworkSpec(name=id, ingress=ingress))
        case "service":
            port = PortConfig(target_port=80, published_port=draw(st.integers(30000, 30002)))
            place = VirtualAddress(network_id=draw(networks), address=f"{draw(addresses)}/24")
            endpoint = Endpoint(ports=(port,), virtual_addresses=(place,))
            name = draw(st.sampled_from(("web", "db")))
            given_one = draw(st.sampled_from((None, endpoint)))
            return Service(id=id, spec=ServiceSpec(name=f"{name}-{id}"), endpoint=given_one)
        case "node":
            routes = draw(st.lists(st.sampled_from(("10.1.0.0/16", "0.0.0.0/0")), max_size=2))
            return Node(
                id=id,
                ingress_ipv4=draw(st.one_of(st.just(""), addresses)),
                description=NodeDescription(routes=tuple(routes)),
            )
        case _:
            place_of_task = TaskAttachment(
                network_id=draw(networks), ipv4=draw(addresses), prefix=24
            )
            return Task(
                id=id,
                attachments=draw(st.sampled_from(((), (place_of_task,)))),
                desired=draw(st.sampled_from((S.RUNNING, S.SHUTDOWN))),
                status=TaskStatus(state=draw(st.sampled_from((S.NEW, S.RUNNING, S.FAILED)))),
            )


@given(st.lists(st.tuples(records(), st.booleans()), max_size=40))
def test_after_any_history_it_is_what_the_state_says(history: list[tuple[Object, bool]]) -> None:
    state, ledger = State(), Ledger()
    for number, (record, there) in enumerate(history):
        before = state.get(type(record), record.id)
        if before is None and not there:
            continue
        change = Change(record.kind, record.id, before, record if there else None)
        state.apply([change], number + 1)
        ledger.apply(change)
    assert ledger.snapshot() == Ledger.of(state).snapshot()


async def test_a_pass_reads_what_has_changed_and_nothing_else() -> None:
    made: list[Allocator] = []

    def make(term: Term) -> Allocator:
        made.append(Allocator(term))
        return made[-1]

    async with LoopWorld(parts=[make if p is Allocator else p for p in STANDARD]) as world:
        await world.put(ClusterNetwork(id="n", spec=NetworkSpec(name="n")))
        await world.manager("m1")
        await world.nodes(3)
        spec = TaskSpec(
            container_spec=ContainerSpec(image="x"), networks=(NetworkAttachmentConfig(target="n"),)
        )
        web = await world.serve("web", replicas=100, task=spec)
        await world.until(lambda: world.running(web) == 100)
        (allocator,) = made
        before = allocator.ledger.changes
        await world.scale(web, 101)
        await world.until(lambda: world.running(web) == 101)
        assert 0 < allocator.ledger.changes - before < 15
        assert allocator.ledger.snapshot() == Ledger.of(world.store.state).snapshot()
