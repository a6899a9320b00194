"""Nodes: what they should be, and their removal."""

from __future__ import annotations

from msgspec import structs

from sampan.cluster.contract import Draft
from sampan.cluster.errors import Precondition, Refused
from sampan.cluster.find import at_version, find_node
from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.model import State
from sampan.cluster.records import Node
from sampan.cluster.spec import NodeSpec

MANAGERS = "managers"
"""Serialises who stops being a manager: of two managers that demote each other, one must stay."""


async def update(parts: ManagerParts, ref: str, version: int, spec: NodeSpec) -> None:
    """Labels, availability, role. The role is a wish: it is what the node becomes in a while.

    Raises:
        NoSuchObject, OutOfSequence, Precondition (the last manager).
    """

    def draft(draft: Draft) -> None:
        node = find_node(draft.state, ref, parts.node_id)
        at_version(draft.state, node, version)
        if any(not key for key in spec.labels):
            raise Refused("invalid label: its key is empty")
        if node.spec.role == "manager" and spec.role == "worker":
            draft.serialize(MANAGERS)
            check_demotion(draft.state, node)
        draft.put(structs.replace(node, spec=spec, edits=node.edits + 1))

    await parts.store.update(draft)


def check_demotion(state: State, node: Node) -> None:
    """Enough managers stay.

    Raises:
        Precondition.
    """
    others = [
        other
        for other in state.nodes.values()
        if other.id != node.id and other.spec.role == "manager"
    ]
    if not others:
        raise Precondition("attempting to demote the last manager of the swarm")
    members = [other for other in others if other.role == "manager"]
    if not members:
        raise Precondition(
            "attempting to demote the last manager of the swarm: the one that was promoted is not "
            "a manager yet, try again in a moment"
        )
    alive = [other for other in members if other.id in state.present]
    # Before any manager has shown itself, nothing is known of who is alive.
    if state.present and len(alive) <= len(members) // 2:
        raise Precondition(
            "can't remove member from the raft: this would result in a loss of quorum"
        )


async def remove(parts: ManagerParts, ref: str, *, force: bool = False) -> None:
    """Forget a node; its tasks are replaced elsewhere, its certificate counts no more.

    Raises:
        NoSuchObject, Precondition (a manager; up, and no ``force``).
    """

    def draft(draft: Draft) -> None:
        node = find_node(draft.state, ref, parts.node_id)
        if node.role == "manager" or node.spec.role == "manager":
            raise Precondition(
                f"node {node.id} is a cluster manager and is a member of the raft cluster. It "
                "must be demoted to worker before removal"
            )
        if node.status.state == "ready" and not force:
            raise Precondition(f"node {node.id} is not down and can't be removed")
        draft.delete(node)

    await parts.store.update(draft)
