"""The leader's two loops over members: who stops being a manager, and which root is trusted.

Promotion needs no loop: a node that hears of its new role asks to join the managers by itself. A
demotion must not wait for the node, which may be dead; the member that costs the quorum its margin
has to go.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import ClassVar

from msgspec.structs import replace

from sampan.cluster.ca.authority import begin_rotation, can_finish, finish_rotation
from sampan.cluster.contract import Draft, LeadershipLost
from sampan.cluster.loop import Loop, Term
from sampan.cluster.manager_parts import Sealing
from sampan.cluster.model import Change
from sampan.cluster.node.members import StoreMembership
from sampan.cluster.records import Cluster, Node

log = logging.getLogger(__name__)

JOIN_WITHIN_S = 90.0
"""A node that was admitted, has not said that joining has succeeded and is away for so long has
taken it back and could not say so, or never came."""
LEARNER_AWAY_S = 30.0
"""A learner whose node is away for so long loses its place in the store: there is only one such
place, and the next node that wants to be a manager waits for it. Once back, it asks again."""
STRAY_S = 20.0
"""A learner that no node's record names is in the middle of being written down, or its manager was
killed there."""
STRAYS = "strays"
"""The key of the look for such learners."""


class RoleKeeper(Loop):
    """Demotes, and clears away what joins that broke off have left. Keys are node ids."""

    name: ClassVar[str] = "roles"
    kinds: ClassVar[tuple[str, ...]] = ("node",)

    def __init__(self, term: Term, members: StoreMembership, node_id: str) -> None:
        super().__init__(term)
        self._members, self._node_id = members, node_id
        self._strays: dict[str, float] = {}
        """Member id -> when it was first seen."""

    def everything(self) -> Iterator[Iterable[str]]:
        yield (*self.state.nodes, STRAYS)

    def touched(self, change: Change) -> Iterable[str]:
        return (change.id,)

    async def act(self, keys: frozenset[str]) -> None:
        # Members leave one at a time: each must be counted before the next is looked at.
        for key in sorted(keys):
            again = await (self._look_for_strays() if key == STRAYS else self._one(key))
            if again is not None:
                self.later(key, again)

    async def _one(self, node_id: str) -> float | None:
        node = self.state.nodes.get(node_id)
        if node is None:
            return None
        if node.spec.role == "worker" and (node.role == "manager" or node.manager is not None):
            if node_id == self._node_id:
                # Who removes itself cannot write down that it did. Another manager will.
                log.info("this manager is demoted: another one takes over")
                raise LeadershipLost
            await self._members.dismiss(node_id)
            log.info("node %s is no longer a manager", node_id)
            return None
        if node.manager is not None and node.manager.learner and node.status.state != "ready":
            left = max(node.status.since, node.updated_at) + LEARNER_AWAY_S - self.term.clock.now()
            if left > 0:
                return left
            log.warning("node %s was to be a manager and went away: its place is free", node_id)
            await self._members.dismiss(node_id)
            return None
        if not node.joining or node.status.state == "ready":
            return None
        left = max(node.created_at, node.status.since) + JOIN_WITHIN_S - self.term.clock.now()
        if left > 0:
            return left
        log.warning("node %s has not finished joining: forgetting it", node_id)
        await self._members.dismiss(node_id)

        def draft(draft: Draft) -> None:
            found = draft.get(Node, node_id)
            if found is not None and found.joining and found.status.state != "ready":
                draft.delete(found)

        await self.term.update(draft)
        return None

    async def _look_for_strays(self) -> float:
        now = self.term.clock.monotonic()
        known = {node.manager.member_id for node in self.state.nodes.values() if node.manager}
        strays = await self._members.learners() - known
        self._strays = {id: self._strays.get(id, now) for id in strays}
        for id, since in self._strays.items():
            if now - since >= STRAY_S:
                log.warning("removing member %s of the store, which belongs to no node", id)
                await self._members.discard(id)
        return STRAY_S


class RootKeeper(Loop):
    """Begins and finishes the rotation of the cluster's root. One key: the cluster."""

    name: ClassVar[str] = "root"
    kinds: ClassVar[tuple[str, ...]] = ("cluster", "node")
    settle_s: ClassVar[float] = 0.2

    def __init__(self, term: Term, sealing: Sealing) -> None:
        super().__init__(term)
        self._sealing = sealing

    def everything(self) -> Iterator[Iterable[str]]:
        yield ("cluster",)

    def touched(self, change: Change) -> Iterable[str]:
        cluster = self.state.cluster
        if change.kind == "cluster" or (cluster is not None and cluster.rotating):
            return ("cluster",)
        return ()

    async def act(self, keys: frozenset[str]) -> None:
        now = self.term.clock.now()

        def draft(draft: Draft) -> None:
            cluster = draft.state.cluster
            if cluster is None:
                return
            fresh: Cluster = cluster
            wanted = cluster.spec.ca_config.force_rotate
            if wanted > cluster.ca_forced:
                fresh = replace(begin_rotation(cluster, self._sealing, now), ca_forced=wanted)
                log.info("the cluster's root certificate is being replaced")
            elif can_finish(cluster, draft.state.nodes.values()):
                fresh = finish_rotation(cluster)
                log.info("the cluster's old root certificate is no longer trusted")
            if fresh is not cluster:
                draft.put(fresh)

        await self.term.update(draft)
