"""How a node becomes a manager and stops being one: what the managers answer.

    new manager                    any manager
    POST /members/join      ->     added to etcd as a learner: it has no vote, so a joiner that
                                   never comes costs no quorum
    starts its etcd
    POST /members/promote   ->     waits until it has caught up, gives it its vote, and only then
                                   writes into the store that the node is a manager
    POST /members/leave     ->     taken out of etcd, then written
    POST /members/forget    ->     the same, and the node goes too: a join that failed half-way

A demotion goes the same way as ``leave``, by the leader (``roles``). Every step can be repeated.

    POST /members/yield    ->     hands the leadership of the store to another member

A member that leads the store is made to yield before it is taken out: it would know first that it
is out, and stop; were the others killed before they know, they would wait for its vote for ever.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

import msgspec
from msgspec.structs import replace

from sampan.cluster.contract import ClusterStore, Draft
from sampan.cluster.etcd import membership
from sampan.cluster.etcd.client import EtcdClient
from sampan.cluster.peer.contract import Allow, Client, PeerRequest, Server
from sampan.cluster.records import ManagerPart, Node
from sampan.errors import Forbidden, SampanError

log = logging.getLogger(__name__)

JOIN_PATH = "/members/join"
PROMOTE_PATH = "/members/promote"
LEAVE_PATH = "/members/leave"
FORGET_PATH = "/members/forget"
YIELD_PATH = "/members/yield"
YIELD_S = 3.0


class JoinMember(msgspec.Struct, frozen=True, kw_only=True):
    etcd_url: str
    """Where the new member will listen for the others."""


class JoinedMember(msgspec.Struct, frozen=True, kw_only=True):
    member_id: str
    """Hexadecimal."""
    initial: dict[str, str]
    """Every member, the new one too: name -> URL."""


class PromoteMember(msgspec.Struct, frozen=True, kw_only=True):
    member_id: str
    address: str
    """ADDRESS:PORT of the new manager's peer server."""
    etcd_url: str


class Nothing(msgspec.Struct, frozen=True):
    """A request or an answer that says no more than that it was sent."""


class StoreMembership(Protocol):
    """What the leader does with the store's members by itself."""

    async def dismiss(self, node_id: str) -> None:
        """Out of etcd, then no longer a manager in the store; also of one that only joined.

        Raises:
            LastManager, QuorumAtRisk.
        """
        ...

    async def learners(self) -> set[str]:
        """Hexadecimal ids of the members that have no vote yet."""
        ...

    async def discard(self, member_id: str) -> None:
        """Take a learner out that no node's record names."""
        ...


class Members:
    """The managers' side. Whoever asks may only speak for itself."""

    def __init__(
        self, store: ClusterStore, etcd: EtcdClient, members: membership.Members, peers: Client
    ) -> None:
        self._store, self._etcd, self._members, self._peers = store, etcd, members, peers
        self._turn = asyncio.Lock()

    def register(self, server: Server) -> None:
        """Answer on ``server`` (before it starts)."""
        server.call(JOIN_PATH, JoinMember, self._join, allow=Allow.MANAGERS)
        server.call(PROMOTE_PATH, PromoteMember, self._promote, allow=Allow.MANAGERS)
        server.call(LEAVE_PATH, Nothing, self._leave, allow=Allow.NODES)
        server.call(FORGET_PATH, Nothing, self._forget, allow=Allow.NODES)
        server.call(YIELD_PATH, Nothing, self._yield, allow=Allow.MANAGERS)

    async def _join(self, request: PeerRequest, body: JoinMember) -> JoinedMember:
        node_id = request.caller.node_id
        await self._may_be_manager(node_id)
        async with self._turn:
            admission = await self._members.admit(node_id, body.etcd_url)
            member_id = f"{admission.member_id:x}"

            def draft(draft: Draft) -> None:
                # Known to the store before it votes: a clean-up finds a learner that never
                # came.
                node = draft.get(Node, node_id)
                if node is None:
                    raise Forbidden(f"node {node_id} is no longer part of this swarm")
                part = ManagerPart(member_id=member_id, etcd_url=body.etcd_url, learner=True)
                draft.put(replace(node, manager=part))

            try:
                await self._store.update(draft)
            except BaseException:
                await self._members.remove(admission.member_id)
                raise
        log.info("node %s joins the managers as member %s", node_id, member_id)
        return JoinedMember(member_id=member_id, initial=admission.initial)

    async def _promote(self, request: PeerRequest, body: PromoteMember) -> Nothing:
        node_id = request.caller.node_id
        await self._may_be_manager(node_id)
        await self._members.promote(int(body.member_id, 16))

        def draft(draft: Draft) -> None:
            node = draft.get(Node, node_id)
            if node is None:
                raise Forbidden(f"node {node_id} is no longer part of this swarm")
            manager = ManagerPart(
                address=body.address, member_id=body.member_id, etcd_url=body.etcd_url
            )
            draft.put(replace(node, role="manager", manager=manager, address=body.address))

        await self._store.update(draft)
        log.info("node %s is a manager", node_id)
        return Nothing()

    async def _leave(self, request: PeerRequest, body: Nothing) -> Nothing:
        await self.dismiss(request.caller.node_id)
        return Nothing()

    async def learners(self) -> set[str]:
        """See ``StoreMembership``."""
        return {f"{m.ID:x}" for m in await self._etcd.members() if m.isLearner}

    async def discard(self, member_id: str) -> None:
        """See ``StoreMembership``."""
        await self._members.remove(int(member_id, 16))

    async def dismiss(self, node_id: str) -> None:
        """See ``StoreMembership``."""
        node = self._store.state.nodes.get(node_id)
        known = node.manager.member_id if node is not None and node.manager is not None else ""
        for member in await self._etcd.members():
            if f"{member.ID:x}" == known or member.name == node_id:
                if node is not None:
                    await self._take_leadership(member.ID, node)
                await self._members.remove(member.ID, present=frozenset(self._store.state.present))

        def draft(draft: Draft) -> None:
            found = draft.get(Node, node_id)
            if found is not None and (found.role == "manager" or found.manager is not None):
                draft.put(replace(found, role="worker", manager=None))

        await self._store.update(draft)

    async def _take_leadership(self, member: int, node: Node) -> None:
        status = await self._etcd.status()
        if status.leader != member or status.header.member_id == member:
            return
        address = node.manager.address if node.manager is not None else ""
        try:
            await self._peers.call(
                address or node.address, YIELD_PATH, Nothing(), Nothing, timeout_s=YIELD_S
            )
        except SampanError as error:
            log.info("node %s leads the store and does not yield: %s", node.id, error)

    async def _yield(self, request: PeerRequest, body: Nothing) -> Nothing:
        await self._members.step_aside()
        return Nothing()

    async def _forget(self, request: PeerRequest, body: Nothing) -> Nothing:
        node_id = request.caller.node_id
        await self.dismiss(node_id)

        def draft(draft: Draft) -> None:
            node = draft.get(Node, node_id)
            if node is not None:
                draft.delete(node)

        await self._store.update(draft)
        return Nothing()

    async def _may_be_manager(self, node_id: str) -> None:
        if node_id not in self._store.state.nodes:
            await self._store.barrier()  # it may have been admitted by another manager just now
        node = self._store.state.nodes.get(node_id)
        if node is None or node.spec.role != "manager":
            raise Forbidden(f"node {node_id} is not to be a manager of this swarm")
