"""A manager that leads the store is dismissed: it hands the leadership on before."""

from __future__ import annotations

from typing import Any, cast

from sampan.aio import SystemClock
from sampan.cluster.contract import Draft, Presence
from sampan.cluster.etcd.membership import Members as StoreMembers
from sampan.cluster.node.members import YIELD_PATH, Members
from sampan.cluster.peer.contract import Client
from sampan.cluster.records import ManagerPart, Node


class Peers:
    """The way to the manager that is asked to yield."""

    def __init__(self, asked: StoreMembers) -> None:
        self._asked = asked
        self.calls: list[tuple[str, str]] = []

    async def call(
        self, address: str, path: str, request: object, reply: type[Any], **_: object
    ) -> Any:
        self.calls.append((address, path))
        await self._asked.step_aside()
        return reply()


async def test_the_leader_of_the_store_yields_before_it_goes(three: Any) -> None:
    leader = await three.leader()
    other = next(host for host in three.hosts if host is not leader)
    clock = SystemClock()
    peers = Peers(StoreMembers(leader.client, clock))
    address = "10.0.0.9:2377"
    part = ManagerPart(address=address, member_id=f"{leader.member_id:x}")

    def managers(draft: Draft) -> None:
        draft.put(Node(id="n1", role="manager", manager=part))

    await other.store.update(managers)
    for host in three.hosts:
        name = host.settings.name
        await host.store.announce(Presence(node_id=name, address=f"{name}:2377"))
    await other.store.barrier()

    members = Members(
        other.store, other.client, StoreMembers(other.client, clock), cast(Client, peers)
    )
    await members.dismiss("n1")

    assert peers.calls == [(address, YIELD_PATH)]
    assert other.store.state.nodes["n1"].role == "worker"
    assert leader.member_id not in [member.ID for member in await other.client.members()]
    await members.dismiss("n1")  # again is nothing
    assert len(peers.calls) == 1
