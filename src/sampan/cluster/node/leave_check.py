"""Whether a manager may leave without being forced, and what it costs if it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.cluster.model import State
from sampan.cluster.node.state_dir import NodeRecord
from sampan.errors import Unavailable

if TYPE_CHECKING:
    from sampan.cluster.node.member import Member


def check_leaving(record: NodeRecord, member: Member | None) -> None:
    """Of a manager, by what this host knows. ``member`` None: it does not run.

    Raises:
        Unavailable: it has to be forced; with what that costs.
    """
    manager = member.manager if member is not None else None
    store = member.peer_roles.store if member is not None else None
    # Taken out of the store already, it may never see why.
    out = manager is not None and manager.process.removed.is_set()
    if out or (store is not None and is_demoted(store.state, record.node_id)):
        return
    known = store is not None and store.has_quorum
    raise Unavailable(what_leaving_costs(store.state if store is not None and known else None))


def is_demoted(state: State, own: str) -> bool:
    """Whether the managers want this one to be a worker: nothing is lost when it goes."""
    node = state.nodes.get(own)
    return node is not None and node.spec.role == "worker"


def what_leaving_costs(state: State | None) -> str:
    """Why a manager does not leave without being forced. None: its store does not answer."""
    text = "You are attempting to leave the swarm on a node that is participating as a manager. "
    if state is None or not state.leader:
        return text + (
            "The only way to restore a swarm that has lost consensus is to reinitialize it with "
            "`--force-new-cluster`. Use `--force` to suppress this message."
        )
    managers = [node for node in state.nodes.values() if node.role == "manager"]
    if len(managers) == 1:
        return text + (
            "Removing the last manager erases all current state of the swarm. Use `--force` to "
            "ignore this message."
        )
    alive = [node for node in managers if node.id in state.present]
    if len(alive) - 1 <= len(managers) // 2:
        return text + (
            f"Removing this node leaves {len(alive) - 1} managers out of {len(managers)}. Without "
            "a Raft quorum your swarm will be inaccessible. The only way to restore a swarm that "
            "has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` "
            "to suppress this message."
        )
    return text + "Use `--force` to ignore this message."
