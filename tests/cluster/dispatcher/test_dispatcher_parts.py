"""Tables, views and merged logs, each for itself."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import msgspec
import pytest

from sampan.cluster.contract import Draft
from sampan.cluster.dispatcher import tables
from sampan.cluster.dispatcher.index import AssignmentIndex
from sampan.cluster.dispatcher.logs import ServiceLogs
from sampan.cluster.dispatcher.tables import NetworkTable
from sampan.cluster.model import Change, State
from sampan.cluster.protocol.logs import entries, frame
from sampan.cluster.protocol.messages import ViewChange, merged_view
from sampan.cluster.records import ClusterNetwork, Service, Task, TaskAttachment, TaskStatus
from sampan.cluster.spec import ContainerSpec, TaskSpec
from sampan.cluster.states import TaskState
from sampan.engine.contract import LogRequest
from sampan.network.overlay.contract import (
    DataPlaneView,
    OverlayMember,
    OverlayNetwork,
    ServiceEntry,
)
from sampan.runtime.contract import LogEntry
from sampan.testing.agents import AgentWorld, FakeManager, FakeNode
from sampan.testing.loops import ready_node

S = TaskState


def member(id: str, serving: bool = False) -> OverlayMember:
    return OverlayMember(
        task_id=id,
        task_name=id,
        service_id="s",
        ipv4="10.0.0.2",
        node_id="n",
        node_address="1.1.1.1",
        serving=serving,
    )


HEADER = OverlayNetwork(id="n", name="net", vni=4097, subnet="10.0.0.0/24")


def seen(view: DataPlaneView) -> tuple[dict[str, bool], set[str]]:
    network = view.networks[0]
    return (
        {m.task_id: m.serving for m in network.members},
        {s.service_id for s in network.services},
    )


@pytest.mark.parametrize("seed", range(5))
def test_differences_lead_to_the_same_view(seed: int) -> None:
    """Readers that look at different times, some so late that the log has forgotten."""
    rng = random.Random(seed)
    table = NetworkTable("n")
    table.set_header(HEADER)
    readers = [(DataPlaneView(), -1) for _ in range(4)]
    for step in range(400):
        id = f"t{rng.randrange(12)}"
        if rng.random() < 0.3:
            table.set_service(
                id, rng.choice([None, ServiceEntry(service_id=id, name=id, vip=str(step))])
            )
        else:
            table.set_member(id, rng.choice([None, member(id), member(id, serving=True)]))
        if rng.random() < 0.02:
            table.set_header(msgspec.structs.replace(HEADER, mtu=step))
        which = rng.randrange(len(readers) * 3)
        if which < len(readers):
            view, at = readers[which]
            if at != table.seq:
                change = ViewChange(full=at < 0, networks=(table.since(at),))
                readers[which] = (merged_view(view, change, "x"), table.seq)
            expected = ({id: m.serving for id, m in table.members.items()}, set(table.services))
            assert seen(readers[which][0]) == expected


def test_who_is_too_far_behind_gets_everything() -> None:
    table = NetworkTable("n")
    table.set_header(HEADER)
    at = table.seq
    for number in range(tables.LOG_LIMIT + 1):
        table.set_member("t", member("t", serving=bool(number % 2)))
    change = ViewChange(networks=(table.since(at),))
    assert len(seen(merged_view(DataPlaneView(), change, "x"))[0]) == 1
    # One encoding for all who have seen the same.
    assert table.since(at) is table.since(at)


async def test_frames_survive_any_cut() -> None:
    batches = [
        [LogEntry(1, "stdout", b"a\n"), LogEntry(2, "stderr", b"b", True)],
        [],
        [LogEntry(3, "stdout", b"c" * 5000)],
    ]
    whole = b"".join(frame(batch) for batch in batches)
    for size in (1, 3, 7, 4096, len(whole)):

        async def chunks(size: int = size) -> AsyncIterator[bytes]:
            for start in range(0, len(whole), size):
                yield whole[start : start + size]

        assert [batch async for batch in entries(chunks())] == batches


class Logging:
    """Two nodes with a task each, and their manager."""

    def __init__(self, world: AgentWorld, manager: FakeManager, nodes: list[FakeNode]) -> None:
        self.world, self.manager, self.nodes = world, manager, nodes
        self.reader = ServiceLogs(manager.store, manager.peer.client, world.clock)

    def say(self, node: int, task: str, line: str, after_s: float) -> None:
        at = int((self.world.clock.now() + after_s) * 1e9)
        self.nodes[node].executor.print(task, line, at)


def task(id: str, node: str) -> Task:
    return Task(
        id=id,
        service_id="s",
        service_name="s",
        node_id=node,
        desired=S.RUNNING,
        status=TaskStatus(state=S.ASSIGNED),
        spec=TaskSpec(container_spec=ContainerSpec(image="i")),
    )


@pytest.fixture
async def logging() -> AsyncIterator[Logging]:
    async with AgentWorld() as world:
        manager = await world.manager("m1")
        nodes = [await world.node("w1"), await world.node("w2")]
        await world.put(task("t1", "w1"), task("t2", "w2"))
        await world.until(lambda: {world.state_of("t1"), world.state_of("t2")} == {S.RUNNING})
        yield Logging(world, manager, nodes)


async def test_logs_are_merged_by_time(logging: Logging) -> None:
    for number in range(6):
        logging.say(number % 2, f"t{number % 2 + 1}", str(number), number - 10)
    found = [
        (entry.task_id, entry.line)
        async for batch in logging.reader.read(["t1", "t2"], LogRequest())
        for entry in batch
    ]
    assert found == [(f"t{n % 2 + 1}", f"{n}\n".encode()) for n in range(6)]
    last = [
        entry.line
        async for batch in logging.reader.read(["t1", "t2"], LogRequest(tail=1))
        for entry in batch
    ]
    assert last == [b"4\n", b"5\n"]


async def test_a_node_that_is_gone_costs_its_part_and_a_notice(logging: Logging) -> None:
    logging.say(0, "t1", "here", -1)
    await logging.world.hub.crash(logging.nodes[1].address)
    found = [
        entry async for batch in logging.reader.read(["t1", "t2"], LogRequest()) for entry in batch
    ]
    assert [entry.task_id for entry in found] == ["t1", ""]
    assert b"incomplete log stream" in found[1].line


async def test_following_sees_what_comes_and_who_comes(logging: Logging) -> None:
    world = logging.world
    logging.say(0, "t1", "before", -1)
    found: list[bytes] = []

    async def read() -> None:
        request = LogRequest(follow=True)
        async for batch in logging.reader.read(["t1", "t2"], request, service_id="s"):
            found.extend(entry.line for entry in batch)

    reading = world.hub.tasks.spawn(read(), name="read")
    await world.until(lambda: found == [b"before\n"])
    await world.clock.advance(1)
    # The second was written first, and comes a little later.
    logging.say(0, "t1", "two", -0.05)
    await world.clock.advance(0.05)
    logging.say(1, "t2", "one", -0.2)
    await world.until(lambda: len(found) == 3)
    assert found == [b"before\n", b"one\n", b"two\n"]
    await world.put(task("t3", "w1"))
    await world.until(lambda: world.state_of("t3") is S.RUNNING)
    logging.say(0, "t3", "new", 0)
    await world.until(lambda: found[-1] == b"new\n")
    reading.cancel()


async def test_following_ends_with_the_service(logging: Logging) -> None:
    world = logging.world
    await world.put(Service(id="s"))
    logging.say(0, "t1", "before", -1)
    found: list[bytes] = []

    async def read() -> None:
        request = LogRequest(follow=True)
        async for batch in logging.reader.read(["t1", "t2"], request, service_id="s"):
            found.extend(entry.line for entry in batch)

    reading = world.hub.tasks.spawn(read(), name="read")
    await world.until(lambda: found == [b"before\n"])
    await world.delete(Service, "s")
    for id in ("t1", "t2"):
        await world.change(Task, id, desired=S.REMOVE)
    await world.until(reading.done)


async def test_following_goes_on_after_a_daemon_has_started_again(logging: Logging) -> None:
    world = logging.world
    await world.put(Service(id="s"))
    found: list[bytes] = []

    async def read() -> None:
        request = LogRequest(follow=True)
        async for batch in logging.reader.read(["t1", "t2"], request, service_id="s"):
            found.extend(entry.line for entry in batch)

    reading = world.hub.tasks.spawn(read(), name="read")
    await world.clock.advance(1)
    logging.say(0, "t1", "one", -0.01)
    logging.say(0, "t1", "of the same time", -0.01)
    await world.until(lambda: len(found) == 2)
    await world.kill("w1")
    logging.say(0, "t1", "meanwhile", 0)
    await world.restart("w1")
    await world.until(lambda: found[2:] == [b"meanwhile\n"])
    logging.say(0, "t1", "two", 0)
    await world.until(lambda: found[3:] == [b"two\n"])
    # one that stays away is told of, once
    await world.kill("w1")
    await world.clock.advance(30)
    assert [line for line in found[4:] if b"could not be retrieved" in line] == found[4:]
    assert len(found) == 5
    await world.restart("w1")
    logging.say(0, "t1", "three", 0)
    await world.until(lambda: found[5:] == [b"three\n"])
    reading.cancel()


# ---------------------------------------------------------------- the index


def attached(number: int, state: TaskState = S.RUNNING) -> Task:
    return Task(
        id=f"t{number}",
        service_id="s",
        node_id="n",
        desired=S.RUNNING,
        status=TaskStatus(state=state),
        attachments=(TaskAttachment(network_id="net", ipv4=f"10.0.{number // 250}.9", prefix=16),),
    )


def members_in(index: AssignmentIndex) -> dict[str, dict[str, OverlayMember]]:
    return {id: dict(table.members) for id, table in index.tables.items()}


@pytest.mark.parametrize("seed", range(5))
def test_what_changes_while_the_index_is_built_is_in_it(seed: int) -> None:
    rng = random.Random(seed)
    state = State()
    network = ClusterNetwork(id="net", vni=4097, subnet="10.0.0.0/16")
    records = [network, ready_node("n"), *(attached(number) for number in range(1000))]
    state.apply([Change(one.kind, one.id, None, one) for one in records], 1)
    index = AssignmentIndex(state)
    turns = 0
    for turns, _ in enumerate(index.rebuild(), 1):
        number = rng.randrange(1200)
        before = state.tasks.get(f"t{number}")
        after = rng.choice([None, attached(number, S.FAILED), attached(number, S.READY)])
        change = Change("task", f"t{number}", before, after)
        state.apply([change], turns + 1)
        index.apply([change])
    assert turns >= 4  # others had their turn so often
    anew = AssignmentIndex(state)
    for _ in anew.rebuild():
        pass
    assert members_in(index) == members_in(anew)
    assert len(index.tables["net"].members) >= 990


async def test_a_manager_of_a_large_cluster_serves_nodes_once_it_knows_everything() -> None:
    async with AgentWorld() as world:
        store = await world.cluster.store()

        def draft(draft: Draft) -> None:
            for number in range(1000):
                draft.put(attached(number, S.NEW))

        await store.update(draft)
        manager = await world.manager("m1")
        node = await world.node("n1")
        await world.until(lambda: node.id in manager.dispatcher.sessions)
