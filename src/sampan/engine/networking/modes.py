"""Which networks a container is on: network modes, and the endpoints asked for."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sampan.engine.cluster_networks import SCOPE, ClusterNetworks
from sampan.engine.container_index import ContainerIndex
from sampan.engine.contract import NotRunning
from sampan.engine.spec.validate_names import (
    validate_address,
    validate_aliases,
    validate_links,
)
from sampan.errors import InvalidArgument
from sampan.lookup import by_prefix
from sampan.network.contract import NoSuchNetwork
from sampan.network.mac import checked_mac
from sampan.store.contract import Store
from sampan.store.records import Container, EndpointSettings, HostConfig, Network

WITHOUT_SANDBOX = ("host", "container")


def kind_of(host: HostConfig) -> str:
    """``host``, ``none``, ``container``, or ``networks``: the container is on networks."""
    mode = host.network_mode
    if mode in ("host", "none"):
        return mode
    return "container" if mode.startswith("container:") else "networks"


def find_network(store: Store, ref: str) -> Network:
    """By name, id, or unique prefix of an id.

    Raises:
        NoSuchNetwork; InvalidArgument: several ids begin with ``ref``.
    """
    if (found := store.networks.get(ref)) is not None:
        return found
    for network in store.networks.values():
        if network.name == ref:
            return network
    return by_prefix(
        store.networks,
        ref,
        missing=lambda: NoSuchNetwork(ref),
        ambiguous=lambda number: InvalidArgument(
            f"network {ref} is ambiguous ({number} matches found on ID)"
        ),
    )


async def find_anywhere(
    store: Store, cluster: ClusterNetworks, ref: str, *, allocated: bool = False
) -> Network:
    """The network of this host, else of its cluster, that a container may be put on.

    Args:
        allocated: the cluster itself puts it there.

    Raises:
        NoSuchNetwork, NotAttachable, Unavailable; InvalidArgument: ambiguous.
    """
    try:
        network = find_network(store, ref)
    except NoSuchNetwork:
        if allocated:
            raise
        return await cluster.resolve(ref)
    if network.scope == SCOPE and not allocated:
        # What is here under that name may be a leftover of a network that the cluster has removed.
        return await cluster.resolve(ref)
    return network


def normal_mode(host: HostConfig, containers: ContainerIndex) -> HostConfig:
    """``container:NAME`` becomes ``container:ID``: names change, ids do not."""
    mode = host.network_mode or "default"
    if mode.startswith("container:"):
        ref = mode.removeprefix("container:")
        if not ref:
            raise InvalidArgument("invalid container format container:<name|id>")
        mode = f"container:{containers.get(ref).id}"
    return msgspec.structs.replace(host, network_mode=mode)


def main_network(host: HostConfig) -> str:
    """Name or id of the network that the mode stands for."""
    return {"default": "bridge", "": "bridge"}.get(host.network_mode, host.network_mode)


def networks_named(host: HostConfig, wanted: Mapping[str, EndpointSettings]) -> list[str]:
    """Names or ids of all networks that a container is to be on, the mode's first."""
    if kind_of(host) == "container":
        return []
    main = main_network(host)
    return [main, *(ref for ref in wanted if ref not in ("default", main))]


def endpoints_of(
    host: HostConfig, wanted: Mapping[str, EndpointSettings], networks: Mapping[str, Network]
) -> dict[str, EndpointSettings]:
    """Endpoints by network name, the mode's network first.

    Args:
        networks: what each of ``networks_named`` stands for.

    Raises:
        InvalidArgument.
    """
    kind, main = kind_of(host), main_network(host)
    asked: dict[str, EndpointSettings] = {}
    for ref in networks_named(host, wanted):
        network = networks[ref]
        settings = wanted.get(ref)
        if settings is None and ref == main:
            settings = wanted.get("default")
        if settings is None and network.name in asked:
            continue
        checked = bound_to(network, settings)
        if network.name not in asked or settings is not None:
            asked[network.name] = checked
    if kind in ("host", "none") and len(asked) > 1:
        raise InvalidArgument(
            "conflicting options: cannot attach both user-defined and non-user-defined "
            "network-modes"
        )
    return asked


def bound_to(network: Network, settings: EndpointSettings | None) -> EndpointSettings:
    """``settings`` for ``network``, checked.

    Raises:
        InvalidArgument: an address or alias that this network does not give.
    """
    settings = settings or EndpointSettings(network_id=network.id, network_name=network.name)
    validate_aliases(settings.aliases)
    validate_links(settings.links)
    for wanted, version in ((settings.ipv4_wanted, 4), (settings.ipv6_wanted, 6)):
        if wanted:
            validate_address(wanted, version)
    if settings.mac_wanted:
        checked_mac(settings.mac_wanted)
    if network.predefined and (settings.ipv4_wanted or settings.ipv6_wanted):
        raise InvalidArgument(
            "invalid config for network "
            f"{network.name}: user specified IP address is supported on user defined networks only"
        )
    if network.predefined and settings.aliases:
        raise InvalidArgument(
            f"invalid config for network {network.name}: network-scoped aliases are only supported "
            "for user-defined networks"
        )
    allocated = settings.cluster == "allocated"
    return msgspec.structs.replace(
        settings,
        network_id=network.id,
        network_name=network.name,
        cluster="allocated" if allocated else "requested" if network.scope == "swarm" else "",
    )


def namespace_holder(container: Container, containers: ContainerIndex) -> Container:
    """The container whose network namespace is joined, links of ``container:`` followed.

    Raises:
        NoSuchContainer, NotRunning.
    """
    seen = {container.id}
    while kind_of(container.spec.host) == "container":
        container = containers.get(container.spec.host.network_mode.removeprefix("container:"))
        if container.id in seen:
            raise InvalidArgument("containers join each other's network namespace in a circle")
        seen.add(container.id)
        if not container.running:
            raise NotRunning(container.id)
    return container
