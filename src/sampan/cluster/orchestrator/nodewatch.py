"""The loop that notices nodes whose manager has vanished.

A node's status is written by the manager that holds its session. If that manager dies, nobody
writes: the node would be "ready" for ever, dead or not. So the leader looks after the orphans: a
node that has not come to another manager within the time a node is given anyway is down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from msgspec.structs import replace

from sampan.cluster.contract import PRESENCE_TTL_S, Draft
from sampan.cluster.heartbeat import HEARTBEAT_FAILURE, grace_s, heartbeat_s
from sampan.cluster.loop import Loop, Term
from sampan.cluster.model import Change, State
from sampan.cluster.records import Node

SHORTEST_S = 1.0
COLD_START_S = 15.0


class NodeWatch(Loop):
    name: ClassVar[str] = "nodewatch"
    kinds: ClassVar[tuple[str, ...]] = ("node", "presence")

    def __init__(self, term: Term) -> None:
        super().__init__(term)
        self._since: dict[str, tuple[str, float]] = {}
        """Node id -> its session, and when that was first seen to be without its manager."""
        self._cold_until = 0.0

    def everything(self) -> Iterator[Iterable[str]]:
        if len(self.state.present) <= len(self.state.managers) // 2:
            # A quorum of the store is there, their managers are not yet: everything is being
            # started. To believe in the death of the later half would move all their tasks.
            self._cold_until = self.term.clock.monotonic() + COLD_START_S
        yield self.state.nodes

    def touched(self, change: Change) -> Iterable[str]:
        if change.kind == "node":
            return (change.id,)
        return [n.id for n in self.state.nodes.values() if n.status.manager == change.id]

    async def act(self, keys: frozenset[str]) -> None:
        now = self.term.clock.monotonic()
        dead: list[Node] = []
        for id in keys:
            node = self.state.nodes.get(id)
            if node is None or not _forsaken(node, self.state):
                self._since.pop(id, None)
                continue
            session, since = self._since.get(id, ("", now))
            if session != node.status.session:
                session, since = node.status.session, now
            self._since[id] = (session, since)
            left = max(since + self._grace(node), self._cold_until) - now
            if left > 0:
                self.later(id, left)
            else:
                dead.append(node)
        if dead:
            await self._declare(dead)

    def _grace(self, node: Node) -> float:
        """Of a manager's own agent the manager's silence is its own."""
        cluster = self.state.cluster
        chosen = cluster.spec.dispatcher.heartbeat_period if cluster is not None else 0
        grace = grace_s(heartbeat_s(len(self.state.nodes), chosen))
        return max(SHORTEST_S, grace - PRESENCE_TTL_S) if node.status.manager == node.id else grace

    async def _declare(self, nodes: list[Node]) -> None:
        def write(draft: Draft) -> None:
            for one in nodes:
                node = draft.get(Node, one.id)
                if (
                    node is None
                    or node.status.session != one.status.session
                    or not _forsaken(node, draft.state)
                ):
                    continue
                status = replace(
                    node.status,
                    state="down",
                    message=HEARTBEAT_FAILURE,
                    since=self.term.clock.now(),
                )
                draft.put(replace(node, status=status))

        await self.term.update(write)


def _forsaken(node: Node, state: State) -> bool:
    """The last word on it is of a manager that is gone."""
    status = node.status
    return bool(status.state != "down" and status.manager and status.manager not in state.present)
