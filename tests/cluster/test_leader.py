"""Leading, stepping down, and the shape of all loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import ClassVar

import msgspec
import pytest

from sampan.aio import Tasks
from sampan.cluster.contract import (
    Batch,
    ClusterStore,
    Draft,
    Feed,
    LeadershipLost,
    NoQuorum,
    StoreLagged,
)
from sampan.cluster.heartbeat import grace_s, heartbeat_s
from sampan.cluster.leader import STANDARD
from sampan.cluster.loop import PATIENCE, Loop, Term
from sampan.cluster.model import Change
from sampan.cluster.records import Node
from sampan.errors import Unavailable
from sampan.testing.clock import settle
from sampan.testing.contracts.cluster_store import put
from sampan.testing.loops import LoopWorld, ready_node


class Watcher(Loop):
    """Remembers its passes."""

    name: ClassVar[str] = "watcher"
    kinds: ClassVar[tuple[str, ...]] = ("node",)

    def __init__(self, term: Term) -> None:
        super().__init__(term)
        self.passes: list[frozenset[str]] = []
        self.trouble: list[Exception] = []
        self.hold = asyncio.Event()
        self.hold.set()

    def everything(self) -> Iterator[Iterable[str]]:
        yield self.state.nodes

    def touched(self, change: Change) -> Iterable[str]:
        return (change.id,)

    async def act(self, keys: frozenset[str]) -> None:
        self.passes.append(keys)
        await self.hold.wait()
        if self.trouble:
            raise self.trouble.pop(0)


class Surveyor(Watcher):
    """Has much to look at, and remembers what it was told in between."""

    def __init__(self, term: Term) -> None:
        super().__init__(term)
        self.told: list[str] = []

    def everything(self) -> Iterator[Iterable[str]]:
        for number in range(100):
            self.told.append(f"slice {number}")
            yield (f"k{number}",)

    def touched(self, change: Change) -> Iterable[str]:
        self.told.append(change.id)
        return (change.id,)


class Watched:
    """A world whose leaders run nothing but a watcher."""

    def __init__(self) -> None:
        self.made: list[Watcher] = []
        self.world = LoopWorld(parts=[self.make])

    def make(self, term: Term) -> Watcher:
        self.made.append(Watcher(term))
        return self.made[-1]


async def test_the_first_pass_is_over_everything_and_a_storm_is_one_pass() -> None:
    watched = Watched()
    async with watched.world as world:
        await world.nodes(3)
        await world.manager("m1")
        (watcher,) = watched.made
        assert watcher.passes == [{"n1", "n2", "n3"}]
        watcher.hold.clear()
        await world.put(*(ready_node(f"x{n}") for n in range(50)))
        for number in range(50):
            await world.put(ready_node(f"y{number}"))
        watcher.hold.set()
        await settle()
        assert len(watcher.passes) == 3
        assert len(watcher.passes[1] | watcher.passes[2]) == 100


async def test_others_have_their_turn_during_the_first_pass_and_changes_come_after_it() -> None:
    async with LoopWorld(parts=[]) as world:
        leadership = await world.store.campaign("m1")
        surveyor = Surveyor(Term(store=world.store, clock=world.clock, leadership=leadership))
        seen: list[int] = []

        async def other() -> None:
            for number in range(20):
                await world.store.update(put(ready_node(f"n{number}")))
                seen.append(len(surveyor.told))

        tasks = Tasks()
        tasks.spawn(surveyor.run(), name="surveyor")
        await tasks.spawn(other(), name="other")
        await settle(200)
        assert any(0 < count < 100 for count in seen)  # it was served in the middle
        slices, nodes = surveyor.told[:100], surveyor.told[100:]
        assert slices == [f"slice {number}" for number in range(100)]
        assert nodes == [f"n{number}" for number in range(20)]  # each once, in order
        assert frozenset().union(*surveyor.passes) == {
            *(f"k{number}" for number in range(100)),
            *nodes,
        }
        await tasks.close()


async def test_a_pass_begins_as_new_as_the_state() -> None:
    watched = Watched()
    async with watched.world as world:
        await world.manager("m1")
        (watcher,) = watched.made
        watcher.hold.clear()
        await world.nodes(1)  # a pass is under way
        manager = world.managers["m1"]
        for number in range(3):
            await manager.store.update(put(ready_node(f"x{number}")))
        watcher.hold.set()
        await settle()
        assert watcher.passes[1:] == [{"x0", "x1", "x2"}]
        assert watcher.idle


async def test_a_failure_is_tried_again_later_and_later() -> None:
    watched = Watched()
    async with watched.world as world:
        await world.manager("m1")
        (watcher,) = watched.made
        watcher.trouble = [Unavailable("x"), Unavailable("x")]
        await world.nodes(1)
        assert len(watcher.passes) == 1
        await world.clock.advance(0.11)
        assert len(watcher.passes) == 2
        await world.clock.advance(0.11)
        assert len(watcher.passes) == 2
        await world.clock.advance(0.11)
        assert watcher.passes == [{"n1"}] * 3


async def test_a_loop_that_cannot_go_on_takes_the_leadership_with_it() -> None:
    watched = Watched()
    async with watched.world as world:
        one = await world.manager("m1")
        two = await world.manager("m2")
        watched.made[0].trouble = [ValueError("broken")] * PATIENCE
        await world.nodes(1)
        await world.until(lambda: two.leader.leading, limit_s=120)
        assert not one.leader.leading
        assert world.store.state.leader == "m2"


async def test_a_deposed_leader_writes_nothing_more() -> None:
    watched = Watched()
    async with watched.world as world:
        one = await world.manager("m1")
        await world.manager("m2")
        await world.nodes(1)
        world.hub.member(one.store).cut()
        await world.until(lambda: world.store.state.leader == "m2")
        world.hub.member(one.store).heal()
        await world.clock.advance(5)
        old = watched.made[0]

        def draft(d: Draft) -> None:
            node = d.get(Node, "n1")
            assert node is not None
            d.put(msgspec.structs.replace(node, address="x"))

        with pytest.raises(LeadershipLost):
            await old.term.update(draft)
        assert world.store.state.nodes["n1"].address == ""
        assert world.leader == "m2"


async def test_without_quorum_nobody_leads_and_afterwards_somebody_does() -> None:
    async with LoopWorld() as world:
        await world.manager("m1")
        await world.manager("m2")
        await world.nodes(1)
        world.hub.lose_quorum()
        await world.clock.advance(30)
        world.hub.regain_quorum()
        await world.until(lambda: world.leader)
        web = await world.serve("web", replicas=2)
        await world.until(lambda: world.running(web) == 2)


async def test_a_lost_answer_makes_no_second_task() -> None:
    async with LoopWorld() as world:
        one = await world.manager("m1")
        await world.nodes(1)
        world.hub.member(one.store).lose_answers = 3
        web = await world.serve("web", replicas=3)
        await world.until(lambda: world.running(web) == 3)
        assert len(world.tasks(web)) == 3


class LaggingFeed:
    """Of a reader that was too slow, at once."""

    def __enter__(self) -> LaggingFeed:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass

    def waiting(self) -> Iterator[Batch]:
        raise StoreLagged
        yield

    async def __aiter__(self) -> AsyncIterator[Batch]:
        raise StoreLagged
        yield


class LaggingStore:
    """The real one behind a first feed that lags."""

    def __init__(self, store: ClusterStore) -> None:
        self._store = store
        self.feeds = 0

    def feed(self, *kinds: str) -> Feed:
        self.feeds += 1
        return LaggingFeed() if self.feeds == 1 else self._store.feed(*kinds)  # type: ignore[return-value]

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


async def test_a_loop_that_lagged_starts_over_with_everything() -> None:
    async with LoopWorld(parts=[]) as world:
        await world.nodes(2)
        leadership = await world.store.campaign("m1")
        store = LaggingStore(world.store)
        term = Term(store=store, clock=world.clock, leadership=leadership)  # type: ignore[arg-type]
        watcher = Watcher(term)
        tasks = Tasks()
        tasks.spawn(watcher.run(), name="watcher")
        await settle()
        assert store.feeds == 2
        await world.nodes(1)
        assert watcher.passes[-1] == {"n3"}
        assert {"n1", "n2"} <= frozenset().union(*watcher.passes)
        await tasks.close()


def test_pace() -> None:
    assert [heartbeat_s(n) for n in (1, 20, 60, 100, 5000)] == [1.0, 1.0, 3.0, 5.0, 5.0]
    assert heartbeat_s(3, 7_000_000_000) == 7.0
    assert grace_s(1.0) == 3.0


def test_what_a_leader_runs() -> None:
    assert len(STANDARD) == 5
    assert issubclass(NoQuorum, Unavailable)
