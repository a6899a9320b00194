"""Three real members: what stays up when some go, and how they come and go."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from typing import Any

import pytest

from sampan.aio import SystemClock
from sampan.cluster.contract import NoQuorum
from sampan.cluster.etcd.failures import QuorumAtRisk
from sampan.cluster.etcd.membership import LastManager, Members
from sampan.cluster.etcd.process import EtcdRemoved
from sampan.errors import Conflict
from sampan.testing.contracts.cluster_store import put, service


def names(store: Any) -> set[str]:
    return {record.name for record in store.state.services.values()}


async def test_every_manager_writes_and_sees(three: Any) -> None:
    for n, host in enumerate(three.hosts):
        await host.store.update(put(service(f"s{n}")))
    for host in three.hosts:
        await host.store.barrier()
        assert names(host.store) == {"s0", "s1", "s2"}
    members = await three.hosts[2].client.members()
    assert len(members) == 3
    assert not any(member.isLearner for member in members)


async def test_the_leader_dies_in_the_middle_of_writes_and_nothing_acknowledged_is_lost(
    three: Any,
) -> None:
    dead = await three.leader()
    others = [host for host in three.hosts if host is not dead]
    acknowledged: set[str] = set()

    async def write(host: Any, mark: str) -> None:
        for n in range(30):
            with contextlib.suppress(NoQuorum):
                await host.store.update(put(service(f"{mark}{n}")))
                acknowledged.add(f"{mark}{n}")
            if n == 10 and mark == "a":
                await three.halt(dead)

    async with asyncio.TaskGroup() as group:
        for host, mark in zip(others, "ab", strict=True):
            group.create_task(write(host, mark))
    assert len(acknowledged) == 60, "no write took longer than it may"
    for host in others:
        await host.store.barrier()
        assert names(host.store) == acknowledged


async def test_leadership_goes_to_another_manager_with_the_leaders_death(three: Any) -> None:
    dead = await three.leader()
    first, second = (host for host in three.hosts if host is not dead)
    leads = await dead.store.campaign("dead")
    async with asyncio.timeout(10):
        async with asyncio.TaskGroup() as group:
            waiting = [
                group.create_task(h.store.campaign(h.settings.name)) for h in (first, second)
            ]
            await first.store.barrier()
            # the whole host goes: the member and the daemon with its lease
            await three.halt(dead)
            done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
    (winner,) = done
    await first.store.barrier()
    assert first.store.state.leader in (first.settings.name, second.settings.name)
    assert not winner.result().lost.is_set()
    await asyncio.wait_for(leads.lost.wait(), 5)


async def test_without_a_majority_a_clear_error_and_with_it_all_goes_on(three: Any) -> None:
    one, two, left = three.hosts
    await left.store.update(put(service("before")))
    await three.halt(one)
    await three.halt(two)
    outcomes = await asyncio.gather(
        left.store.update(put(service("lost"))), left.store.barrier(), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [NoQuorum, NoQuorum]
    assert names(left.store) == {"before"}  # reading goes on
    await three.run(one.settings)
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(NoQuorum):
                await left.store.update(put(service("after")))
                break
    assert {"before", "after"} <= names(left.store)


async def test_one_is_brought_back_alone_and_takes_new_managers(three: Any) -> None:
    one, two, left = three.hosts
    await one.store.update(put(service("kept")))
    await left.store.barrier()
    await three.halt(one)
    await three.halt(two)
    await left.process.stop()
    alone = await three.run(three.again(left, force_new_cluster=True))
    assert names(alone.store) == {"kept"}
    assert [m.ID for m in await alone.client.members()] == [left.member_id]
    await alone.store.update(put(service("new")))
    three.hosts[:] = [alone]
    shutil.rmtree(two.settings.directory)
    joined = await three.join()
    assert names(joined.store) == {"kept", "new"}
    # forced once: when it is started again, who has joined stays
    alone.process.kill()
    await alone.store.update(put(service("newer")))
    assert alone.process.starts == 2
    assert len(await alone.client.members()) == 2
    await joined.store.barrier()
    assert names(joined.store) == {"kept", "new", "newer"}


async def test_a_join_that_breaks_off_leaves_no_member(fleet: Any, alone: Any) -> None:
    members = Members(alone.client, SystemClock())

    async def broken() -> None:
        async with members.joining("m1", "http://127.0.0.1:9"):
            assert len(await alone.client.members()) == 2
            await alone.store.update(put(service("meanwhile")))  # a learner has no vote
            raise LookupError

    with pytest.raises(LookupError):
        await broken()
    assert len(await alone.client.members()) == 1
    # one that was killed instead is replaced by the next try
    first = await members.admit("m1", "http://127.0.0.1:9")
    second = await members.admit("m1", "http://127.0.0.1:9")
    assert first.member_id != second.member_id
    await members.remove(second.member_id)
    assert (await fleet.join()).store.state.services.keys() == alone.store.state.services.keys()
    with pytest.raises(Conflict):
        await members.admit("m1", fleet.hosts[1].settings.peer_url)


async def test_removing_goes_down_to_one_and_no_further(three: Any) -> None:
    one, two, three_ = three.hosts
    members = Members(one.client, SystemClock())
    with pytest.raises(QuorumAtRisk):
        await members.remove(three_.member_id, present={"m0", "m2"})
    await members.remove(three_.member_id, present={"m0", "m1"})
    await asyncio.wait_for(three_.process.removed.wait(), 10)
    await members.remove(three_.member_id)  # again is nothing
    await three_.process.stop()
    with pytest.raises(EtcdRemoved):
        await three_.process.start()
    assert three_.process.pid is None
    await members.remove(two.member_id)
    with pytest.raises(LastManager):
        await members.remove(one.member_id)
    await one.store.update(put(service("alone")))


async def test_stepping_aside_hands_leadership_on(three: Any) -> None:
    host = await three.leader()
    await Members(host.client, SystemClock()).step_aside()
    assert (await three.leader()) is not host
    await host.store.update(put(service("web")))
