"""What the store says of nodes' sessions, and who may change it.

``status.session`` is the fence: only the session that is written there may be ended. A node that
has gone on to another manager is never declared down by the one it left.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from sampan.aio import Clock
from sampan.cluster.contract import ClusterStore, Draft
from sampan.cluster.peer.address import host_of
from sampan.cluster.protocol.messages import Hello
from sampan.cluster.records import Node, NodeDescription, NodeStatus


class NodeSessions:
    def __init__(self, store: ClusterStore, clock: Clock, manager_id: str) -> None:
        self._store, self._clock, self._manager_id = store, clock, manager_id

    async def register(self, node_id: str, session_id: str, hello: Hello) -> bool:
        """The node is ready, with this session. False: there is no such node.

        Raises:
            NoQuorum
        """

        def draft(d: Draft) -> bool:
            node = d.get(Node, node_id)
            if node is None:
                return False
            address = hello.address or node.address
            d.put(
                msgspec.structs.replace(
                    node,
                    description=hello.description,
                    address=address,
                    data_path_address=hello.data_path_address or node.data_path_address,
                    status=NodeStatus(
                        state="ready",
                        address=host_of(address),
                        since=self._clock.now(),
                        session=session_id,
                        manager=self._manager_id,
                    ),
                    joining=node.joining and hello.joining,
                )
            )
            return True

        return await self._store.update(draft)

    async def joined(self, node_id: str) -> None:
        """Joining has succeeded.

        Raises:
            NoQuorum
        """

        def draft(d: Draft) -> None:
            node = d.get(Node, node_id)
            if node is not None and node.joining:
                d.put(msgspec.structs.replace(node, joining=False))

        await self._store.update(draft)

    async def describe(self, node_id: str, description: NodeDescription) -> None:
        def draft(d: Draft) -> None:
            node = d.get(Node, node_id)
            if node is not None and node.description != description:
                d.put(msgspec.structs.replace(node, description=description))

        await self._store.update(draft)

    async def ended(
        self,
        node_id: str,
        session_id: str,
        state: Literal["down", "disconnected"],
        message: str,
    ) -> None:
        """Nothing happens if the node has another session by now."""

        def draft(d: Draft) -> None:
            node = d.get(Node, node_id)
            if node is None or node.status.session != session_id or node.status.state == state:
                return
            status = msgspec.structs.replace(
                node.status, state=state, message=message, since=self._clock.now()
            )
            d.put(msgspec.structs.replace(node, status=status))

        await self._store.update(draft)
