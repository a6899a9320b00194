"""How the routes reach the cluster that this host is (or is not) in."""

from __future__ import annotations

from sampan.api.docker_request import DockerRequest
from sampan.cluster.control.references import HostNetwork, LocalNetworks
from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.model import State
from sampan.cluster.node.contract import Membership, NotManager
from sampan.errors import InvalidArgument, SampanError
from sampan.network.contract import PREDEFINED


def membership(call: DockerRequest) -> Membership:
    """Raises: NotManager (this daemon has no cluster at all)."""
    if call.services.cluster is None:
        raise NotManager
    return call.services.cluster


def to_write(call: DockerRequest) -> ManagerParts:
    """Raises: NotManager, WorkerOnly, Unavailable."""
    return membership(call).manager


async def to_read(call: DockerRequest) -> ManagerParts:
    """The same, with a copy of the cluster that is as new as the quorum: a caller that was told of
    a change by another manager sees it here. It costs one round trip; a manager without quorum
    says so instead of showing the past.

    Raises:
        NotManager, WorkerOnly, Unavailable, NoQuorum.
    """
    parts = membership(call).manager
    await parts.store.barrier()
    return parts


def copy_at_hand(call: DockerRequest) -> State | None:
    """What this manager knows of the cluster without asking anybody; None where there is nothing
    to know."""
    return copy_of(call.services.cluster)


def copy_of(member: Membership | None) -> State | None:
    """The same, of one that may be a member."""
    if member is None or not member.info().control_available:
        return None
    try:
        return member.manager.store.state
    except SampanError:
        return None  # it is just ceasing to be a manager, or not one yet


def version(call: DockerRequest, kind: str) -> int:
    """The version that the client changed.

    Raises:
        InvalidArgument.
    """
    written = call.text("version")
    if not written.isascii() or not written.isdigit():
        raise InvalidArgument(f"invalid {kind} version '{written}': it is a whole number")
    return int(written)


def local_networks(call: DockerRequest) -> LocalNetworks:
    """This host's own networks, for those who must not use them."""

    def find(ref: str) -> HostNetwork | None:
        try:
            found = call.services.engine.network(ref)
        except SampanError:
            return None
        if found.scope == "swarm":
            return None
        return HostNetwork(found.name, found.name in PREDEFINED)

    return find
