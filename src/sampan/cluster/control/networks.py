"""The cluster's networks. Their addresses are the allocator's to give."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from msgspec import structs

from sampan.cluster.contract import REFERENCES, Draft
from sampan.cluster.control.names import check_dns_name
from sampan.cluster.control.references import LocalNetworks, no_local_networks, users_of_network
from sampan.cluster.errors import Exists, NotDone, Precondition, Refused
from sampan.cluster.find import find
from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.model import State
from sampan.cluster.records import ClusterNetwork, Task, new_id
from sampan.cluster.spec import MTU_OPTION, VNI_OPTION, IpamConfig, NetworkSpec
from sampan.cluster.states import TaskState
from sampan.errors import Conflict
from sampan.network.contract import CLUSTER_DRIVER, DEFAULT_IPAM, PREDEFINED

NETWORKS = "networks"
INGRESS = "ingress"
DRIVERS = (CLUSTER_DRIVER,)
"""Those whose subnets, addresses and VXLAN ids the allocator gives."""

MTUS = range(68, 65536)
VNIS = range(1, 1 << 24)

Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network


def make_ingress() -> ClusterNetwork:
    """The network of the mesh, as every new cluster has it. The allocator gives it the first
    subnet of the pool."""
    return ClusterNetwork(id=new_id(), spec=NetworkSpec(name=INGRESS, ingress=True))


async def create(
    parts: ManagerParts, spec: NetworkSpec, *, local: LocalNetworks = no_local_networks
) -> str:
    """Returns the id.

    Raises:
        Refused, NotDone, Exists, Conflict (a name that this host's networks have).
    """
    check_dns_name(spec.name)
    if spec.name in PREDEFINED:
        raise Refused(f"operation is not permitted on predefined {spec.name} network")
    spec = structs.replace(spec, driver=spec.driver or CLUSTER_DRIVER)
    if spec.driver not in DRIVERS:
        raise NotDone(
            f"a network of the whole swarm with the driver {spec.driver}: it is done by the driver "
            "overlay"
        )
    if spec.enable_ipv6:
        raise NotDone("IPv6 on an overlay network: create it without --ipv6")
    if not spec.enable_ipv4:
        raise Refused("IPv4 cannot be disabled on an overlay network")
    if spec.ipam_driver not in ("", DEFAULT_IPAM):
        raise NotDone(f"the IPAM driver {spec.ipam_driver}: there is the default one")
    if spec.options.get("encrypted", "false").lower() != "false":
        # Never in clear what was asked to be encrypted.
        raise NotDone(
            "encryption of an overlay network: create it without --opt encrypted, on a LAN that "
            "you trust"
        )
    _check_number(spec, MTU_OPTION, MTUS)
    _check_number(spec, VNI_OPTION, VNIS)
    if spec.ingress and spec.attachable:
        raise Refused("ingress network cannot be attachable")
    subnets = check_ipam(spec.ipam_configs)
    record = ClusterNetwork(id=new_id(), spec=spec)

    def draft(draft: Draft) -> None:
        draft.serialize(NETWORKS)
        here = local(spec.name)
        if draft.state.named(ClusterNetwork, spec.name) is not None or here is not None:
            raise Conflict(f"network with name {spec.name} already exists")
        if spec.ingress:
            _check_no_ingress(draft.state)
        for subnet in subnets:
            _check_free(draft.state, subnet)
        draft.put(record)

    await parts.store.update(draft)
    return record.id


def _check_number(spec: NetworkSpec, option: str, among: range) -> None:
    """Raises Refused: the option is given, and not as one number ``among`` those possible."""
    value = spec.options.get(option, "")
    if value and not (value.isdecimal() and int(value) in among):
        raise Refused(
            f"network {spec.name}: invalid value {value} of {option}: a number from {among[0]} to "
            f"{among[-1]}"
        )


def check_ipam(configs: Iterable[IpamConfig]) -> list[Subnet]:
    """The subnets that were asked for.

    Raises:
        Refused.
    """
    subnets: list[Subnet] = []
    for config in configs:
        if not config.subnet:
            if config.range or config.gateway:
                raise Refused("ipam configuration: a range or a gateway needs a subnet")
            continue
        subnet = _network("subnet", config.subnet)
        if subnet.version != 4:
            raise NotDone(f"the subnet {config.subnet}: overlay networks have IPv4")
        if subnet.prefixlen > 29:
            raise Refused(f"ipam configuration: the subnet {config.subnet} has too few addresses")
        if config.range and not _within(_network("range", config.range), subnet):
            raise Refused(
                f"ipam configuration: range {config.range} is not in subnet {config.subnet}"
            )
        for name, address in (("gateway", config.gateway), *config.auxiliary_addresses.items()):
            if address and _address(name, address) not in subnet:
                raise Refused(
                    f"ipam configuration: {name} {address} is not in subnet {config.subnet}"
                )
        if any(subnet.overlaps(other) for other in subnets):
            raise Refused(f"ipam configuration: subnet {config.subnet} overlaps with another")
        subnets.append(subnet)
    if len(subnets) > 1:
        raise NotDone("several subnets of one overlay network: choose one that is large enough")
    return subnets


def _network(what: str, text: str) -> Subnet:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise Refused(f"ipam configuration: invalid {what} {text}") from error


def _address(what: str, text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text.partition("/")[0])
    except ValueError as error:
        raise Refused(f"ipam configuration: invalid {what} {text}") from error


def _within(inner: Subnet, outer: Subnet) -> bool:
    return inner.version == outer.version and inner[0] in outer and inner[-1] in outer


def _check_no_ingress(state: State) -> None:
    for network in state.networks.values():
        if network.spec.ingress:
            raise Exists(f"ingress network ({network.id}) is already present")


def _check_free(state: State, subnet: Subnet) -> None:
    for network in state.networks.values():
        for taken in (network.subnet, *(config.subnet for config in network.spec.ipam_configs)):
            if taken and ipaddress.ip_network(taken, strict=False).overlaps(subnet):
                raise Refused(
                    f"invalid pool request: Pool overlaps with other one on this address space: "
                    f"{subnet} and network {network.name} ({taken})"
                )


async def remove(parts: ManagerParts, ref: str) -> ClusterNetwork:
    """Returns what was removed.

    Raises:
        NoSuchObject, Precondition (in use).
    """

    def draft(draft: Draft) -> ClusterNetwork:
        network = find(draft.state, ClusterNetwork, ref)
        draft.serialize(REFERENCES)
        users = users_of_network(draft.state, network)
        if users and network.spec.ingress:
            raise Precondition(
                f"ingress network cannot be removed because service {users[0].name} depends on it"
            )
        if users:
            names = ", ".join(service.name for service in users)
            plural = "s" if len(users) > 1 else ""
            raise Precondition(f"network {network.name} is in use by service{plural} {names}")
        for task in tasks_on(draft.state, network.id):
            if _stays(draft.state, task):
                raise Precondition(f"network {network.name} is in use by task {task.id}")
        draft.delete(network)
        return network

    return await parts.store.update(draft)


def _stays(state: State, task: Task) -> bool:
    """Not on its way out. ``stack rm`` removes services and then at once their networks: it does
    not wait for tasks to stop, nor for an orchestrator to have told them to."""
    if task.service_id and task.service_id not in state.services:
        return False
    return task.desired <= TaskState.RUNNING


def tasks_on(state: State, network_id: str) -> list[Task]:
    """Tasks with a place on the network that have not ended."""
    return [
        task
        for task in state.tasks.values()
        if task.status.state <= TaskState.RUNNING
        and any(place.network_id == network_id for place in task.attachments)
    ]
