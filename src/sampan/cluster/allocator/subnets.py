"""Subnets and VXLAN identifiers for networks. Pure.

A subnet out of the pool must lie beside everything: the other networks, and every route of every
member, because a container reaches the world by its host's routes. It also must not come back soon
after its network was removed, so the search starts after the last one given.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from sampan.cluster.records import Cluster, ClusterNetwork
from sampan.cluster.spec import VNI_OPTION

FIRST_VNI = 4096
LAST_VNI = (1 << 24) - 1

Net = ipaddress.IPv4Network


@dataclass(frozen=True, slots=True)
class SubnetRefused:
    """It cannot be allocated; ``why`` is for the user."""

    why: str


@dataclass(frozen=True, slots=True)
class ChosenSubnet:
    subnet: str
    gateway: str
    range: str = ""


@lru_cache(maxsize=4096)
def parsed(cidr: str) -> Net | None:
    """None: it is no IPv4 network (IPv6, or garbage)."""
    try:
        return ipaddress.IPv4Network(cidr, strict=False)
    except ValueError:
        return None


def choose_subnet(
    network: ClusterNetwork,
    others: Iterable[ClusterNetwork],
    cluster: Cluster,
    routes: Collection[Net],
    after: int = 0,
) -> ChosenSubnet | SubnetRefused:
    """The user's subnet if it is free, else one of the cluster's pool.

    Args:
        routes: of every member's host.
        after: number of the subnet given last; the search begins behind it, and comes around.
    """
    taken = [
        (net, other.name or other.id)
        for other in others
        if other.id != network.id and (net := parsed(other.subnet)) is not None
    ]
    for config in network.spec.ipam_configs:
        asked = parsed(config.subnet) if config.subnet else None
        if asked is None:
            continue
        for net, name in taken:
            if net.overlaps(asked):
                return SubnetRefused(
                    f"Pool overlaps with other one on this address space: {asked} meets {net} of "
                    f"network {name}"
                )
        gateway = config.gateway or str(asked.network_address + 1)
        return ChosenSubnet(str(asked), gateway, config.range)
    first_try: Net | None = None
    for subnet in _candidates(cluster):
        if any(net.overlaps(subnet) for net, _ in taken):
            continue
        if any(net.overlaps(subnet) for net in routes):
            continue
        if int(subnet.network_address) > after:
            return _chosen(subnet)
        if first_try is None:
            first_try = subnet
    if first_try is not None:
        return _chosen(first_try)
    return SubnetRefused(
        "no free subnet is left in the cluster's address pool "
        f"({', '.join(cluster.default_addr_pool)}): remove networks, or name a subnet (--subnet)"
    )


def _chosen(subnet: Net) -> ChosenSubnet:
    return ChosenSubnet(str(subnet), str(subnet.network_address + 1))


def _candidates(cluster: Cluster) -> Iterator[Net]:
    for pool in cluster.default_addr_pool:
        base = parsed(pool)
        if base is not None:
            yield from base.subnets(new_prefix=max(base.prefixlen, cluster.subnet_size))


def choose_vni(
    network: ClusterNetwork, others: Iterable[ClusterNetwork], after: int = 0
) -> int | SubnetRefused:
    """The user's identifier if it is free, else the next after the last one given."""
    used = {other.vni: other.name for other in others if other.vni and other.id != network.id}
    asked = network.spec.options.get(VNI_OPTION, "").split(",")[0].strip()
    if asked:
        if not asked.isdigit() or not 0 < int(asked) <= LAST_VNI:
            return SubnetRefused(f"invalid vxlan id {asked}: 1 to {LAST_VNI} is possible")
        if int(asked) in used:
            return SubnetRefused(f"vxlan id {asked} is in use by network {used[int(asked)]}")
        return int(asked)
    start = max([after, FIRST_VNI - 1, *used])
    for step in range(1, LAST_VNI - FIRST_VNI + 2):
        vni = FIRST_VNI + (start - FIRST_VNI + step) % (LAST_VNI - FIRST_VNI + 1)
        if vni not in used:
            return vni
    return SubnetRefused("no vxlan id is left: remove networks")
