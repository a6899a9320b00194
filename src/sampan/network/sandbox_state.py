"""What the network keeps in memory about each segment and each sandbox. No kernel, no waiting."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from sampan.errors import InvalidArgument
from sampan.network.contract import ContainerNet, Sandbox
from sampan.network.drivers.contract import Joined, NetworkCapabilities, NetworkDriver
from sampan.network.ipam import Address
from sampan.network.mac import checked_mac
from sampan.store.records import EndpointSettings, Network

OPTION_INTERFACE = "com.docker.network.endpoint.ifname"


@dataclass
class NetworkState:
    """A network and its driver."""

    network: Network
    driver: NetworkDriver | None = None
    """None: not found yet, as a plugin's after a restart of the daemon."""

    @property
    def capabilities(self) -> NetworkCapabilities:
        if self.driver is None:
            return NetworkCapabilities(scope=self.network.scope)
        return self.driver.capabilities

    @property
    def has_interfaces(self) -> bool:
        return self.capabilities.addresses != "none"

    def needs_egress(self, joined: Joined) -> bool:
        """Whether the endpoint's container needs another way out."""
        own = joined.needs_egress
        needs = self.capabilities.needs_egress if own is None else own
        return needs and not self.network.internal

    @property
    def answers(self) -> bool:
        """Whether names are answered on it: on every network but the predefined ones."""
        return not self.network.predefined and self.capabilities.names


@dataclass
class SandboxState:
    """A container's place: its endpoints by network id, in the order of attachment."""

    container: ContainerNet
    sandbox: Sandbox
    endpoints: dict[str, EndpointSettings] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Network id -> what it is called there."""
    default_route: str = ""
    """Network id."""
    egress: EndpointSettings | None = None
    """On the gateway's network, beside ``endpoints``; nobody is told of it."""
    inward: set[str] = field(default_factory=set)
    """Ids of networks that need the way out: by themselves they lead nowhere."""

    def ways(self) -> tuple[EndpointSettings, ...]:
        """Every endpoint, the way out too."""
        return (*self.endpoints.values(), *filter(None, (self.egress,)))

    def free_interface(self, chosen: str) -> str:
        """``chosen``, or the first free of eth0, eth1 ...

        Raises:
            InvalidArgument: it is taken or no name of an interface.
        """
        taken = {endpoint.interface for endpoint in self.endpoints.values()}
        if self.egress is not None:
            taken.add(self.egress.interface)
        if chosen:
            if chosen in taken or chosen == "lo" or len(chosen) > 15:
                raise InvalidArgument(f"interface name {chosen} is taken or too long")
            return chosen
        number = 0
        while f"eth{number}" in taken:
            number += 1
        return f"eth{number}"


def mac_of(wanted: str, address: Address | None, *, from_address: bool) -> str:
    """The MAC address of an endpoint.

    Args:
        from_address: every host reckons it from the address, whatever is wanted.

    Raises:
        InvalidArgument
    """
    if wanted and not from_address:
        return checked_mac(wanted)
    # Docker's way: the address says the MAC, so no neighbour's cache is ever wrong.
    return "02:42:" + (address.packed if address else secrets.token_bytes(4)).hex(":")
