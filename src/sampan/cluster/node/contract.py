"""A host's membership, as the API sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.records import Cluster
from sampan.cluster.spec import SwarmSpec, wire_name
from sampan.errors import Unavailable
from sampan.network.overlay.contract import DataPlaneView

LocalState = Literal["inactive", "pending", "active", "error", "locked"]


class NotManager(Unavailable):
    def __init__(self) -> None:
        super().__init__(
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to '
            "connect this node to swarm and try again."
        )


class WorkerOnly(Unavailable):
    def __init__(self) -> None:
        super().__init__(
            "This node is not a swarm manager. Worker nodes can't be used to view or modify "
            "cluster state. Please run this command on a manager node or promote the current node "
            "to a manager."
        )


class AlreadyMember(Unavailable):
    def __init__(self) -> None:
        super().__init__(
            'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm '
            "and join another one."
        )


class NotInSwarm(Unavailable):
    def __init__(self) -> None:
        super().__init__("This node is not part of a swarm")


class InitRequest(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Body of ``POST /swarm/init``."""

    listen_addr: str = ""
    advertise_addr: str = ""
    data_path_addr: str = ""
    data_path_port: int = 0
    default_addr_pool: tuple[str, ...] = ()
    subnet_size: int = 0
    force_new_cluster: bool = False
    auto_lock_managers: bool = False
    availability: str = ""
    spec: SwarmSpec = SwarmSpec()


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Body of ``POST /swarm/join``."""

    listen_addr: str = ""
    advertise_addr: str = ""
    data_path_addr: str = ""
    remote_addrs: tuple[str, ...] = ()
    join_token: str = ""
    availability: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteManager:
    node_id: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipInfo:
    """The part ``Swarm`` of ``GET /info``."""

    state: LocalState = "inactive"
    node_id: str = ""
    node_address: str = ""
    """Without port."""
    control_available: bool = False
    error: str = ""
    remote_managers: tuple[RemoteManager, ...] = field(default=())
    nodes: int = 0
    managers: int = 0
    cluster: Cluster | None = None
    """On a manager."""


class Membership(Protocol):
    @property
    def manager(self) -> ManagerParts:
        """Raises: NotManager (outside of a cluster), WorkerOnly, Unavailable (still starting)."""
        ...

    def info(self) -> MembershipInfo: ...

    @property
    def view(self) -> DataPlaneView:
        """What this node was last told of networks that it has a part of; empty: of none."""
        ...

    async def init(self, request: InitRequest) -> str:
        """Make a cluster of this host alone; returns the node's id. On failure nothing is left.

        Raises:
            AlreadyMember, InvalidArgument (no or several addresses to advertise, bad pool ...).
        """
        ...

    async def join(self, request: JoinRequest) -> None:
        """Returns once the node is active. A failure leaves neither node, member nor certificate.

        Raises:
            AlreadyMember, InvalidArgument (bad token), Unavailable (no manager answers).
        """
        ...

    async def leave(self, *, force: bool) -> None:
        """Tasks end, networks go, the store's files too.

        Raises:
            NotManager (outside of a cluster), Unavailable (a manager without ``force``: what would
            be lost is said).
        """
        ...

    async def unlock_key(self) -> str: ...
