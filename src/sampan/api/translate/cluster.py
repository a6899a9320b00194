"""The cluster's objects as the API shows them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TypedDict

from msgspec import UNSET, UnsetType

from sampan.api.timestamps import rfc3339
from sampan.api.translate import specs
from sampan.api.types import cluster as wire
from sampan.cluster.control.services import Counts
from sampan.cluster.control.tasks import wanted_state
from sampan.cluster.find import node_name
from sampan.cluster.model import State
from sampan.cluster.node.contract import MembershipInfo
from sampan.cluster.records import (
    Cluster,
    ClusterNetwork,
    Config,
    Endpoint,
    Node,
    Object,
    Secret,
    Service,
    Task,
    TaskAttachment,
)
from sampan.cluster.spec import VNI_OPTION
from sampan.network.contract import DEFAULT_IPAM


class _Head(TypedDict):
    id: str
    version: wire.ObjectVersion
    created_at: str
    updated_at: str


def _head(record: Object) -> _Head:
    return _Head(
        id=record.id,
        version=wire.ObjectVersion(index=record.version),
        created_at=rfc3339(record.created_at),
        updated_at=rfc3339(record.updated_at),
    )


def secret(record: Secret) -> wire.DataBody:
    return wire.DataBody(**_head(record), spec=specs.spelled(record.spec))


def config(record: Config) -> wire.DataBody:
    return wire.DataBody(**_head(record), spec=specs.spelled(record.spec))


# ---------------------------------------------------------------- the cluster


def _tls_info(cluster: Cluster, node: Node | None) -> wire.TlsInfo:
    """The issuer's name and key as a node of this cluster told them: reading them out of the
    certificate here would need a library that nothing else here needs."""
    info = wire.TlsInfo(trust_root=cluster.root_certificate)
    if node is not None:
        _issuer(info, node)
    return info


def _issuer(info: wire.TlsInfo, node: Node) -> None:
    info.cert_issuer_subject = base64.b64encode(node.description.certificate_issuer).decode()
    info.cert_issuer_public_key = base64.b64encode(node.description.certificate_issuer_key).decode()


def cluster_info(cluster: Cluster, node: Node | None) -> wire.ClusterBody:
    return wire.ClusterBody(
        **_head(cluster),
        spec=specs.swarm(cluster.spec),
        tls_info=_tls_info(cluster, node),
        # Asked for and not begun counts: clients stop waiting at the first "no".
        root_rotation_in_progress=cluster.rotating
        or cluster.spec.ca_config.force_rotate > cluster.ca_forced,
        default_addr_pool=list(cluster.default_addr_pool),
        subnet_size=cluster.subnet_size,
        data_path_port=cluster.data_path_port,
    )


def swarm(cluster: Cluster, node: Node | None, *, worker: str, manager: str) -> wire.SwarmBody:
    info = cluster_info(cluster, node)
    fields = {name: getattr(info, name) for name in info.__struct_fields__}
    tokens = wire.JoinTokens(worker=worker, manager=manager)
    return wire.SwarmBody(**fields, join_tokens=tokens)


def swarm_info(info: MembershipInfo, state: State | None) -> wire.SwarmInfo:
    """The part ``Swarm`` of ``GET /info``."""
    out = wire.SwarmInfo(
        node_id=info.node_id,
        node_addr=info.node_address,
        local_node_state=info.state,
        control_available=info.control_available,
        error=info.error,
        remote_managers=[
            wire.PeerNode(node_id=one.node_id, addr=one.address) for one in info.remote_managers
        ]
        or None,
    )
    if info.control_available:
        out.nodes, out.managers = info.nodes, info.managers
    if info.cluster is not None:
        own = state.nodes.get(info.node_id) if state is not None else None
        out.cluster = cluster_info(info.cluster, own)
    return out


# ---------------------------------------------------------------- nodes


def node(record: Node, state: State) -> wire.NodeBody:
    said = record.description
    tls = wire.TlsInfo(trust_root=said.trust_root)
    _issuer(tls, record)
    return wire.NodeBody(
        **_head(record),
        spec=specs.node(record.spec),
        description=wire.DescriptionBody(
            hostname=node_name(record),
            platform=wire.PlatformBody(
                architecture=said.platform.architecture, os=said.platform.os
            ),
            resources=specs.spelled(said.resources),
            engine=wire.EngineBody(
                engine_version=said.engine_version,
                labels=said.engine_labels,
                plugins=[wire.PluginBody(type=one.type, name=one.name) for one in said.plugins],
            ),
            tls_info=tls,
        ),
        status=wire.NodeStatusBody(
            state=record.status.state,
            message=record.status.message,
            addr=record.status.address,
        ),
        manager_status=_manager_status(record, state),
    )


def _manager_status(record: Node, state: State) -> wire.ManagerStatusBody | UnsetType:
    if record.manager is None:
        return UNSET
    return wire.ManagerStatusBody(
        leader=record.id == state.leader,
        reachability="reachable" if record.id in state.present else "unreachable",
        addr=record.manager.address,
    )


# ---------------------------------------------------------------- services


def service(
    record: Service, *, counts: Counts | None = None, defaults: bool = False
) -> wire.ServiceBody:
    body = wire.ServiceBody(
        **_head(record),
        spec=specs.service(record.spec, defaults=defaults),
        endpoint=_endpoint(record.endpoint),
    )
    if record.previous_spec is not None:
        body.previous_spec = specs.service(record.previous_spec)
    if (update := record.update_status) is not None:
        body.update_status = wire.UpdateStatusBody(
            state=update.state,
            started_at=rfc3339(update.started_at) if update.started_at else UNSET,
            completed_at=rfc3339(update.completed_at) if update.completed_at else UNSET,
            message=update.message,
        )
    if counts is not None:
        body.service_status = wire.ServiceStatusBody(
            running_tasks=counts.running,
            desired_tasks=counts.desired,
            completed_tasks=counts.completed,
        )
    if (job := record.job_status) is not None:
        body.job_status = wire.JobStatusBody(
            job_iteration=wire.ObjectVersion(index=job.iteration),
            last_execution=rfc3339(job.last_execution),
        )
    return body


def _endpoint(endpoint: Endpoint | None) -> wire.EndpointBody:
    if endpoint is None:
        return wire.EndpointBody(spec={})
    return wire.EndpointBody(
        spec=specs.spelled(endpoint.spec),
        ports=specs.each(endpoint.ports) or UNSET,
        virtual_ips=[
            wire.VirtualIp(network_id=one.network_id, addr=one.address)
            for one in endpoint.virtual_addresses
        ]
        or UNSET,
    )


# ---------------------------------------------------------------- tasks


class TaskPages:
    """Tasks of one answer. What tasks of one service share is spelled out once."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._specs: dict[tuple[str, int], tuple[object, wire.Spelled]] = {}
        self._networks: dict[str, wire.NetworkObject] = {}

    def body(self, record: Task) -> wire.TaskBody:
        status = record.status
        return wire.TaskBody(
            **_head(record),
            name=record.annotated_name,
            labels={},
            spec=self._spec(record),
            service_id=record.service_id,
            slot=record.slot or UNSET,
            node_id=record.node_id or UNSET,
            assigned_generic_resources=specs.each(record.generic_resources) or UNSET,
            status=wire.TaskStatusBody(
                timestamp=rfc3339(status.timestamp),
                state=status.state.word,
                message=status.message or UNSET,
                err=status.err or UNSET,
                container_status=wire.ContainerStatusBody(
                    container_id=status.container_id, pid=status.pid, exit_code=status.exit_code
                )
                if status.container_id
                else UNSET,
                port_status=wire.PortStatusBody(ports=specs.each(status.ports) or UNSET),
            ),
            desired_state=wanted_state(record).word,
            networks_attachments=list(self._attachments(record)) or UNSET,
            job_iteration=wire.ObjectVersion(index=record.job_iteration)
            if record.job_iteration is not None
            else UNSET,
        )

    def _spec(self, record: Task) -> wire.Spelled:
        key = (record.service_id, record.spec_version)
        known = self._specs.get(key)
        if known is None or known[0] != record.spec:
            known = self._specs[key] = (record.spec, specs.task(record.spec))
        return known[1]

    def _attachments(self, record: Task) -> Iterator[wire.AttachmentBody]:
        for place in record.attachments:
            found = self._network(place)
            if found is not None:
                yield wire.AttachmentBody(
                    network=found, addresses=[f"{place.ipv4}/{place.prefix}"] if place.ipv4 else []
                )

    def _network(self, place: TaskAttachment) -> wire.NetworkObject | None:
        if place.network_id not in self._networks:
            found = self._state.networks.get(place.network_id)
            if found is None:
                return None
            self._networks[place.network_id] = network_object(found)
        return self._networks[place.network_id]


