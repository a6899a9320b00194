"""The store in memory: the contract, and what only it can do (faults in virtual time)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TypeVar

import msgspec
import pytest
from msgspec.structs import replace

from sampan.cluster.contract import (
    ALONE_PATIENCE_S,
    PRESENCE_TTL_S,
    UNAVAILABLE_AFTER_S,
    Draft,
    LeadershipLost,
    NoQuorum,
    Presence,
)
from sampan.cluster.etcd.replicated import ReplicatedStore
from sampan.cluster.records import ManagerPart, Node, Service
from sampan.cluster.schema import SCHEMA, Schema
from sampan.testing.clock import FakeClock
from sampan.testing.cluster_store import MemoryCluster
from sampan.testing.contracts.cluster_schema import ClusterSchemaContract
from sampan.testing.contracts.cluster_store import ClusterStoreContract, put, service

T = TypeVar("T")


class VirtualStores:
    def __init__(self, hub: MemoryCluster, clock: FakeClock) -> None:
        self.hub, self.clock = hub, clock

    async def store(self, schema: Schema = SCHEMA) -> ReplicatedStore:
        return await self.hub.store(schema)

    async def finish(
        self, work: Coroutine[object, object, T], *, within_s: float = 1.5 * ALONE_PATIENCE_S
    ) -> T:
        job = asyncio.ensure_future(work)  # noqa: TID251 - a test's own
        end = self.clock.monotonic() + within_s
        await self.clock.advance(0)
        while not job.done():
            if self.clock.monotonic() >= end:
                job.cancel()
                raise TimeoutError
            await self.clock.advance(0.05)
        return job.result()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def hub(clock: FakeClock) -> AsyncIterator[MemoryCluster]:
    async with MemoryCluster(clock) as hub:
        yield hub


@pytest.fixture
def virtual(hub: MemoryCluster, clock: FakeClock) -> VirtualStores:
    return VirtualStores(hub, clock)


class TestMemoryStore(ClusterStoreContract):
    @pytest.fixture
    def stores(self, virtual: VirtualStores) -> VirtualStores:
        return virtual


class TestMemorySchema(ClusterSchemaContract):
    @pytest.fixture
    def stores(self, virtual: VirtualStores) -> VirtualStores:
        return virtual


async def _time(clock: FakeClock, condition: Callable[[], bool], within_s: float = 30.0) -> float:
    """Seconds until ``condition`` holds."""
    began = clock.monotonic()
    while not condition():
        assert clock.monotonic() - began < within_s
        await clock.advance(0.05)
    return clock.monotonic() - began


async def test_a_manager_that_is_cut_off_says_so_in_time(
    hub: MemoryCluster, virtual: VirtualStores, clock: FakeClock
) -> None:
    one = await hub.store()
    one.member.cut()
    began = clock.monotonic()
    with pytest.raises(NoQuorum):
        await virtual.finish(one.update(put(service("web"))))
    with pytest.raises(NoQuorum):
        await virtual.finish(one.barrier())
    assert clock.monotonic() - began < 2 * ALONE_PATIENCE_S + 1, "it is the only one"
    one.member.heal()
    await one.update(put(service("web")))


async def test_of_two_who_is_cut_off_says_so_sooner(
    hub: MemoryCluster, virtual: VirtualStores, clock: FakeClock
) -> None:
    one, two = await hub.store(), await hub.store()
    for store, name in ((one, "one"), (two, "two")):
        await store.announce(Presence(node_id=name, address="a:1"))
    await one.barrier()
    one.member.cut()
    began = clock.monotonic()
    with pytest.raises(NoQuorum):
        await virtual.finish(one.update(put(service("web"))))
    assert clock.monotonic() - began < UNAVAILABLE_AFTER_S + 1


async def test_who_is_left_of_three_that_were_stopped_in_order_says_so_as_soon(
    hub: MemoryCluster, virtual: VirtualStores, clock: FakeClock
) -> None:
    stores = [await hub.store() for _ in range(3)]
    names = ["one", "two", "three"]
    for store, name in zip(stores, names, strict=True):
        await store.update(lambda draft, id=name: draft.put(_manager(id)))
        await store.announce(Presence(node_id=name, address="a:1"))
    one, two, three = stores
    await two.close()
    await three.close()
    await virtual.finish(one.barrier())
    assert list(one.state.present) == ["one"]
    assert sorted(one.state.managers) == sorted(names)
    one.member.cut()
    for work in (one.update(put(service("web"))), one.barrier()):
        began = clock.monotonic()
        with pytest.raises(NoQuorum):
            await virtual.finish(work)
        assert clock.monotonic() - began < UNAVAILABLE_AFTER_S + 1
    one.member.heal()

    def demote(draft: Draft) -> None:
        draft.put(replace(draft.state.nodes["two"], manager=None))
        draft.delete(draft.state.nodes["three"])

    await one.update(demote)
    assert list(one.state.managers) == ["one"]
    one.member.cut()
    began = clock.monotonic()
    with pytest.raises(NoQuorum):
        await virtual.finish(one.barrier())
    assert clock.monotonic() - began > UNAVAILABLE_AFTER_S + 1


def _manager(id: str) -> Node:
    return Node(id=id, role="manager", manager=ManagerPart(address="a:1"))


async def test_who_was_cut_off_reads_what_it_missed(hub: MemoryCluster) -> None:
    one, two = await hub.store(), await hub.store()
    two.member.cut()
    for n in range(5):
        await one.update(put(service(f"s{n}")))
    assert not two.state.services
    two.member.heal()
    await two.barrier()
    assert two.state.services == one.state.services


async def test_compacted_history_is_read_again_and_only_differences_are_told(
    hub: MemoryCluster,
) -> None:
    one, two = await hub.store(), await hub.store()
    kept, gone, changed = service("kept"), service("gone"), service("changed")
    for record in (kept, gone, changed):
        await one.update(put(record))
    await two.barrier()
    with two.feed() as feed:
        two.member.cut()
        new = service("gone")
        await one.update(lambda tx: tx.delete(one.state.services[gone.id]))
        await one.update(put(new))
        old = one.state.services[changed.id]
        await one.update(put(msgspec.structs.replace(old, spec_version=9)))
        hub.compact()
        two.member.heal()
        await two.barrier()
        batch = await anext(aiter(feed))
    assert [(c.id, c.after is None) for c in batch.changes] == [
        (gone.id, True),
        (changed.id, False),
        (new.id, False),
    ]
    assert two.state.services == one.state.services
    assert two.state.id_of("service", "gone") == new.id


async def test_the_leader_that_is_cut_off_steps_down_before_another_begins(
    hub: MemoryCluster, virtual: VirtualStores, clock: FakeClock
) -> None:
    one, two = await hub.store(), await hub.store()
    first = await one.campaign("n1")
    await one.announce(Presence(node_id="n1", address="a"))
    next_one = asyncio.ensure_future(two.campaign("n2"))  # noqa: TID251 - a test's own
    await clock.advance(1.0)
    one.member.cut()
    await _time(clock, first.lost.is_set)
    assert not next_one.done()
    assert await _time(clock, next_one.done) < 3
    second = next_one.result()
    assert two.state.present == {}
    with pytest.raises(LeadershipLost):
        await one.update(put(service("late")), fence=first)
    await two.update(put(service("new")), fence=second)
    one.member.heal()
    await _time(clock, lambda: "n1" in two.state.present)
    assert one.state.leader == "n2"


async def test_leadership_outlives_a_short_loss_of_the_quorum(
    hub: MemoryCluster, clock: FakeClock
) -> None:
    one = await hub.store()
    leads = await one.campaign("n1")
    await clock.advance(3.0)
    hub.lose_quorum()
    await clock.advance(1.0)
    hub.regain_quorum()
    await clock.advance(10.0)
    assert not leads.lost.is_set()
    await one.update(put(service("web")), fence=leads)


async def test_a_late_watch_makes_conflicts_but_no_wrong_result(
    hub: MemoryCluster, virtual: VirtualStores
) -> None:
    one, two = await hub.store(), await hub.store()
    two.member.delay_s = 0.3
    record = service("web")
    await one.update(put(record))
    with pytest.raises(Exception, match="already exists"):
        await virtual.finish(two.update(put(service("web"))))
    assert two.state.id_of("service", "web") == record.id


async def test_an_answer_that_is_lost_may_have_been_a_commit(
    hub: MemoryCluster, virtual: VirtualStores
) -> None:
    one = await hub.store()
    one.member.lose_answers = 1
    with pytest.raises(NoQuorum):
        await virtual.finish(one.update(put(service("web"))))
    assert one.state.named(Service, "web") is not None


async def test_thousands_of_changes_take_no_time(hub: MemoryCluster, clock: FakeClock) -> None:
    managers = [await hub.store() for _ in range(3)]
    for n in range(1000):
        await managers[n % 3].update(put(service(f"s{n}")))
    for manager in managers:
        await manager.barrier()
        assert len(manager.state.services) == 1000
    assert clock.monotonic() == 0


async def test_a_manager_knows_soon_that_the_quorum_is_lost_and_that_it_is_back(
    hub: MemoryCluster, clock: FakeClock
) -> None:
    one = await hub.store()
    await one.announce(Presence(node_id="n1", address="192.0.2.1:2377"))
    hub.lose_quorum()
    assert await _time(clock, lambda: not one.has_quorum) <= PRESENCE_TTL_S
    hub.regain_quorum()
    assert await _time(clock, lambda: one.has_quorum) < 1
