"""The real store keeps the contract, and the contract's words about failure hold for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sampan.aio import SystemClock
from sampan.cluster.contract import UNAVAILABLE_AFTER_S, NoQuorum
from sampan.cluster.etcd import wire
from sampan.cluster.etcd.backend import Everything, Transaction
from sampan.cluster.etcd.client import EtcdClient
from sampan.cluster.etcd.failures import NoAnswer
from sampan.cluster.etcd.store import EtcdBackend
from sampan.cluster.records import Service
from sampan.testing.contracts.cluster_schema import ClusterSchemaContract
from sampan.testing.contracts.cluster_store import ClusterStoreContract, put, service


class TestEtcdStore(ClusterStoreContract):
    @pytest.fixture
    def stores(self, real_stores: Any) -> Any:
        return real_stores


class TestEtcdSchema(ClusterSchemaContract):
    @pytest.fixture
    def stores(self, real_stores: Any) -> Any:
        return real_stores


async def test_a_member_that_is_killed_is_started_again_and_the_watch_goes_on(alone: Any) -> None:
    store = alone.store
    await store.update(put(service("before")))
    with store.feed() as feed:
        alone.process.kill()
        await store.update(put(service("after")))  # waits for it
        batch = await anext(aiter(feed))
    assert alone.process.starts == 2
    assert [change.after.name for change in batch.changes] == ["after"]
    assert {s.name for s in store.state.services.values()} == {"before", "after"}


async def test_leadership_survives_a_quick_restart_of_the_member(alone: Any) -> None:
    leads = await alone.store.campaign("n1")
    alone.process.kill()
    await alone.store.update(put(service("web")), fence=leads)
    assert not leads.lost.is_set()


async def test_nobody_hangs_on_a_member_that_is_gone(fleet: Any, alone: Any) -> None:
    await fleet.halt(alone)
    outcomes = await asyncio.gather(
        alone.store.update(put(service("web"))), alone.store.barrier(), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [NoQuorum, NoQuorum]


class Skipping:
    """A clock on which a pause is over at once: what is tried again takes the time of its pauses
    and nothing else."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        return self.passed

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds
        await asyncio.sleep(0)


async def test_a_member_that_is_gone_is_tried_for_as_long_as_was_said(
    fleet: Any, alone: Any
) -> None:
    await fleet.halt(alone)
    for ask in (
        lambda backend: backend.newest(deadline_s=UNAVAILABLE_AFTER_S),
        lambda backend: backend.commit(
            Transaction(puts={"/object/service/x": b"{}"}), deadline_s=UNAVAILABLE_AFTER_S
        ),
    ):
        clock = Skipping()
        with pytest.raises(NoQuorum):
            await ask(EtcdBackend(alone.client, clock))
        assert clock.passed == pytest.approx(UNAVAILABLE_AFTER_S)


async def test_compacted_history_is_read_again(alone: Any) -> None:
    store = alone.store
    records = [service(f"s{n}") for n in range(3)]
    for record in records:
        await store.update(put(record))
    # a follower that stands still in the middle of history, while that is compacted
    changes = EtcdBackend(alone.client, SystemClock()).changes()
    first = await anext(changes)
    assert isinstance(first, Everything)
    assert len([key for key in first.keys if key.key.startswith("/object/")]) == 3
    alone.process.kill()
    await store.update(lambda tx: tx.delete(store.state.services[records[0].id]))
    await store.update(put(service("new")))
    forget = wire.Compaction(store.state.revision, physical=True)
    await alone.client.call("/v3/kv/compaction", forget, wire.Reply, deadline_s=30.0)
    news = await anext(changes)
    while not isinstance(news, Everything):
        news = await anext(changes)
    await changes.aclose()  # type: ignore[attr-defined]
    assert news.revision == store.state.revision
    assert len([key for key in news.keys if key.key.startswith("/object/")]) == 3


@pytest.mark.parametrize("meanwhile", ["nothing", "changed by another"])
async def test_a_commit_whose_answer_was_lost_is_known_for_what_it_is(
    alone: Any, meanwhile: str
) -> None:
    class Lossy(EtcdClient):
        """The first answer to a transaction does not arrive."""

        lost = False

        async def txn(self, request: wire.Txn, *, deadline_s: float = 1.0) -> wire.TxnReply:
            reply = await super().txn(request, deadline_s=deadline_s)
            if self.lost:
                return reply
            self.lost = True
            if meanwhile != "nothing":
                await alone.client.put(b"/object/service/x", b'{"id":"x","spec_version":2}')
            raise NoAnswer("the answer was lost")

    client = Lossy(alone.settings.socket)
    try:
        outcome = await EtcdBackend(client, SystemClock()).commit(
            Transaction(
                compares={"/object/service/x": 0, "/name/service/web": 0},
                puts={"/object/service/x": b'{"id":"x"}', "/name/service/web": b"x"},
            ),
            deadline_s=4,
        )
    finally:
        await client.close()
    assert outcome.committed
    await alone.store.barrier()
    assert alone.store.state.get(Service, "x") is not None
