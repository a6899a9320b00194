"""The cluster's durable objects: what etcd keeps, one JSON value a key.

    cluster ── the one: specification, root of trust, join secrets
    node    ──1:n── task ──n:1── service        network, secret, config: named by services

Who may write which field (DESIGN, "The cluster"): the user a specification; the allocator
addresses, ports, network identifiers; the scheduler a task's node; an orchestrator a task as it is
made and its desired state; the node's agent, through a dispatcher, what is observed; the reaper
removals.

``version`` is the store's revision of the last change. It is not in the stored value: the store
fills it in when it reads. Times are seconds since the epoch.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from sampan.cluster.base36 import RANDOM_LENGTH, random_base36
from sampan.cluster.spec import (
    ConfigSpec,
    EndpointSpec,
    GenericResource,
    NetworkSpec,
    NodeSpec,
    Platform,
    PortConfig,
    Resources,
    SecretSpec,
    ServiceSpec,
    SwarmSpec,
    TaskSpec,
)
from sampan.cluster.states import TaskState

ID_LENGTH = RANDOM_LENGTH


def new_id() -> str:
    """128 random bits in base 36, as Docker's identifiers of a cluster's things."""
    return random_base36()


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A value inside a record.

    No record can be part of a cycle, so the collector need not know them (``gc=False``): it would
    walk over all of a large cluster, again and again, for a third of a second each time.
    """


