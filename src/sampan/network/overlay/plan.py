"""What a view means for the kernel and for the names. Pure.

view ─┬─ Wire      each network: which address lives on which host
      ├─ Balance   virtual address -> the members that serve, for every container's namespace
      ├─ Mesh      published port -> (members that serve, their port), for the host
      └─ Zone      name -> addresses, address -> name
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sampan.network.contract import Zone
from sampan.network.overlay.contract import DataPlaneView, OverlayMember, OverlayNetwork

Balance = dict[str, tuple[str, ...]]
"""Virtual address -> addresses of the members that take traffic, in order."""
Port = tuple[str, int]
"""(protocol, published port)"""


@dataclass(frozen=True, slots=True)
class Backends:
    """Where a published port leads."""

    addresses: tuple[str, ...]
    target: int


Mesh = dict[Port, Backends]


@dataclass(frozen=True, slots=True)
class PeerLink:
    """One network as this node's bridge must know it."""

    remote: dict[str, str]
    """Address -> host, of those that live elsewhere."""
    local: frozenset[str]
    """Addresses of those that live here."""


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """Everything about one network."""

    network: OverlayNetwork
    wire: PeerLink
    balance: Balance
    mesh: Mesh
    zone: Zone

    @property
    def members(self) -> frozenset[str]:
        return frozenset(self.wire.remote) | self.wire.local

    @property
    def taking(self) -> frozenset[str]:
        """Addresses that traffic may be sent to."""
        found = {a for addresses in self.balance.values() for a in addresses}
        found |= {a for backends in self.mesh.values() for a in backends.addresses}
        return frozenset(found)


class Planner:
    """Remembers the last plan of each network: what has not changed is not thought of again."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[object, NetworkPlan]] = {}

    def plan(self, view: DataPlaneView) -> dict[str, NetworkPlan]:
        """By network id."""
        found: dict[str, tuple[object, NetworkPlan]] = {}
        for network in view.networks:
            nodes = view.ingress_nodes if network.ingress else ()
            key = (view.node_id, view.node_address, view.vxlan_port, network, nodes)
            before = self._last.get(network.id)
            if before is not None and before[0] == key:
                found[network.id] = before
            else:
                found[network.id] = (key, _plan(view, network))
        self._last = found
        return {network_id: plan for network_id, (_, plan) in found.items()}


def _plan(view: DataPlaneView, network: OverlayNetwork) -> NetworkPlan:
    remote = {}
    local = set()
    serving: dict[str, list[OverlayMember]] = {}
    for member in network.members:
        if member.node_id == view.node_id:
            local.add(member.ipv4)
        else:
            remote[member.ipv4] = member.node_address
        if member.serving:
            serving.setdefault(member.service_id, []).append(member)
    if network.ingress:
        for node in view.ingress_nodes:
            if node.node_id != view.node_id:
                remote[node.ipv4] = node.node_address
    taking = {
        service_id: tuple(sorted((m.ipv4 for m in members), key=_order))
        for service_id, members in serving.items()
    }
    mesh: Mesh = {
        (port.protocol, port.published): Backends(taking.get(service.service_id, ()), port.target)
        for service in network.services
        for port in service.ports
    }
    balance = {s.vip: taking.get(s.service_id, ()) for s in network.services if s.vip}
    return NetworkPlan(
        network,
        PeerLink(remote, frozenset(local)),
        # On the ingress network nobody asks for a service by its virtual address.
        {} if network.ingress else balance,
        mesh if network.ingress else {},
        Zone() if network.ingress else _zone(network, taking),
    )


def _zone(network: OverlayNetwork, taking: Mapping[str, tuple[str, ...]]) -> Zone:
    forward: dict[str, list[str]] = {}
    reverse: dict[str, str] = {}

    def call(name: str, addresses: Iterable[str]) -> None:
        if name:
            known = forward.setdefault(name.lower(), [])
            known += [address for address in addresses if address not in known]

    for member in network.members:
        if member.task_name:
            reverse[member.ipv4] = member.task_name
        if member.serving:
            for name in (member.task_name, member.hostname, *member.aliases):
                call(name, (member.ipv4,))
    for service in network.services:
        members = taking.get(service.service_id, ())
        for name in (service.name, *service.aliases):
            call(name, (service.vip,) if service.vip else members)
            # a stack's services know each other by their aliases
            call(f"tasks.{name}", members)
        if service.vip and service.name:
            reverse[service.vip] = service.name
    return Zone({name: tuple(known) for name, known in forward.items() if known}, reverse)


def _order(address: str) -> tuple[int, ...]:
    return tuple(int(part) for part in address.split("."))


@dataclass(frozen=True, slots=True)
class Departed:
    """Addresses that connections may still lead to, and should not."""

    draining: frozenset[str] = frozenset()
    """They took traffic before and do not now: connections that live may end in peace."""
    gone: frozenset[str] = frozenset()
    """They were members and are not."""

    def __bool__(self) -> bool:
        return bool(self.draining or self.gone)

    def and_then(self, more: Departed, now: NetworkPlan) -> Departed:
        """Both, but for who has come back."""
        gone = (self.gone | more.gone) - now.members
        return Departed((self.draining | more.draining) - now.taking - gone, gone)


def departed(old: Mapping[str, NetworkPlan], new: Mapping[str, NetworkPlan]) -> dict[str, Departed]:
    """By network; only where there are any. A network that has gone has gone with all of them."""
    found = {}
    for network_id, before in old.items():
        after = new.get(network_id)
        if after is None or after is before:
            continue
        left = Departed(
            (before.taking - after.taking) & after.members, before.members - after.members
        )
        if left:
            found[network_id] = left
    return found
