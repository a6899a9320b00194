"""What a manager and an agent say to each other: one session, one socket, msgpack.

    agent    -> manager   Hello, then StatusUpdates, DescriptionChanged, Heartbeat; at last Goodbye
    manager  -> agent     Session, Nodes, Assignments and ViewChange (all at first, differences
                          after), RootsChanged, Pong; Kick ends it

Nothing is acknowledged: a socket delivers in order or breaks, and each new session begins with
everything either side knows. So a message is never repeated within a session, and what was lost
with one is in the first messages of the next.

Each message is a map with its kind under ``t``; unknown fields are skipped, so that managers and
agents of neighbouring versions understand each other.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from sampan.cluster.records import ClusterNetwork, NodeDescription, TaskAttachment, TaskStatus
from sampan.cluster.spec import Driver, EndpointSpec, GenericResource, NodeSpec, TaskSpec
from sampan.cluster.states import TaskState
from sampan.network.overlay.contract import (
    DataPlaneView,
    IngressNode,
    OverlayMember,
    OverlayNetwork,
    ServiceEntry,
)

SESSION_PATH = "/session"
FIND_PATH = "/networks/find"
ATTACH_PATH = "/networks/attach"
WITHDRAWN_PATH = "/tasks/withdrawn"

M = TypeVar("M")


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value inside a message."""


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t"):
    """Base of every message."""


# ---------------------------------------------------------------- agent -> manager


class Hello(Message, frozen=True, kw_only=True, omit_defaults=True, tag="hello"):
    """The first message. Who says it is in its certificate."""

    description: NodeDescription = NodeDescription()
    address: str = ""
    """ADDRESS:PORT of the node's peer server, as others reach it."""
    data_path_address: str = ""
    tasks: int = 0
    """How many tasks the agent has, for the manager's log."""
    joining: bool = False
    """Joining may still be taken back there; at its end ``Joined`` follows."""


class StatusUpdates(Message, frozen=True, kw_only=True, omit_defaults=True, tag="status"):
    """Task id -> the newest of it."""

    statuses: dict[str, TaskStatus] = {}


class Joined(Message, frozen=True, kw_only=True, omit_defaults=True, tag="joined"):
    """The node has succeeded in joining: it will not take it back."""


class DescriptionChanged(Message, frozen=True, kw_only=True, omit_defaults=True, tag="described"):
    description: NodeDescription


class Heartbeat(Message, frozen=True, kw_only=True, omit_defaults=True, tag="beat"):
    pass


class Goodbye(Message, frozen=True, kw_only=True, omit_defaults=True, tag="goodbye"):
    """The agent ends. Its containers run on unless it is ``leaving`` the cluster."""

    leaving: bool = False


# ---------------------------------------------------------------- manager -> agent


class NodeAddress(Part, frozen=True, kw_only=True, omit_defaults=True):
    node_id: str
    address: str
    """ADDRESS:PORT of its peer server."""
    name: str = ""
    """Its host name, for people."""


class Session(Message, frozen=True, kw_only=True, omit_defaults=True, tag="session"):
    """The answer to Hello; said again whenever something of it changes."""

    id: str
    heartbeat_s: float
    managers: tuple[NodeAddress, ...] = ()
    """All of them: where to go when this one is gone."""
    node: NodeSpec = NodeSpec()
    """The node's own specification (labels, role wanted, availability)."""
    role: str = "worker"
    """What the node is now."""