def network_object(record: ClusterNetwork) -> wire.NetworkObject:
    """As it is shown inside of a task."""
    spec = record.spec
    asked: list[wire.Spelled] = [
        {"Subnet": one.subnet, "Gateway": one.gateway} for one in spec.ipam_configs
    ]
    given: list[wire.Spelled] = (
        [{"Subnet": record.subnet, "Gateway": record.gateway}] if record.subnet else asked
    )
    out: wire.Spelled = {
        "Name": spec.name,
        "Labels": spec.labels,
        "DriverConfiguration": {"Name": spec.driver, "Options": spec.options}
        if spec.options
        else {"Name": spec.driver},
        "IPAMOptions": {"Driver": {"Name": spec.ipam_driver or DEFAULT_IPAM}, "Configs": asked},
        "Scope": "swarm",
    }
    for name, value in (
        ("Internal", spec.internal),
        ("Attachable", spec.attachable),
        ("Ingress", spec.ingress),
        ("IPv6Enabled", spec.enable_ipv6),
    ):
        if value:
            out[name] = value
    options = {**spec.options, VNI_OPTION: str(record.vni)} if record.vni else spec.options
    return wire.NetworkObject(
        **_head(record),
        spec=out,
        driver_state={"Name": spec.driver, "Options": options},
        ipam_options={"Driver": {"Name": spec.ipam_driver or DEFAULT_IPAM}, "Configs": given},
    )
