"""Renewal, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.aio import Tasks
from sampan.cluster.ca.certificates import Validity
from sampan.cluster.ca.renewal import Renewer, renew_at, retry_pause
from sampan.cluster.peer.contract import NodeRole, NotMember, Unreachable
from sampan.cluster.peer.tls import Credentials
from sampan.testing.certificates import Issuer
from sampan.testing.clock import FakeClock, settle

DAY_S = 86400.0
LIFETIME_S = 90 * DAY_S


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.5), (0.5, 0.65), (1.0, 0.8)])
def test_the_date_lies_between_half_and_four_fifths(chance: float, share: float) -> None:
    assert renew_at(Validity(1000.0, 2000.0), chance) == pytest.approx(1000 + 1000 * share)


@pytest.mark.parametrize(
    ("failures", "left", "pause"),
    [(1, 1e6, 1), (2, 1e6, 2), (5, 1e6, 16), (30, 1e6, 300), (30, 600, 60), (30, 0, 1), (3, -5, 1)],
)
def test_pauses_grow_but_leave_time_for_more_tries(
    failures: int, left: float, pause: float
) -> None:
    assert retry_pause(failures, left) == pause


class Node:
    """A node whose manager is the issuer next door."""

    def __init__(self, directory: Path, clock: FakeClock, chance: float = 0.0) -> None:
        self.issuer = Issuer(directory)
        self.clock = clock
        self.role: NodeRole = "worker"
        self.failing: Exception | None = None
        self.asked: list[float] = []
        self.seen: list[Credentials] = []
        self._start = clock.now()
        self.renewer = Renewer(self.issue(), self._ask, self._changed, clock, chance=lambda: chance)

    def issue(self) -> Credentials:
        return self.issuer.credentials(
            "n1", self.role, issued_at=self.clock.now(), lifetime_s=LIFETIME_S
        )

    async def _ask(self) -> Credentials:
        self.asked.append(self.clock.now() - self._start)
        if self.failing is not None:
            raise self.failing
        return self.issue()

    async def _changed(self, credentials: Credentials) -> None:
        self.seen.append(credentials)


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks()
    yield tasks
    await tasks.close()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, FakeClock())


async def test_it_renews_again_and_again(node: Node, tasks: Tasks) -> None:
    tasks.spawn(node.renewer.run(), name="renewer")
    await settle()
    for _ in range(360):
        await node.clock.advance(DAY_S)
    assert node.asked == pytest.approx([45 * DAY_S * n for n in range(1, 9)], abs=10)
    assert len(node.seen) == 8


async def test_a_new_role_does_not_wait(node: Node, tasks: Tasks) -> None:
    tasks.spawn(node.renewer.run(), name="renewer")
    await node.clock.advance(DAY_S)
    node.role = "manager"
    waiting = tasks.spawn(node.renewer.renewed(), name="waiter")
    await settle()
    assert (await waiting).identity.role == "manager"
    assert node.asked == [DAY_S]
    await node.clock.advance(44 * DAY_S)
    assert len(node.asked) == 1, "the date counts from the new certificate"
    await node.clock.advance(DAY_S)
    assert len(node.asked) == 2


async def test_demands_before_the_start_and_twice_count_once(node: Node, tasks: Tasks) -> None:
    node.renewer.renew_soon()
    node.renewer.renew_soon()
    tasks.spawn(node.renewer.run(), name="renewer")
    await settle()
    assert len(node.asked) == 1


async def test_managers_that_do_not_answer_are_asked_again(node: Node, tasks: Tasks) -> None:
    tasks.spawn(node.renewer.run(), name="renewer")
    await settle()
    node.failing = Unreachable("m1", "no")
    await node.clock.advance(45 * DAY_S + 100)
    assert [round(t - 45 * DAY_S) for t in node.asked] == [0, 1, 3, 7, 15, 31, 63]
    waiting = tasks.spawn(node.renewer.renewed(), name="waiter")
    await settle()
    assert len(node.asked) == 7, "a demand does not make it hammer"
    node.failing = None
    await node.clock.advance(64)
    assert waiting.done()
    assert len(node.seen) == 1


async def test_a_node_that_was_away_too_long_renews_at_its_start(node: Node, tasks: Tasks) -> None:
    await node.clock.advance(80 * DAY_S)
    tasks.spawn(node.renewer.run(), name="renewer")
    await settle()
    assert len(node.asked) == 1


async def test_a_removed_node_is_told_and_asks_no_more(node: Node, tasks: Tasks) -> None:
    node.failing = NotMember()
    node.renewer.renew_soon()
    with pytest.raises(NotMember):
        await node.renewer.run()


async def test_a_hundred_nodes_do_not_come_at_once(tmp_path: Path, tasks: Tasks) -> None:
    clock, dice = FakeClock(), random.Random(7)
    nodes = [Node(tmp_path / str(n), clock, dice.random()) for n in range(100)]
    for each in nodes:
        tasks.spawn(each.renewer.run(), name="renewer")
    await asyncio.sleep(0)
    most = 0
    for _ in range(73):
        before = sum(len(n.asked) for n in nodes)
        await clock.advance(DAY_S)
        most = max(most, sum(len(n.asked) for n in nodes) - before)
    assert all(len(n.asked) == 1 for n in nodes)
    assert most <= 15
