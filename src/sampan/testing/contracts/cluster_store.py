"""What every ``ClusterStore`` keeps to, with one manager and with several."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol, TypeVar

import pytest
from msgspec.structs import replace

from sampan.cluster.contract import (
    Batch,
    Draft,
    Feed,
    LeadershipLost,
    NameInUse,
    OutOfSequence,
    Presence,
    StoreLagged,
)
from sampan.cluster.etcd.replicated import ReplicatedStore
from sampan.cluster.records import Config, Service, Task, new_id
from sampan.cluster.schema import SCHEMA, Schema
from sampan.cluster.spec import ConfigSpec, ServiceSpec
from sampan.cluster.states import TaskState
from sampan.errors import Internal

T = TypeVar("T")


class Stores(Protocol):
    """Managers of one cluster, and time for them."""

    async def store(self, schema: Schema = SCHEMA) -> ReplicatedStore:
        """One more manager's. ``schema``: what its version knows."""
        ...

    async def finish(self, work: Coroutine[object, object, T], *, within_s: float = 10.0) -> T:
        """Await ``work`` while time goes on.

        Raises:
            TimeoutError.
        """
        ...


def service(name: str, id: str = "") -> Service:
    return Service(id=id or new_id(), spec=ServiceSpec(name=name))


def task(service_id: str, node_id: str = "", slot: int = 1) -> Task:
    return Task(id=new_id(), service_id=service_id, node_id=node_id, slot=slot)


def put(record: Service | Task | Config) -> Callable[[Draft], None]:
    return lambda draft: draft.put(record)


async def _holds(store: ReplicatedStore, condition: Callable[[], bool]) -> None:
    with store.feed() as feed:
        if condition():
            return
        async for _ in feed:
            if condition():
                return


