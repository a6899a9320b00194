"""The cluster's networks as the API shows them, beside the host's own."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET

from sampan.api.timestamps import rfc3339
from sampan.api.types import networks as wire
from sampan.cluster.control.networks import tasks_on
from sampan.cluster.find import node_name
from sampan.cluster.model import State
from sampan.cluster.records import ClusterNetwork, Service, Task
from sampan.cluster.spec import VNI_OPTION, IpamConfig, NetworkSpec
from sampan.errors import InvalidArgument
from sampan.network.contract import CLUSTER_DRIVER, DEFAULT_IPAM
from sampan.network.overlay.contract import DataPlaneView


def network_out(record: ClusterNetwork) -> wire.NetworkBody:
    """Without what hangs on it."""
    spec = record.spec
    pools = [
        wire.IpamConfig(
            subnet=one.subnet or UNSET,
            ip_range=one.range or UNSET,
            gateway=one.gateway or UNSET,
            auxiliary_addresses=one.auxiliary_addresses or UNSET,
        )
        for one in spec.ipam_configs
    ]
    if record.subnet:
        first = pools[0] if pools else wire.IpamConfig()
        first.subnet, first.gateway = record.subnet, record.gateway or UNSET
        pools = [first, *pools[1:]]
    options = {**spec.options, VNI_OPTION: str(record.vni)} if record.vni else spec.options
    return wire.NetworkBody(
        name=spec.name,
        id=record.id,
        created=rfc3339(record.created_at),
        scope="swarm",
        driver=spec.driver,
        enable_ipv4=spec.enable_ipv4,
        enable_ipv6=spec.enable_ipv6,
        ipam=wire.Ipam(driver=spec.ipam_driver or DEFAULT_IPAM, options=None, config=pools),
        internal=spec.internal,
        attachable=spec.attachable,
        ingress=spec.ingress,
        config_from=wire.ConfigReference(),
        config_only=False,
        containers={},
        options=dict(options),
        labels=spec.labels,
    )


def peers(state: State, record: ClusterNetwork) -> list[wire.Peer]:
    """Nodes that have a part of the network, by their tunnels' ends."""
    found: dict[str, wire.Peer] = {}
    ids = {task.node_id for task in tasks_on(state, record.id)}
    for node in state.nodes.values():
        if node.id in ids or (record.spec.ingress and node.status.state == "ready"):
            address = node.data_path_address or node.status.address
            found[node.id] = wire.Peer(name=node.id[:12], ip=address)
    return [found[id] for id in sorted(found)]


def peers_seen(view: DataPlaneView, network_id: str) -> list[wire.Peer]:
    """The same, as far as a node knows it that is no manager."""
    found: dict[str, str] = {}
    for network in view.networks:
        if network.id == network_id:
            found.update((one.node_id, one.node_address) for one in network.members)
            if network.ingress:
                found.update((one.node_id, one.node_address) for one in view.ingress_nodes)
    return [wire.Peer(name=id[:12], ip=found[id]) for id in sorted(found)]


def services(state: State, record: ClusterNetwork) -> dict[str, wire.NetworkService]:
    """By name: the virtual address, and the tasks with theirs. For ``verbose``."""
    found = {
        service.name: wire.NetworkService(
            vip=_virtual_ip(service, record.id),
            ports=[],
            local_lb_index=0,
            tasks=[],
        )
        for service in state.services.values()
        if any(one.target == record.id for one in service.spec.task_template.networks)
        or (record.spec.ingress and _virtual_ip(service, record.id))
    }
    for task in sorted(tasks_on(state, record.id), key=lambda task: (task.slot, task.id)):
        if task.service_name in found:
            found[task.service_name].tasks += _tasks(state, task, record.id)
    return found


def _virtual_ip(service: Service, network_id: str) -> str:
    addresses = service.endpoint.virtual_addresses if service.endpoint is not None else ()
    for one in addresses:
        if one.network_id == network_id:
            return one.address.partition("/")[0]
    return ""


def _tasks(state: State, task: Task, network_id: str) -> Iterator[wire.NetworkTask]:
    node = state.nodes.get(task.node_id)
    host = (node.data_path_address or node.status.address) if node is not None else ""
    for place in task.attachments:
        if place.network_id == network_id:
            yield wire.NetworkTask(
                name=f"{task.service_name}.{task.slot or (node_name(node) if node else '')}"
                f".{task.id}",
                endpoint_id=task.id,
                endpoint_ip=place.ipv4,
                info={"Host IP": host},
            )


def wanted(body: wire.CreateBody) -> NetworkSpec:
    """A network of the cluster as the client asked for it.

    Raises:
        InvalidArgument.
    """
    if body.config_only or (body.config_from and body.config_from.network):
        raise InvalidArgument(
            "configuration-only networks are of one host: leave ConfigOnly and ConfigFrom out"
        )
    ipam = body.ipam or wire.Ipam()
    return NetworkSpec(
        name=body.name or "",
        labels=dict(body.labels or {}),
        driver=body.driver or CLUSTER_DRIVER,
        options=dict(body.options or {}),
        internal=bool(body.internal),
        attachable=bool(body.attachable),
        ingress=bool(body.ingress),
        enable_ipv4=body.enable_ipv4 is not False,
        enable_ipv6=bool(body.enable_ipv6),
        ipam_driver=ipam.driver or DEFAULT_IPAM,
        ipam_configs=tuple(
            IpamConfig(
                subnet=_text(one.subnet),
                range=_text(one.ip_range),
                gateway=_text(one.gateway),
                auxiliary_addresses=dict(one.auxiliary_addresses)
                if isinstance(one.auxiliary_addresses, dict)
                else {},
            )
            for one in ipam.config or ()
        ),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
