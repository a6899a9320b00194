"""Which subnets the host itself uses. Blocking."""

from __future__ import annotations

from sampan.kernel.netlink import Rtnetlink
from sampan.network.subnets import Taken


def subnets_in_use(host: Rtnetlink, *, but: str = "") -> list[Taken]:
    """The host's routes and addresses, but for those of the interface ``but``."""
    names = {link.index: link.name for link in host.links()}
    found = []
    for route in host.routes():
        name = names.get(route.interface, "?")
        if route.destination.prefixlen and name != but:
            way = f" via {route.gateway}" if route.gateway else ""
            found.append(
                Taken(route.destination, f"the host's route {route.destination}{way} dev {name}")
            )
    for index, address in host.addresses():
        name = names.get(index, "?")
        if name != but:
            found.append(Taken(address.network, f"the network of the host's {name}"))
    return found