class ClusterStoreContract:
    """Subclass it as ``TestX`` and override the fixture ``stores``."""

    @pytest.fixture
    def stores(self) -> AsyncIterator[Stores] | Stores:
        raise NotImplementedError

    @pytest.fixture
    async def store(self, stores: Stores) -> ReplicatedStore:
        return await stores.store()

    # -- one manager

    async def test_what_was_put_is_in_the_copy_when_update_returns(
        self, store: ReplicatedStore
    ) -> None:
        record = service("web")
        await store.update(put(record))
        kept = store.state.services[record.id]
        assert kept.spec == record.spec
        assert kept.version == store.state.revision > 0
        assert kept.created_at == kept.updated_at > 0
        assert store.state.named(Service, "web") is kept

    async def test_update_returns_what_the_draft_returns(self, store: ReplicatedStore) -> None:
        assert await store.update(lambda draft: 7) == 7

    async def test_every_change_has_a_newer_version(self, store: ReplicatedStore) -> None:
        record = service("web")
        await store.update(put(record))
        first = store.state.services[record.id]
        await store.update(put(replace(first, spec_version=1)))
        second = store.state.services[record.id]
        assert second.version > first.version
        assert second.created_at == first.created_at

    async def test_a_draft_that_writes_nothing_makes_no_revision(
        self, store: ReplicatedStore
    ) -> None:
        record = service("web")
        await store.update(put(record))
        before = store.state.revision
        kept = store.state.services[record.id]
        await store.update(put(kept))  # the same again is nothing, too
        await store.update(lambda draft: draft.expect(kept))
        await store.barrier()
        assert store.state.revision == before

    async def test_one_draft_is_one_revision_and_one_batch(self, store: ReplicatedStore) -> None:
        owner = service("web")
        tasks = [task(owner.id, slot=n) for n in range(1, 50)]

        def draft(tx: Draft) -> None:
            tx.put(owner)
            for one in tasks:
                tx.put(one)

        with store.feed() as feed:
            await store.update(draft)
            batch = await anext(aiter(feed))
        assert len(batch.changes) == 50
        assert {store.state.tasks[t.id].version for t in tasks} == {batch.revision}
        assert set(store.state.tasks_of(owner.id)) == {t.id for t in tasks}

    async def test_a_draft_that_raises_writes_nothing(self, store: ReplicatedStore) -> None:
        def draft(tx: Draft) -> None:
            tx.put(service("web"))
            raise LookupError("no")

        with pytest.raises(LookupError):
            await store.update(draft)
        await store.barrier()
        assert not store.state.services

    async def test_a_draft_is_a_plain_function(self, store: ReplicatedStore) -> None:
        async def draft(tx: Draft) -> None:
            pass

        wrong: Any = draft
        with pytest.raises(Internal):
            await store.update(wrong)

    async def test_a_draft_sees_what_it_wrote(self, store: ReplicatedStore) -> None:
        record = service("web")

        def draft(tx: Draft) -> tuple[object, object]:
            tx.put(record)
            seen = tx.get(Service, record.id)
            assert seen is not None
            tx.delete(seen)
            return seen.spec, tx.get(Service, record.id)

        assert await store.update(draft) == (record.spec, None)
        assert not store.state.services

    async def test_what_is_deleted_is_gone_with_its_name(self, store: ReplicatedStore) -> None:
        record = service("web")
        await store.update(put(record))
        await store.update(lambda tx: tx.delete(store.state.services[record.id]))
        assert not store.state.services
        await store.update(put(service("web")))
        assert len(store.state.services) == 1

    async def test_names_are_unique_among_their_kind(self, store: ReplicatedStore) -> None:
        record = service("web")
        await store.update(put(record))
        await store.update(put(Config(id=new_id(), spec=ConfigSpec(name="web"))))
        with pytest.raises(NameInUse) as caught:
            await store.update(put(service("web")))
        assert caught.value.holder == record.id

    async def test_a_name_given_up_is_free_in_the_same_draft(self, store: ReplicatedStore) -> None:
        record, other = service("web"), service("web")
        await store.update(put(record))

        def draft(tx: Draft) -> None:
            old = tx.get(Service, record.id)
            assert old is not None
            tx.put(replace(old, spec=ServiceSpec(name="old")))
            tx.put(other)

        await store.update(draft)
        assert store.state.id_of("service", "web") == other.id
        assert store.state.id_of("service", "old") == record.id

    async def test_a_stale_record_is_refused(self, store: ReplicatedStore) -> None:
        record = service("web")
        await store.update(put(record))
        stale = store.state.services[record.id]
        await store.update(put(replace(stale, spec_version=1)))
        with pytest.raises(OutOfSequence):
            await store.update(put(replace(stale, spec_version=2)))
        with pytest.raises(OutOfSequence):
            await store.update(lambda tx: tx.delete(stale))
        assert store.state.services[record.id].spec_version == 1

    async def test_tasks_keep_their_state_and_their_indexes(self, store: ReplicatedStore) -> None:
        one = replace(task("s", "n1"), desired=TaskState.RUNNING)
        await store.update(put(one))
        kept = store.state.tasks[one.id]
        assert kept.desired is TaskState.RUNNING
        assert set(store.state.tasks_on("n1")) == {one.id}
        await store.update(lambda tx: tx.delete(kept))
        assert not store.state.tasks_on("n1")
        assert not store.state.tasks_of("s")

    async def test_a_feed_and_the_state_are_everything(self, store: ReplicatedStore) -> None:
        first = service("before")
        await store.update(put(first))
        with store.feed("service") as feed:
            seen = set(store.state.services)
            await store.update(put(task(first.id)))
            later = service("after")
            await store.update(put(later))
            batch = await anext(aiter(feed))
        assert seen == {first.id}
        (change,) = batch.changes
        assert (change.kind, change.id, change.before) == ("service", later.id, None)
        assert change.after == store.state.services[later.id]

    async def test_what_waits_in_a_feed_makes_its_reader_as_new_as_the_state(
        self, store: ReplicatedStore
    ) -> None:
        with store.feed("service") as feed:
            assert list(feed.waiting()) == []
            for n in range(3):
                await store.update(put(service(f"s{n}")))
            seen = {c.id: c.after for batch in feed.waiting() for c in batch.changes}
            assert seen == dict(store.state.services)
            assert list(feed.waiting()) == []
            await store.update(put(service("later")))
            (change,) = (await anext(aiter(feed))).changes  # what was given out is not given again
            assert change.after.name == "later"

    async def test_a_feed_that_lags_says_so(self, store: ReplicatedStore) -> None:
        with store.feed(limit=2) as feed:
            for n in range(3):
                await store.update(put(service(f"s{n}")))
            with pytest.raises(StoreLagged):
                async for _ in feed:
                    pass
            with pytest.raises(StoreLagged):
                list(feed.waiting())

    async def test_closing_a_feed_ends_its_iteration(self, store: ReplicatedStore) -> None:
        feed = store.feed()
        feed.close()
        assert [batch async for batch in feed] == []

    # -- several managers

    async def test_changes_reach_every_manager(self, stores: Stores) -> None:
        one, two = await stores.store(), await stores.store()
        record = service("web")
        await one.update(put(record))
        await two.barrier()
        assert two.state.services == one.state.services

    async def test_a_manager_that_comes_later_reads_everything(self, stores: Stores) -> None:
        one = await stores.store()
        records = [service(f"s{n}") for n in range(20)]

        def draft(tx: Draft) -> None:
            for record in records:
                tx.put(record)

        await one.update(draft)
        two = await stores.store()
        assert two.state.services == one.state.services
        with pytest.raises(NameInUse):
            await two.update(put(service("s3")))

    async def test_conflicting_drafts_run_again_until_each_has_won(self, stores: Stores) -> None:
        managers = [await stores.store() for _ in range(3)]
        record = service("counter")
        await managers[0].update(put(record))
        for manager in managers:
            await manager.barrier()
        runs = 0

        def grow(tx: Draft) -> None:
            nonlocal runs
            runs += 1
            kept = tx.get(Service, record.id)
            assert kept is not None
            tx.put(replace(kept, spec_version=kept.spec_version + 1))

        async def all_of_them() -> None:
            await asyncio.gather(*(m.update(grow) for m in managers for _ in range(5)))

        await stores.finish(all_of_them())
        await managers[0].barrier()
        assert managers[0].state.services[record.id].spec_version == 15
        assert runs > 15

    async def test_one_name_has_one_winner(self, stores: Stores) -> None:
        managers = [await stores.store() for _ in range(3)]

        async def race() -> list[object]:
            return await asyncio.gather(
                *(m.update(put(service("web"))) for m in managers), return_exceptions=True
            )

        outcomes = await stores.finish(race())
        assert sum(outcome is None for outcome in outcomes) == 1
        assert sum(isinstance(outcome, NameInUse) for outcome in outcomes) == 2

    async def test_expect_fails_with_what_it_expects(self, stores: Stores) -> None:
        one, two = await stores.store(), await stores.store()
        record = service("web")
        await one.update(put(record))
        await two.barrier()
        kept = two.state.services[record.id]
        await one.update(put(replace(one.state.services[record.id], spec_version=5)))

        def draft(tx: Draft) -> None:
            tx.expect(kept)
            tx.put(task(record.id))

        with pytest.raises(OutOfSequence):
            await two.update(draft)
        assert not two.state.tasks

    async def test_serialized_drafts_see_each_other(self, stores: Stores) -> None:
        managers = [await stores.store() for _ in range(4)]

        def first_only(tx: Draft) -> bool:
            tx.serialize("ports")
            if tx.state.services:
                return False
            tx.put(service(new_id()))
            return True

        async def race() -> list[bool]:
            return await asyncio.gather(*(m.update(first_only) for m in managers))

        assert sorted(await stores.finish(race())) == [False, False, False, True]

    # -- leading

    async def test_one_leads_and_the_next_follows_when_it_resigns(self, stores: Stores) -> None:
        one, two = await stores.store(), await stores.store()
        first = await one.campaign("n1")
        await two.barrier()
        assert two.state.leader == "n1"
        with two.feed("leader") as feed:
            waiting = asyncio.ensure_future(two.campaign("n2"))  # noqa: TID251 - a test's own
            await two.update(put(service("meanwhile")))
            assert not waiting.done()
            await first.resign()
            second = await stores.finish(_value(waiting))
            changes = [c async for batch in _until_leads(feed, "n2") for c in batch.changes]
        assert first.lost.is_set()
        assert not second.lost.is_set()
        assert [c.after for c in changes] == [None, "n2"]
        await one.barrier()
        assert one.state.leader == "n2"

    async def test_a_fence_stops_who_was_deposed(self, stores: Stores) -> None:
        one, two = await stores.store(), await stores.store()
        first = await one.campaign("n1")
        await one.update(put(service("a")), fence=first)
        await first.resign()
        second = await stores.finish(two.campaign("n2"))
        with pytest.raises(LeadershipLost):
            await one.update(put(service("b")), fence=first)
        await two.update(put(service("c")), fence=second)
        await one.barrier()
        assert {s.name for s in one.state.services.values()} == {"a", "c"}

    async def test_a_withdrawn_campaign_leaves_no_leader(self, stores: Stores) -> None:
        one, two = await stores.store(), await stores.store()
        first = await one.campaign("n1")
        waiting = asyncio.ensure_future(two.campaign("n2"))  # noqa: TID251 - a test's own
        await two.barrier()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await first.resign()
        await two.barrier()
        assert two.state.leader == ""

    async def test_leading_ends_with_the_store(self, stores: Stores) -> None:
        one, two = await stores.store(), await stores.store()
        first = await one.campaign("n1")
        await one.close()
        assert first.lost.is_set()
        await stores.finish(two.campaign("n2"))

    async def test_the_same_manager_may_lead_again(self, stores: Stores) -> None:
        one = await stores.store()
        await (await one.campaign("n1")).resign()
        again = await stores.finish(one.campaign("n1"))
        await one.update(put(service("a")), fence=again)

    # -- living

    async def test_presence_shows_until_the_manager_is_gone(self, stores: Stores) -> None:
        one, two = await stores.store(), await stores.store()
        sign = Presence(node_id="n1", address="192.0.2.1:2377")
        with two.feed("presence") as feed:
            await one.announce(sign)
            sign = replace(sign, schema=SCHEMA.number)
            assert one.state.present == {"n1": sign}
            await two.barrier()
            assert two.state.present == {"n1": sign}
            await one.close()
            await stores.finish(_holds(two, lambda: not two.state.present))
            changes = [c async for batch in _take(feed, 2) for c in batch.changes]
        assert [(c.kind, c.id, c.after) for c in changes] == [
            ("presence", "n1", sign),
            ("presence", "n1", None),
        ]

    async def test_who_was_announced_has_a_quorum(self, stores: Stores) -> None:
        one = await stores.store()
        told = [one.has_quorum]  # nothing has shown it yet
        await one.announce(Presence(node_id="n1", address="192.0.2.1:2377"))
        told.append(one.has_quorum)
        await one.close()
        told.append(one.has_quorum)
        assert told == [False, True, False]


async def _value(task: asyncio.Future[T]) -> T:
    return await task


async def _take(feed: Feed, count: int) -> AsyncIterator[Batch]:
    batches = aiter(feed)
    for _ in range(count):
        yield await anext(batches)


async def _until_leads(feed: Feed, node_id: str) -> AsyncIterator[Batch]:
    async for batch in feed:
        yield batch
        if batch.changes[-1].after == node_id:
            return
