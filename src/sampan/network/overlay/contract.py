"""What a node is told of the cluster's networks, and what its data plane does with it.

    OverlayNetwork ──1:n── Member      a task's place on it: address, node, name, whether it serves
          └───────1:n── ServiceEntry   a service's name, virtual address and members

The view of a node is complete for the networks that its own tasks use, and says nothing of others.
It is data: ``apply`` compares it with what the kernel was told before and changes only that, so a
manager's difference of one task costs one element of a map, one forwarding entry, one name.

Nothing here waits for a manager: what was applied goes on without one, across restarts of the
daemon too.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec


class View(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base: immutable, comparable, compact on the wire."""


class OverlayMember(View, frozen=True, kw_only=True, omit_defaults=True):
    """A task's (or an attached container's) endpoint on one network.

    Its MAC address is 02:42 and the four bytes of its IPv4 address, everywhere.
    """

    task_id: str
    task_name: str
    """``web.1.<task id>``: resolves to this member alone."""
    service_id: str
    ipv4: str
    node_id: str
    node_address: str
    """IPv4 of the node's end of the VXLAN tunnel."""
    hostname: str = ""
    aliases: tuple[str, ...] = ()
    """Names that resolve to this member, beside the service's own."""
    serving: bool = False
    """It runs (healthy, listening) and is not asked to stop: traffic and names may go to it.
    A member that does not serve is reachable by address only."""


class PublishedTarget(View, frozen=True, kw_only=True, omit_defaults=True):
    """A port of the ingress mesh."""

    protocol: Literal["tcp", "udp", "sctp"]
    published: int
    target: int


class ServiceEntry(View, frozen=True, kw_only=True, omit_defaults=True):
    """A service on one network."""

    service_id: str
    name: str
    aliases: tuple[str, ...] = ()
    vip: str = ""
    """Virtual IPv4 address, without prefix; empty with ``dnsrr``: the name then resolves to the
    members."""
    ports: tuple[PublishedTarget, ...] = ()
    """On the ingress network only: what every node's host answers for."""


class OverlayNetwork(View, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    name: str
    vni: int
    """VXLAN network identifier, unique in the cluster."""
    subnet: str
    """CIDR, IPv4."""
    gateway: str = ""
    """Reserved, nobody answers for it."""
    mtu: int = 0
    """Of the containers' interfaces; 0: the tunnel's, by itself."""
    internal: bool = False
    ingress: bool = False
    members: tuple[OverlayMember, ...] = ()
    services: tuple[ServiceEntry, ...] = ()


class IngressNode(View, frozen=True, kw_only=True, omit_defaults=True):
    """A node's own place on the ingress network: where the mesh comes in."""

    node_id: str
    ipv4: str
    """Its address on the ingress network, given by the allocator; the MAC follows as above."""
    node_address: str


class DataPlaneView(View, frozen=True, kw_only=True, omit_defaults=True):
    """All that one node's data plane knows."""

    node_id: str = ""
    node_address: str = ""
    """This node's end of the tunnels (data path address)."""
    vxlan_port: int = 4789
    networks: tuple[OverlayNetwork, ...] = ()
    ingress_nodes: tuple[IngressNode, ...] = ()


class Overlay(Protocol):
    """The node's data plane. All methods are safe to repeat."""

    async def apply(self, view: DataPlaneView) -> None:
        """Make the kernel and the DNS true to ``view``: tunnels, forwarding and neighbour entries,
        virtual addresses in the namespaces of local containers, the mesh's rules, names.

        Networks that the view no longer has lose their tunnel once no local container is on them.

        Raises:
            Unavailable: the kernel refused; what could be done was done, and the next call (the
                agent repeats it with backoff) tries the rest again.
        """
        ...

    @property
    def applied(self) -> DataPlaneView:
        """The last view that was applied as a whole; survives a restart of the daemon."""
        ...

    async def leave(self) -> None:
        """The host leaves the cluster: every tunnel, rule, map and name of it goes."""
        ...