class Object(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of what is stored under a key of its own."""

    kind: ClassVar[str]
    id: str
    version: int = 0
    """0: not stored yet."""
    created_at: float = 0.0
    updated_at: float = 0.0
    edits: int = 0
    """How often a user has changed it; tells their changes from the cluster's own."""

    @property
    def name(self) -> str:
        """Unique among its kind; empty: not found by name."""
        return ""


# ---------------------------------------------------------------- the cluster


class Cluster(Object, frozen=True, kw_only=True, omit_defaults=True):
    kind: ClassVar[str] = "cluster"

    spec: SwarmSpec = SwarmSpec()
    root_certificate: str = ""
    """PEM of the root that new certificates are issued by (during a rotation: the new one)."""
    trusted_roots: str = ""
    """PEM bundle of every root that is to be trusted; more than one during a rotation."""
    sealed_root_key: bytes = b""
    """PEM of the root's key, sealed with the cluster's key."""
    cross_signed: str = ""
    """The last roots, each signed by the one that it replaced, PEM, newest first: so who knows only
    an older root believes what the newest issues. Outlives a rotation; empty before the first."""
    rotating: bool = False
    worker_secret: str = ""
    """The last part of the join token."""
    manager_secret: str = ""
    data_path_port: int = 4789
    default_addr_pool: tuple[str, ...] = ("10.0.0.0/8",)
    subnet_size: int = 24
    ca_forced: int = 0
    """``spec.ca_config.force_rotate`` that was last acted on."""


# ---------------------------------------------------------------- nodes


class Plugin(Part, frozen=True, kw_only=True, omit_defaults=True):
    type: str
    name: str


class NodeDescription(Part, frozen=True, kw_only=True, omit_defaults=True):
    """What the agent says of its host."""

    hostname: str = ""
    platform: Platform = Platform()
    resources: Resources = Resources()
    engine_version: str = ""
    engine_labels: dict[str, str] = {}
    plugins: tuple[Plugin, ...] = ()
    trust_root: str = ""
    certificate_issuer: bytes = b""
    """DER of the issuer's subject."""
    certificate_issuer_key: bytes = b""
    """DER of the issuer's public key."""
    routes: tuple[str, ...] = ()
    """CIDRs of the host's own routes: no network of the cluster may lie there."""


class NodeStatus(Part, frozen=True, kw_only=True, omit_defaults=True):
    state: Literal["unknown", "down", "ready", "disconnected"] = "unknown"
    message: str = ""
    address: str = ""
    """The node's own address as its manager sees it (advertised)."""
    since: float = 0.0
    session: str = ""
    """Id of the session whose dispatcher wrote this; a later session's word is not overruled by
    an earlier one's end."""
    manager: str = ""
    """Node id of the manager that holds the session."""


class ManagerPart(Part, frozen=True, kw_only=True, omit_defaults=True):
    """Of a node that is a manager."""

    address: str = ""
    """ADDRESS:PORT of its peer server."""
    member_id: str = ""
    """Hexadecimal id of its etcd member."""
    etcd_url: str = ""
    learner: bool = False


class Node(Object, frozen=True, kw_only=True, omit_defaults=True):
    kind: ClassVar[str] = "node"

    spec: NodeSpec = NodeSpec()
    role: Literal["worker", "manager"] = "worker"
    """What it is now; ``spec.role`` is what it should become."""
    description: NodeDescription = NodeDescription()
    status: NodeStatus = NodeStatus()
    manager: ManagerPart | None = None
    address: str = ""
    """ADDRESS:PORT of its peer server (advertised)."""
    data_path_address: str = ""
    """Its end of the VXLAN tunnels."""
    ingress_ipv4: str = ""
    """Its own address on the ingress network; the allocator's."""
    joining: bool = False
    """It was let in, and has not said yet that joining has succeeded there: it may take it back,
    and not be able to say so."""


# ---------------------------------------------------------------- services


class VirtualAddress(Part, frozen=True, kw_only=True, omit_defaults=True):
    network_id: str
    address: str
    """IPv4/PREFIX; empty while it is not allocated."""


class Endpoint(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A service's presence as it was allocated."""

    spec: EndpointSpec = EndpointSpec()
    ports: tuple[PortConfig, ...] = ()
    """With every published port known."""
    virtual_addresses: tuple[VirtualAddress, ...] = ()


class UpdateStatus(Part, frozen=True, kw_only=True, omit_defaults=True):
    state: Literal[
        "updating",
        "paused",
        "completed",
        "rollback_started",
        "rollback_paused",
        "rollback_completed",
    ]
    started_at: float = 0.0
    completed_at: float = 0.0
    message: str = ""


class JobStatus(Part, frozen=True, kw_only=True, omit_defaults=True):
    iteration: int = 0
    last_execution: float = 0.0


class Service(Object, frozen=True, kw_only=True, omit_defaults=True):
    kind: ClassVar[str] = "service"

    spec: ServiceSpec = ServiceSpec()
    spec_version: int = 0
    """Grows by one with each change of ``spec``; tasks carry the one they were made from."""
    previous_spec: ServiceSpec | None = None
    endpoint: Endpoint | None = None
    """None: the allocator has not been there."""
    allocated_spec_version: int = 0
    """The ``spec_version`` whose endpoint the allocator has provided."""
    update_status: UpdateStatus | None = None
    job_status: JobStatus | None = None
    sealed_auth: bytes = b""
    """The client's registry credentials (``X-Registry-Auth``), sealed; for the nodes' pulls."""

    @property
    def name(self) -> str:
        return self.spec.name


# ---------------------------------------------------------------- tasks


class TaskStatus(Part, frozen=True, kw_only=True, omit_defaults=True):
    state: TaskState = TaskState.NEW
    timestamp: float = 0.0
    message: str = ""
    err: str = ""
    container_id: str = ""
    pid: int = 0
    exit_code: int = 0
    ports: tuple[PortConfig, ...] = ()
    """Host mode ports as they were given."""
    started_at: float = 0.0
    """When it was first seen to run, by its node's clock; 0: it never was. The dispatcher keeps
    it, so that a new leader knows a task that ran and failed from one that never ran."""


class TaskAttachment(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A task's place on a network."""

    network_id: str
    ipv4: str
    prefix: int
    aliases: tuple[str, ...] = ()
    driver_opts: dict[str, str] = {}


class Task(Object, frozen=True, kw_only=True, omit_defaults=True):
    kind: ClassVar[str] = "task"

    service_id: str = ""
    service_name: str = ""
    service_labels: dict[str, str] = {}
    slot: int = 0
    """1 and up; 0 for global services."""
    node_id: str = ""
    """The scheduler's; of a global task the orchestrator's. Never changes once set."""
    placement_reason: str = ""
    """Why this node, in the scheduler's words."""
    spec: TaskSpec = TaskSpec()
    spec_version: int = 0
    """The service's when it was made."""
    endpoint: EndpointSpec = EndpointSpec()
    """The service's when it was made, with the published ports known."""
    desired: TaskState = TaskState.NEW
    status: TaskStatus = TaskStatus()
    attachments: tuple[TaskAttachment, ...] = ()
    generic_resources: tuple[GenericResource, ...] = ()
    job_iteration: int | None = None
    restart_of: str = ""
    """Id of the dead task that it replaces."""
    start_after: float = 0.0
    """Not before this time (restart delay): ``desired`` is READY until then."""
    address_wanted: str = ""
    """Of a container that was attached by hand: the IPv4 address that it asks for."""
    restarts: tuple[float, ...] = ()
    """When its predecessors of the same specification were restarted, newest last; kept only as
    far as the restart policy's ``max_attempts`` asks for it."""

    @property
    def annotated_name(self) -> str:
        """``web.2.1vc5z...``, of a global service ``web.NODE.ID``."""
        return f"{self.service_name}.{self.slot or self.node_id}.{self.id}"


# ---------------------------------------------------------------- networks and data


class ClusterNetwork(Object, frozen=True, kw_only=True, omit_defaults=True):
    kind: ClassVar[str] = "network"

    spec: NetworkSpec = NetworkSpec()
    vni: int = 0
    """0: not allocated."""
    subnet: str = ""
    gateway: str = ""
    error: str = ""
    """Why it cannot be allocated, for the user."""

    @property
    def name(self) -> str:
        return self.spec.name


class Secret(Object, frozen=True, kw_only=True, omit_defaults=True):
    kind: ClassVar[str] = "secret"

    spec: SecretSpec = SecretSpec()
    """Without data."""
    sealed: bytes = b""

    @property
    def name(self) -> str:
        return self.spec.name


class Config(Object, frozen=True, kw_only=True, omit_defaults=True):
    kind: ClassVar[str] = "config"

    spec: ConfigSpec = ConfigSpec()

    @property
    def name(self) -> str:
        return self.spec.name
