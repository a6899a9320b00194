"""The cluster on the wire. Specifications travel as ``translate.specs`` spells them."""

from __future__ import annotations

from msgspec import UNSET, UnsetType, field

from sampan.api.types.common import Wire

Spelled = dict[str, object]


class ObjectVersion(Wire, kw_only=True):
    index: int


class ObjectBody(Wire, kw_only=True):
    """What every object of the cluster has."""

    id: str = field(name="ID")
    version: ObjectVersion
    created_at: str
    updated_at: str


class CreatedObject(Wire, kw_only=True):
    id: str = field(name="ID")


class CreatedService(Wire, kw_only=True):
    id: str = field(name="ID")
    warnings: list[str] | UnsetType = UNSET


class Warnings(Wire, kw_only=True):
    warnings: list[str] | None = None


class DataBody(ObjectBody, kw_only=True):
    """A secret or a config."""

    spec: Spelled


class TlsInfo(Wire, kw_only=True, omit_defaults=True):
    trust_root: str = ""
    cert_issuer_subject: str = ""
    cert_issuer_public_key: str = ""


# ---------------------------------------------------------------- the cluster


class ClusterBody(ObjectBody, kw_only=True):
    spec: Spelled
    tls_info: TlsInfo = field(name="TLSInfo")
    root_rotation_in_progress: bool
    default_addr_pool: list[str]
    subnet_size: int
    data_path_port: int


class JoinTokens(Wire, kw_only=True):
    worker: str
    manager: str


class SwarmBody(ClusterBody, kw_only=True):
    join_tokens: JoinTokens


class UnlockKey(Wire, kw_only=True):
    unlock_key: str


class PeerNode(Wire, kw_only=True):
    node_id: str = field(name="NodeID")
    addr: str


class SwarmInfo(Wire, kw_only=True):
    """A part of ``GET /info``."""

    node_id: str = field(name="NodeID", default="")
    node_addr: str = ""
    local_node_state: str = "inactive"
    control_available: bool = False
    error: str = ""
    remote_managers: list[PeerNode] | None = None
    nodes: int | UnsetType = UNSET
    managers: int | UnsetType = UNSET
    cluster: ClusterBody | UnsetType = UNSET


# ---------------------------------------------------------------- nodes


class PluginBody(Wire, kw_only=True):
    type: str
    name: str


class EngineBody(Wire, kw_only=True):
    engine_version: str
    labels: dict[str, str]
    plugins: list[PluginBody]


class PlatformBody(Wire, kw_only=True):
    architecture: str
    os: str = field(name="OS")


class DescriptionBody(Wire, kw_only=True):
    hostname: str
    platform: PlatformBody
    resources: Spelled
    engine: EngineBody
    tls_info: TlsInfo = field(name="TLSInfo")


class NodeStatusBody(Wire, kw_only=True, omit_defaults=True):
    state: str
    message: str = ""
    addr: str = ""


class ManagerStatusBody(Wire, kw_only=True, omit_defaults=True):
    leader: bool = False
    reachability: str
    addr: str


class NodeBody(ObjectBody, kw_only=True):
    spec: Spelled
    description: DescriptionBody
    status: NodeStatusBody
    manager_status: ManagerStatusBody | UnsetType = UNSET


# ---------------------------------------------------------------- services and tasks


class VirtualIp(Wire, kw_only=True):
    network_id: str = field(name="NetworkID")
    addr: str


class EndpointBody(Wire, kw_only=True):
    spec: Spelled
    ports: list[Spelled] | UnsetType = UNSET
    virtual_ips: list[VirtualIp] | UnsetType = field(name="VirtualIPs", default=UNSET)


class UpdateStatusBody(Wire, kw_only=True):
    state: str
    started_at: str | UnsetType = UNSET
    completed_at: str | UnsetType = UNSET
    message: str


class ServiceStatusBody(Wire, kw_only=True):
    running_tasks: int
    desired_tasks: int
    completed_tasks: int


class JobStatusBody(Wire, kw_only=True):
    job_iteration: ObjectVersion
    last_execution: str


class ServiceBody(ObjectBody, kw_only=True):
    spec: Spelled
    previous_spec: Spelled | UnsetType = UNSET
    endpoint: EndpointBody
    update_status: UpdateStatusBody | UnsetType = UNSET
    service_status: ServiceStatusBody | UnsetType = UNSET
    job_status: JobStatusBody | UnsetType = UNSET


class ContainerStatusBody(Wire, kw_only=True):
    container_id: str = field(name="ContainerID")
    pid: int = field(name="PID")
    exit_code: int


class PortStatusBody(Wire, kw_only=True):
    ports: list[Spelled] | UnsetType = UNSET


class TaskStatusBody(Wire, kw_only=True):
    timestamp: str
    state: str
    message: str | UnsetType = UNSET
    err: str | UnsetType = UNSET
    container_status: ContainerStatusBody | UnsetType = UNSET
    port_status: PortStatusBody


class NetworkObject(ObjectBody, kw_only=True):
    """A network as it is shown inside a task."""

    spec: Spelled
    driver_state: Spelled
    ipam_options: Spelled = field(name="IPAMOptions")


class AttachmentBody(Wire, kw_only=True):
    network: NetworkObject
    addresses: list[str]


class TaskBody(ObjectBody, kw_only=True):
    name: str
    labels: dict[str, str]
    spec: Spelled
    service_id: str = field(name="ServiceID")
    slot: int | UnsetType = UNSET
    node_id: str | UnsetType = field(name="NodeID", default=UNSET)
    assigned_generic_resources: list[Spelled] | UnsetType = UNSET
    status: TaskStatusBody
    desired_state: str
    networks_attachments: list[AttachmentBody] | UnsetType = UNSET
    job_iteration: ObjectVersion | UnsetType = UNSET
