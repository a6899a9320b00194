"""The cluster, as its CA asks for it: read from the store's copy, written to the store."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Literal, cast

from sampan.cluster.ca.contract import IssueRequest
from sampan.cluster.contract import ClusterStore, Draft, NoQuorum
from sampan.cluster.peer.address import join_port, split_port
from sampan.cluster.peer.contract import DEFAULT_PORT, NodeRole
from sampan.cluster.records import Cluster, Node, NodeStatus
from sampan.cluster.spec import NodeSpec
from sampan.errors import InvalidArgument

if TYPE_CHECKING:
    from sampan.cluster.ca.secretbox import SecretBox

_AVAILABILITIES = ("active", "pause", "drain")


class StoreAuthority:
    """Fulfils ``ca.contract.Authority``."""

    def __init__(self, store: ClusterStore, box: SecretBox) -> None:
        self._store = store
        self.box = box

    @property
    def cluster(self) -> Cluster:
        """Raises: NoQuorum (nothing was read from the store yet)."""
        cluster = self._store.state.cluster
        if cluster is None:
            raise NoQuorum
        return cluster

    def role_of(self, node_id: str) -> NodeRole | None:
        node = self._store.state.nodes.get(node_id)
        return node.spec.role if node is not None else None

    async def admit(self, node_id: str, role: NodeRole, request: IssueRequest, remote: str) -> None:
        """Raises: NoQuorum, InvalidArgument (availability)."""
        availability = availability_of(request.availability)
        address = reachable(request.address, remote)

        def draft(draft: Draft) -> None:
            draft.put(
                Node(
                    id=node_id,
                    spec=NodeSpec(role=role, availability=availability),
                    address=address,
                    status=NodeStatus(message="joining"),
                    joining=True,
                )
            )

        await self._store.update(draft)


def availability_of(text: str) -> Literal["active", "pause", "drain"]:
    """Raises: InvalidArgument."""
    if text and text.lower() not in _AVAILABILITIES:
        raise InvalidArgument(
            f'invalid availability "{text}", only active, pause and drain are supported'
        )
    return cast("Literal['active', 'pause', 'drain']", text.lower() or "active")


def reachable(said: str, remote: str) -> str:
    """What a node says of its address; where it left the host open, the one it calls from."""
    host, port = split_port(said) if said else ("", DEFAULT_PORT)
    try:
        open_host = not host or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        open_host = False
    return join_port(remote if open_host and remote else host, port)
