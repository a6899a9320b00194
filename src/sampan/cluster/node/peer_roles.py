"""Which role a peer has, as this node knows it from its certificate and the store.

The managers' copy of the store knows every node, but a moment late: a node that has just joined
through another manager is unknown here until the watch has caught up, and would be told that it is
not a member. So who is unknown is a worker until the copy is surely newer than its first call;
what matters (a session, a renewal) is decided by the store behind the route anyway.
"""

from __future__ import annotations

import logging

from sampan.aio import Tasks
from sampan.cluster.contract import ClusterStore
from sampan.cluster.peer.contract import NodeRole
from sampan.errors import SampanError

log = logging.getLogger(__name__)


class RoleLookup:
    """``role_of`` is the peer server's question."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._asking: set[str] = set()
        self._unknown: dict[str, int] = {}
        """Node id -> the copy's revision that surely did not have it."""
        self.store: ClusterStore | None = None
        """Of a manager, once it is loaded."""
        self.managers: frozenset[str] = frozenset()
        """Ids of the managers, as this node last heard."""

    def role_of(self, node_id: str) -> NodeRole | None:
        """None: certainly not a member."""
        if self.store is None or self.store.state.cluster is None:
            return "manager" if not self.managers or node_id in self.managers else "worker"
        node = self.store.state.nodes.get(node_id)
        if node is not None:
            # Who is to become a manager asks as one already.
            return "manager" if "manager" in (node.role, node.spec.role) else "worker"
        if node_id in self._unknown:
            return None
        if node_id not in self._asking:
            self._asking.add(node_id)
            self._tasks.spawn(self._ask(self.store, node_id), name="node/peer roles")
        return "worker"

    async def _ask(self, store: ClusterStore, node_id: str) -> None:
        try:
            await store.barrier()
            if node_id not in store.state.nodes:
                # Ids are never used twice: who is not there now will not come.
                self._unknown[node_id] = store.state.revision
                while len(self._unknown) > 1024:
                    del self._unknown[next(iter(self._unknown))]
        except SampanError as error:
            log.info("nothing is known of node %s: %s", node_id, error)
        finally:
            self._asking.discard(node_id)
