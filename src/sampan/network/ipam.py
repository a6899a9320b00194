"""Which address is whose, on one subnet. Pure: no kernel, no clock, no I/O.

The lowest free address is handed out, as Docker does: a container that restarts finds its old
address again, and a proxy that resolved it once goes on working. An address given back is in
*quarantine* at first: its old interface may still answer ARP for some milliseconds while the kernel
takes it apart, so it goes to its last owner only (who waits for the quarantine to end) unless
nothing else is left.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

from sampan.network.contract import AddressTaken, BadAddress, NoAddressLeft
from sampan.store.records import IpamPool

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_address(text: str, what: str = "address") -> Address:
    """Raises BadAddress."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise BadAddress(f"invalid {what} {text}: not an IP address") from None


def parse_subnet(text: str, what: str = "subnet") -> Subnet:
    """The network that ``text`` (CIDR) lies in; host bits are dropped. Raises BadAddress."""
    try:
        if "/" not in text:
            raise ValueError
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise BadAddress(
            f"invalid {what} {text}: write it as ADDRESS/PREFIX, like 172.30.0.0/16"
        ) from None


def overlapping(a: Subnet, b: Subnet) -> bool:
    """Whether two subnets of any version share an address."""
    if isinstance(a, ipaddress.IPv4Network):
        return isinstance(b, ipaddress.IPv4Network) and a.overlaps(b)
    return isinstance(b, ipaddress.IPv6Network) and a.overlaps(b)


def complete(pool: IpamPool, *, gateway: bool = True) -> IpamPool:
    """Check a pool as the user wrote it; make the subnet canonical and choose the gateway.

    Args:
        gateway: choose one (the first address of the range) when the user named none.

    Raises:
        BadAddress: something lies outside of something else.
    """
    subnet = parse_subnet(pool.subnet)
    if subnet.num_addresses < 4 and gateway:
        raise BadAddress(f"subnet {subnet} has no room for a gateway and a container")
    if pool.ip_range:
        inner = parse_subnet(pool.ip_range, "ip-range")
        if inner.version != subnet.version or not inner.subnet_of(subnet):  # type: ignore[arg-type]
            raise BadAddress(f"ip-range {pool.ip_range} is not inside subnet {subnet}")
    for name, text in pool.aux_addresses.items():
        if parse_address(text, f"auxiliary address {name}") not in subnet:
            raise BadAddress(f"auxiliary address {name} {text} is not in subnet {subnet}")
    if pool.gateway:
        # Docker's own configuration files give the gateway with a prefix now and then.
        chosen = parse_address(pool.gateway.partition("/")[0], "gateway")
        if chosen not in subnet:
            raise BadAddress(f"gateway {pool.gateway} is not in subnet {subnet}")
    elif gateway:
        chosen = Subnetwork(pool).allocate("gateway")
    return IpamPool(
        subnet=str(subnet),
        gateway=str(chosen) if pool.gateway or gateway else "",
        ip_range=pool.ip_range,
        aux_addresses=pool.aux_addresses,
    )


@dataclass
class Subnetwork:
    """One pool, and which of its addresses are in use."""

    pool: IpamPool
    used: dict[int, str] = field(default_factory=dict)
    """Address -> owner."""
    quarantined: dict[int, str] = field(default_factory=dict)
    """Address given back, not to be used again before ``leave_quarantine`` -> its last owner."""
    _hint: int = 0
    """No address below it is free."""

    def __post_init__(self) -> None:
        self.subnet = parse_subnet(self.pool.subnet)
        inner = parse_subnet(self.pool.ip_range) if self.pool.ip_range else self.subnet
        self._low, self._high = int(inner.network_address), int(inner.broadcast_address)
        first, last = int(self.subnet.network_address), int(self.subnet.broadcast_address)
        self._reserved = {first}
        if self.subnet.version == 4:
            self._reserved.add(last)
            if self.subnet.num_addresses <= 2:
                self._reserved.clear()
        if self.pool.gateway:
            self._reserved.add(int(parse_address(self.pool.gateway)))
        self._reserved |= {int(parse_address(text)) for text in self.pool.aux_addresses.values()}
        self._hint = self._low

    def allocate(self, owner: str) -> Address:
        """The owner's quarantined address, else the lowest free one, else the one that has been in
        quarantine for longest.

        The caller waits for the quarantine to end when the result ``is_quarantined``.

        Raises:
            NoAddressLeft
        """
        for number, last in self.quarantined.items():
            if last == owner and number not in self.used:
                return self._take(number, owner)
        number = self._hint
        while number <= self._high:
            if number not in self.used and number not in self._reserved:
                if number not in self.quarantined:
                    break
            elif number == self._hint:
                self._hint += 1
            number += 1
        else:
            left = (
                n for n in self.quarantined if n not in self.used and self._low <= n <= self._high
            )
            number = next(left, -1)
            if number < 0:
                raise NoAddressLeft(
                    f"no available IPv{self.subnet.version} addresses on subnet "
                    f"{self.pool.ip_range or self.subnet}: remove containers or choose a "
                    "larger subnet"
                )
        return self._take(number, owner)

    def take(self, text: str, owner: str) -> Address:
        """The very address that the user asked for. One's own again is no conflict.

        Raises:
            BadAddress, AddressTaken
        """
        wanted = parse_address(text)
        if wanted not in self.subnet:
            raise BadAddress(
                f"Invalid address {text}: It does not belong to any of this network's subnets"
            )
        number = int(wanted)
        if number in self._reserved or self.used.get(number, owner) != owner:
            raise AddressTaken(f"Address already in use: {text} on subnet {self.subnet}")
        return self._take(number, owner)

    def release(self, address: str, owner: str, *, quarantine: bool = False) -> None:
        """Give back; an address that is someone else's meanwhile stays theirs."""
        number = int(parse_address(address))
        if self.used.get(number) == owner:
            del self.used[number]
            self._hint = min(self._hint, max(number, self._low))
            if quarantine:
                self.quarantined[number] = owner

    def leave_quarantine(self, addresses: Iterable[str]) -> None:
        """Nothing in the kernel answers for these."""
        for address in addresses:
            self.quarantined.pop(int(parse_address(address)), None)

    def is_quarantined(self, address: Address) -> bool:
        return int(address) in self.quarantined

    def __contains__(self, address: Address) -> bool:
        return address in self.subnet

    def _take(self, number: int, owner: str) -> Address:
        self.used[number] = owner
        kind = ipaddress.IPv4Address if self.subnet.version == 4 else ipaddress.IPv6Address
        return kind(number)
