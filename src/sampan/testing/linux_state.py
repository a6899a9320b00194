"""What one network namespace of ``FakeLinux`` holds. Plain data, and what follows from it."""

from __future__ import annotations

import errno
import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def refused(number: int) -> OSError:
    """What the kernel says with this error number."""
    return OSError(number, os.strerror(number))


@dataclass(eq=False)
class FakeLink:
    index: int
    name: str
    kind: str = ""
    mac: str = "00:00:00:00:00:00"
    mtu: int = 1500
    up: bool = False
    group: int = 0
    master: int = 0
    lower: FakeLink | None = None
    """The link that it is on top of, in whatever namespace."""
    uppers: list[FakeLink] = field(default_factory=list)
    """Those on top of it."""
    space: Space | None = None
    """Where it is."""
    flags: dict[int, bool] = field(default_factory=dict)
    """IFLA_BRPORT_..., of a bridge's port."""
    vni: int = 0
    local: str = ""
    port: int = 0
    peer: tuple[Space, int] | None = None
    """The other end of a veth pair."""


@dataclass(frozen=True)
class FakeRoute:
    table: int
    destination: ipaddress.IPv4Network | ipaddress.IPv6Network
    interface: int
    gateway: str = ""


@dataclass
class FakeTable:
    """Of nftables."""

    sets: dict[str, dict[str, str]] = field(default_factory=dict)
    """Name -> elements; of a map with their values, of a set with ""."""
    kinds: dict[str, str] = field(default_factory=dict)
    """Set or map -> how it was declared."""
    chains: dict[str, str] = field(default_factory=dict)
    """Name -> type, hook and policy; "" for one that is only jumped to."""
    rules: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """Chain -> (handle, rule)."""


@dataclass
class Space:
    """A network namespace."""

    name: str
    links: dict[int, FakeLink] = field(default_factory=dict)
    addresses: list[tuple[int, Interface]] = field(default_factory=list)
    routes: list[FakeRoute] = field(default_factory=list)
    """Those that were asked for; what addresses bring with them is in ``every_route``."""
    neighbours: dict[tuple[int, str], str] = field(default_factory=dict)
    """(interface, IPv4 address) -> MAC."""
    forwarding: dict[tuple[int, str], str] = field(default_factory=dict)
    """(tunnel, MAC) -> host."""
    ports: set[tuple[int, str]] = field(default_factory=set)
    """(bridge port, MAC): who is behind it."""
    rules: list[tuple[int, int, int]] = field(default_factory=list)
    """(mark, table, priority)."""
    tables: dict[tuple[str, str], FakeTable] = field(default_factory=dict)
    """(family, name) -> table of nftables."""
    sysctls: dict[str, str] = field(default_factory=dict)
    """Only those that were written."""
    _last_index: int = 1

    def __post_init__(self) -> None:
        self.links[1] = FakeLink(1, "lo", mtu=65536)

    def index_of(self, name: str) -> int:
        return next((link.index for link in self.links.values() if link.name == name), 0)

    def named(self, name: str) -> FakeLink:
        """Raises OSError: ENODEV."""
        index = self.index_of(name)
        if not index:
            raise refused(errno.ENODEV)
        return self.links[index]

    def enter(self, link: FakeLink) -> FakeLink:
        """Give a link its index here."""
        self._last_index += 1
        link.index = self._last_index
        self.links[link.index] = link
        link.space = self
        return link

    def forget(self, index: int) -> FakeLink:
        """Everything of a link but the link: it goes, or to another namespace."""
        link = self.links.pop(index)
        self.addresses = [(at, a) for at, a in self.addresses if at != index]
        self.routes = [r for r in self.routes if r.interface != index]
        self.neighbours = {k: v for k, v in self.neighbours.items() if k[0] != index}
        self.forwarding = {k: v for k, v in self.forwarding.items() if k[0] != index}
        self.ports = {k for k in self.ports if k[0] != index}
        for key in [k for k in self.sysctls if k.split("/")[3:4] == [link.name]]:
            del self.sysctls[key]
        for other in self.links.values():
            if other.master == index:
                other.master, other.flags = 0, {}
        return link

    def drop_link(self, index: int) -> None:
        """Delete a link, with its other end and what is on top of it."""
        if index not in self.links:
            return
        for upper in list(self.links[index].uppers):
            if upper.space is not None:
                upper.space.drop_link(upper.index)
        link = self.forget(index)
        if link.lower is not None:
            link.lower.uppers.remove(link)
        if link.peer is not None:
            space, other = link.peer
            if other in space.links:
                space.forget(other)

    def connected(self) -> Iterator[FakeRoute]:
        """Routes that addresses of interfaces that are up bring with them."""
        for index, address in self.addresses:
            if self.links[index].up and address.network.prefixlen < address.max_prefixlen:
                yield FakeRoute(254, address.network, index)

    def every_route(self) -> list[FakeRoute]:
        return [*self.connected(), *self.routes]

    def reaches(self, gateway: Address, interface: int) -> bool:
        """Whether a gateway is a neighbour on the interface."""
        return any(
            route.interface == interface and gateway in route.destination
            for route in self.connected()
        )

    @property
    def empty(self) -> bool:
        """Whether it is as it was made: its loopback, and nothing else."""
        return (
            [link.name for link in self.links.values()] == ["lo"]
            and not self.addresses
            and not self.routes
            and not self.neighbours
            and not self.forwarding
            and not self.rules
            and not self.ports
        )
