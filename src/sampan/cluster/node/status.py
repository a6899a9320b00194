"""What ``GET /info`` tells of a membership: from what is known here, without asking anybody."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from sampan.cluster.contract import NoQuorum
from sampan.cluster.node.contract import LocalState, MembershipInfo, RemoteManager
from sampan.cluster.node.state_dir import NodeRecord
from sampan.cluster.peer.address import host_of

if TYPE_CHECKING:
    from sampan.cluster.node.member import Member

UNKNOWN = "rpc error: code = Unknown desc ="
"""So begins what clients show of a manager that cannot ask the others."""


def describe_membership(
    record: NodeRecord | None, member: Member | None, state: LocalState, error: str
) -> MembershipInfo:
    """``record`` None: in no cluster; ``member`` None: it does not run."""
    if record is None:
        return MembershipInfo(state=state, error=error)
    managers = member.managers if member is not None else ()
    found = MembershipInfo(
        state=state,
        node_id=record.node_id,
        node_address=host_of(record.advertise) if record.advertise else "",
        error=error,
        remote_managers=tuple(RemoteManager(node_id=i, address=a) for i, a in managers),
    )
    if member is None or member.manager is None:
        return found
    store = member.peer_roles.store
    if store is None or not store.has_quorum:
        # What the copy says may be long past: clients show the error in its place.
        why = f"{UNKNOWN} {member.manager.error or NoQuorum()}"
        return dataclasses.replace(found, control_available=True, error=error or why)
    nodes = store.state.nodes.values()
    return dataclasses.replace(
        found,
        control_available=True,
        nodes=len(nodes),
        managers=sum(node.role == "manager" for node in nodes),
        cluster=store.state.cluster,
    )
