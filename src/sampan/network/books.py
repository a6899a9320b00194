"""What the network keeps in memory about each segment and each sandbox. No kernel, no waiting."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from msgspec.structs import replace

from sampan.errors import InvalidArgument
from sampan.network.contract import BadAddress, ContainerNet, Sandbox
from sampan.network.ipam import Address, Subnetwork, parse_address
from sampan.store.records import EndpointSettings, Network

_OPTION_INTERFACE = "com.docker.network.endpoint.ifname"


@dataclass
class Segment:
    """A network and who has which of its addresses."""

    network: Network
    pools: list[Subnetwork] = field(default_factory=list)

    @classmethod
    def of(cls, network: Network) -> Segment:
        return cls(network, [Subnetwork(pool) for pool in network.pools])

    def of_version(self, version: int) -> list[Subnetwork]:
        return [pool for pool in self.pools if pool.subnet.version == version]

    def holding(self, address: Address) -> Subnetwork | None:
        return next((pool for pool in self.pools if address in pool), None)


@dataclass
class SandboxBook:
    """A container's place: its endpoints by network id, in the order of attachment."""

    container: ContainerNet
    sandbox: Sandbox
    endpoints: dict[str, EndpointSettings] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Network id -> what it is called there."""
    default_route: str = ""
    """Network id."""
    way_out: EndpointSettings | None = None
    """On the gateway's network, beside ``endpoints``; nobody is told of it."""

    def free_interface(self, wanted: EndpointSettings) -> str:
        taken = {endpoint.interface for endpoint in self.endpoints.values()}
        if self.way_out is not None:
            taken.add(self.way_out.interface)
        chosen = wanted.driver_opts.get(_OPTION_INTERFACE, "")
        if chosen:
            if chosen in taken or chosen == "lo" or len(chosen) > 15:
                raise InvalidArgument(f"interface name {chosen} is taken or too long")
            return chosen
        number = 0
        while f"eth{number}" in taken:
            number += 1
        return f"eth{number}"


def is_user_defined(network: Network) -> bool:
    """Whether names are answered on it: on every network but the predefined ones."""
    return not network.predefined


def assign(
    segment: Segment, book: SandboxBook, wanted: EndpointSettings
) -> tuple[EndpointSettings, bool]:
    """Addresses, MAC, interface name and id for a new endpoint; whether to wait for cooling.

    On failure nothing is taken.

    Raises:
        AddressTaken, NoAddressLeft, BadAddress
    """
    owner = book.sandbox.container_id
    got: dict[int, tuple[Subnetwork, Address]] = {}
    try:
        for version, text in ((4, wanted.ipv4_wanted), (6, wanted.ipv6_wanted)):
            pools = segment.of_version(version)
            if text:
                pool = segment.holding(parse_address(text))
                if pool is None or pool.subnet.version != version:
                    raise BadAddress(
                        f"invalid address {text}: it does not belong to any of the subnets of "
                        f"network {segment.network.name}"
                    )
                got[version] = (pool, pool.take(text, owner))
            elif pools:
                got[version] = (pools[0], pools[0].allocate(owner))
        four, six = got.get(4), got.get(6)
        made = replace(
            wanted,
            network_id=segment.network.id,
            network_name=segment.network.name,
            endpoint_id=secrets.token_hex(32),
            interface=book.free_interface(wanted) if segment.pools else "",
            mac=_mac(wanted, four[1] if four else None, segment.network.driver)
            if segment.pools
            else "",
        )
    except BaseException:
        for pool, address in got.values():
            pool.release(str(address), owner)
        raise
    # Nobody answers for the gateway of an overlay network: the way out is another's.
    internal = segment.network.internal or segment.network.driver == "overlay"
    if four:
        pool, address = four
        made = replace(
            made,
            ipv4=str(address),
            ipv4_prefix=pool.subnet.prefixlen,
            gateway="" if internal else pool.pool.gateway,
        )
    if six:
        pool, address = six
        made = replace(
            made,
            ipv6=str(address),
            ipv6_prefix=pool.subnet.prefixlen,
            ipv6_gateway="" if internal else pool.pool.gateway,
        )
    return made, any(pool.is_cooling(address) for pool, address in got.values())


def give_back(segment: Segment, owner: str, endpoint: EndpointSettings, *, cool: bool) -> None:
    for text in (endpoint.ipv4, endpoint.ipv6):
        if text and (pool := segment.holding(parse_address(text))) is not None:
            pool.release(text, owner, cool=cool)


def cooled(segment: Segment, endpoint: EndpointSettings) -> None:
    for text in (endpoint.ipv4, endpoint.ipv6):
        if text and (pool := segment.holding(parse_address(text))) is not None:
            pool.cooled([text])


def take_back(segment: Segment, owner: str, endpoint: EndpointSettings) -> None:
    """After a restart. Raises AddressTaken."""
    for text in (endpoint.ipv4, endpoint.ipv6):
        if text and (pool := segment.holding(parse_address(text))) is not None:
            pool.take(text, owner)


def _mac(wanted: EndpointSettings, address: Address | None, driver: str) -> str:
    # On an overlay network every host reckons the MAC from the address.
    if wanted.mac_wanted and driver != "overlay":
        digits = wanted.mac_wanted.lower().replace("-", ":")
        parts = digits.split(":")
        good = len(parts) == 6 and all(len(p) == 2 for p in parts)
        try:
            value = bytes.fromhex("".join(parts)) if good else b""
        except ValueError:
            value = b""
        if not value or value[0] & 1:
            raise InvalidArgument(f"invalid MAC address: {wanted.mac_wanted}")
        return digits
    # Docker's way: the address says the MAC, so no neighbour's cache is ever wrong.
    return "02:42:" + (address.packed if address else secrets.token_bytes(4)).hex(":")