class Assignment(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A task with all that its node needs to run it."""

    id: str
    service_id: str = ""
    service_name: str = ""
    service_labels: dict[str, str] = {}
    slot: int = 0
    node_id: str = ""
    spec: TaskSpec = TaskSpec()
    endpoint: EndpointSpec = EndpointSpec()
    attachments: tuple[TaskAttachment, ...] = ()
    generic_resources: tuple[GenericResource, ...] = ()
    desired: TaskState = TaskState.NEW
    observed: TaskState = TaskState.NEW
    """What the cluster had seen of it when this was sent: it never runs again what has ended."""
    auth: str = ""
    """X-Registry-Auth for its image."""

    @property
    def name(self) -> str:
        """``web.2.1vc5z...``, of a global service ``web.NODE.ID``; its container's name, too."""
        return f"{self.service_name}.{self.slot or self.node_id}.{self.id}"

    @property
    def wanted(self) -> bool:
        """Nobody has asked it to stop."""
        return self.desired <= TaskState.RUNNING


class Payload(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A secret or config with its content."""

    id: str
    name: str
    data: bytes
    templating: Driver | None = None


class Assignments(Message, frozen=True, kw_only=True, omit_defaults=True, tag="assign"):
    """Tasks, and what they need. ``full``: what is not in it is no longer this node's."""

    full: bool = False
    tasks: tuple[Assignment, ...] = ()
    desired: dict[str, TaskState] = {}
    """Tasks of which nothing but the desired state has changed."""
    gone: tuple[str, ...] = ()
    networks: tuple[ClusterNetwork, ...] = ()
    networks_gone: tuple[str, ...] = ()
    secrets: tuple[Payload, ...] = ()
    secrets_gone: tuple[str, ...] = ()
    configs: tuple[Payload, ...] = ()
    configs_gone: tuple[str, ...] = ()


class NetworkDelta(Part, frozen=True, kw_only=True, omit_defaults=True):
    """What has changed on one network. ``full`` replaces whatever was known of it."""

    id: str
    full: OverlayNetwork | None = None
    members: tuple[OverlayMember, ...] = ()
    """New, or changed."""
    members_gone: tuple[str, ...] = ()
    """Task ids."""
    services: tuple[ServiceEntry, ...] = ()
    services_gone: tuple[str, ...] = ()


class ViewChange(Message, frozen=True, kw_only=True, omit_defaults=True, tag="view"):
    """The node's ``DataPlaneView``, or how it differs from what was said before.

    The deltas are encoded by themselves: one encoding serves every node on the network.
    """

    full: bool = False
    node_address: str = ""
    """Data path address; said when ``full``."""
    vxlan_port: int = 0
    """Said when ``full``."""
    networks: tuple[msgspec.Raw, ...] = ()
    """``NetworkDelta`` each."""
    networks_gone: tuple[str, ...] = ()
    ingress_nodes: tuple[IngressNode, ...] | None = None
    """All of them; None: as before."""


class Nodes(Message, frozen=True, kw_only=True, omit_defaults=True, tag="nodes"):
    """All nodes that are ready, oneself included: where images may be had."""

    nodes: tuple[NodeAddress, ...] = ()


class RootsChanged(Message, frozen=True, kw_only=True, omit_defaults=True, tag="roots"):
    trusted_roots: str
    """PEM bundle."""


class Kick(Message, frozen=True, kw_only=True, omit_defaults=True, tag="kick"):
    """The manager ends the session."""

    reason: str
    removed: bool = False
    """The node is no longer a member: every manager refuses it."""


class Pong(Message, frozen=True, kw_only=True, omit_defaults=True, tag="pong"):
    """Answers a heartbeat: the manager lives, too."""


# ---------------------------------------------------------------- networks, by calls


class FindNetwork(Part, frozen=True, kw_only=True, omit_defaults=True):
    ref: str
    """Name, id, or beginning of an id."""


class FoundNetwork(Part, frozen=True, kw_only=True, omit_defaults=True):
    network: ClusterNetwork


class Attach(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A container of the calling node wants to be on a network."""

    task_id: str
    """Of the task that is to stand for it; chosen by the node, once for each try."""
    network_id: str
    container_id: str
    address: str = ""
    """IPv4 address that it must have; empty: any."""
    names: tuple[str, ...] = ()
    driver_opts: dict[str, str] = {}


class Attached(Part, frozen=True, kw_only=True, omit_defaults=True):
    address: str
    """IPv4, as in ``Attachment``."""


# ---------------------------------------------------------------- between agents, by calls


class AwaitWithdrawal(Part, frozen=True, kw_only=True, omit_defaults=True):
    """The asking node is about to stop these tasks."""

    tasks: tuple[str, ...]


class Withdrawn(Part, frozen=True, kw_only=True, omit_defaults=True):
    """What became of it, when all are out of the asked node's data plane or a moment has passed."""

    pending: tuple[str, ...] = ()
    """Those that the node still leads connections to."""


Up = Hello | StatusUpdates | Joined | DescriptionChanged | Heartbeat | Goodbye
Down = Session | Nodes | Assignments | ViewChange | RootsChanged | Kick | Pong

_encoder = msgspec.msgpack.Encoder()
_up: msgspec.msgpack.Decoder[Up] = msgspec.msgpack.Decoder(Up)
_down: msgspec.msgpack.Decoder[Down] = msgspec.msgpack.Decoder(Down)
_delta = msgspec.msgpack.Decoder(NetworkDelta)


def encode(message: Message | Part) -> bytes:
    return _encoder.encode(message)


def decode_up(data: bytes) -> Up:
    """Raises: msgspec.DecodeError."""
    return _up.decode(data)


def decode_down(data: bytes) -> Down:
    """Raises: msgspec.DecodeError."""
    return _down.decode(data)


def merged_view(view: DataPlaneView, change: ViewChange, node_id: str) -> DataPlaneView:
    """``view`` after ``change``. Pure.

    Raises:
        msgspec.DecodeError: not a delta.
    """
    networks = {} if change.full else {network.id: network for network in view.networks}
    for raw in change.networks:
        delta = _delta.decode(raw)
        if delta.full is not None:
            networks[delta.id] = delta.full
        elif (known := networks.get(delta.id)) is not None:
            networks[delta.id] = _merged_network(known, delta)
    for id in change.networks_gone:
        networks.pop(id, None)
    return DataPlaneView(
        node_id=node_id,
        node_address=change.node_address if change.full else view.node_address,
        vxlan_port=change.vxlan_port if change.full else view.vxlan_port,
        networks=tuple(networks.values()),
        ingress_nodes=(
            (() if change.full else view.ingress_nodes)
            if change.ingress_nodes is None
            else change.ingress_nodes
        ),
    )


def _merged_network(known: OverlayNetwork, delta: NetworkDelta) -> OverlayNetwork:
    members, services = known.members, known.services
    if delta.members or delta.members_gone:
        by_task = {member.task_id: member for member in members}
        by_task.update((member.task_id, member) for member in delta.members)
        for id in delta.members_gone:
            by_task.pop(id, None)
        members = tuple(by_task.values())
    if delta.services or delta.services_gone:
        by_id = {service.service_id: service for service in services}
        by_id.update((service.service_id, service) for service in delta.services)
        for id in delta.services_gone:
            by_id.pop(id, None)
        services = tuple(by_id.values())
    return msgspec.structs.replace(known, members=members, services=services)
