"""How a node becomes a manager and stops being one: what the managers answer.

    new manager                    any manager
    POST /members/join      ->     added to etcd as a learner: it has no vote, so a joiner that
                                   never comes costs no quorum
    starts its etcd
    POST /members/promote   ->     waits until it has caught up, gives it its vote, and only then
                                   writes into the store that the node is a manager
    POST /members/leave     ->     taken out of etcd, then written; also the way back of a join
                                   that failed half-way

A demotion goes the same way as ``leave``, by the leader (``roles``). Every step can be repeated.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec
from msgspec.structs import replace

from sampan.aio import Clock
from sampan.cluster.contract import ClusterStore, Draft
from sampan.cluster.etcd.client import EtcdClient
from sampan.cluster.etcd.failures import MemberExists, MemberNotReady, NoSuchMember, QuorumAtRisk
from sampan.cluster.peer.contract import Allow, Request, Server
from sampan.cluster.records import ManagerPart, Node
from sampan.errors import Forbidden, SampanError, Unavailable

log = logging.getLogger(__name__)

JOIN_PATH = "/members/join"
PROMOTE_PATH = "/members/promote"
LEAVE_PATH = "/members/leave"
FORGET_PATH = "/members/forget"

CATCH_UP_S = 30.0
"""How long a learner may take to catch up."""
TURN_S = 15.0
"""How long to wait for another learner, or for a member that is down, before giving up."""
_RETRY_S = 0.1


class JoinMember(msgspec.Struct, frozen=True, kw_only=True):
    etcd_url: str
    """Where the new member will listen for the others."""


class JoinedMember(msgspec.Struct, frozen=True, kw_only=True):
    member_id: str
    """Hexadecimal."""
    initial_cluster: str
    """``--initial-cluster`` for the new member's first start."""


class PromoteMember(msgspec.Struct, frozen=True, kw_only=True):
    member_id: str
    address: str
    """ADDRESS:PORT of the new manager's peer server."""
    etcd_url: str


class Nothing(msgspec.Struct, frozen=True):
    """An answer that only says: done."""


class Members:
    """The managers' side. Whoever asks may only speak for itself."""

    def __init__(self, store: ClusterStore, etcd: EtcdClient, clock: Clock) -> None:
        self._store, self._etcd, self._clock = store, etcd, clock
        self._turn = asyncio.Lock()

    def register(self, server: Server) -> None:
        """Answer on ``server`` (before it starts)."""
        server.call(JOIN_PATH, JoinMember, self._join, allow=Allow.MANAGERS)
        server.call(PROMOTE_PATH, PromoteMember, self._promote, allow=Allow.MANAGERS)
        server.call(LEAVE_PATH, Nothing, self._leave, allow=Allow.NODES)
        server.call(FORGET_PATH, Nothing, self._forget, allow=Allow.NODES)

    async def _join(self, request: Request, body: JoinMember) -> JoinedMember:
        node_id = request.caller.node_id
        self._may_be_manager(node_id)
        async with self._turn:
            return await self.add(node_id, body.etcd_url)

    async def add(self, node_id: str, etcd_url: str) -> JoinedMember:
        """Make the node a learner; the same answer when it is one already.

        Raises:
            Unavailable: another join has not ended, or too few members are up.
        """
        end = self._clock.monotonic() + TURN_S
        while True:
            try:
                await self._etcd.member_add(etcd_url)
                break
            except MemberExists:
                break
            except QuorumAtRisk as error:
                # etcd takes one learner at a time.
                if self._clock.monotonic() > end:
                    raise Unavailable(
                        f"the managers cannot take another one now: {error}"
                    ) from None
                await self._clock.sleep(_RETRY_S)
        members = await self._etcd.members()
        mine = next((m for m in members if etcd_url in m.peerURLs), None)
        if mine is None:
            raise Unavailable("the new manager was removed again while it joined: try again")
        pairs = [f"{member.name or node_id}={url}" for member in members for url in member.peerURLs]
        member_id = f"{mine.ID:x}"

        def draft(draft: Draft) -> None:
            # Known to the store before it votes: whoever cleans up finds a learner that never came.
            node = draft.get(Node, node_id)
            if node is None:
                raise Forbidden(f"node {node_id} is no longer part of this swarm")
            part = ManagerPart(member_id=member_id, etcd_url=etcd_url, learner=True)
            if node.manager != part and node.role != "manager":
                draft.put(replace(node, manager=part))

        await self._store.update(draft)
        log.info("node %s joins the managers as member %s", node_id, member_id)
        return JoinedMember(member_id=member_id, initial_cluster=",".join(sorted(pairs)))

    async def _promote(self, request: Request, body: PromoteMember) -> Nothing:
        node_id = request.caller.node_id
        self._may_be_manager(node_id)
        end = self._clock.monotonic() + CATCH_UP_S
        member = int(body.member_id, 16)
        while True:
            try:
                await self._etcd.member_promote(member)
                break
            except MemberNotReady as error:
                if self._clock.monotonic() > end:
                    raise Unavailable(f"the new manager did not catch up: {error}") from None
                await self._clock.sleep(_RETRY_S)
            except SampanError:
                # It may have its vote already: asked for twice, or the answer was lost.
                if not await self._votes(member):
                    raise
                break

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

    async def _votes(self, member: int) -> bool:
        return any(member == m.ID and not m.isLearner for m in await self._etcd.members())

    async def _leave(self, request: Request, body: Nothing) -> Nothing:
        await self.dismiss(request.caller.node_id)
        return Nothing()

    async def dismiss(self, node_id: str) -> None:
        """Out of etcd, then no manager any more in the store; also of one that only joined."""
        node = self._store.state.nodes.get(node_id)
        known = node.manager.member_id if node is not None and node.manager is not None else ""
        for member in await self._etcd.members():
            if f"{member.ID:x}" == known or member.name == node_id:
                await self._remove(member.ID)

        def draft(draft: Draft) -> None:
            found = draft.get(Node, node_id)
            if found is not None and (found.role == "manager" or found.manager is not None):
                draft.put(replace(found, role="worker", manager=None))

        await self._store.update(draft)

    async def _remove(self, member: int) -> None:
        try:
            await self._etcd.member_remove(member)
        except NoSuchMember:
            return

    async def _forget(self, request: Request, body: Nothing) -> Nothing:
        """A join failed half-way: member, then node, unless it has got tasks meanwhile."""
        node_id = request.caller.node_id
        await self.dismiss(node_id)

        def draft(draft: Draft) -> None:
            node = draft.get(Node, node_id)
            if node is not None and not self._store.state.tasks_on(node_id):
                draft.delete(node)

        await self._store.update(draft)
        return Nothing()

    def _may_be_manager(self, node_id: str) -> None:
        node = self._store.state.nodes.get(node_id)
        if node is None or node.spec.role != "manager":
            raise Forbidden(f"node {node_id} is not to be a manager of this swarm")
