"""Addresses of one network: a set of what is used, and a cursor that only moves on.

The next address is always the one after the last that was given, around the whole subnet, so that
a freed address comes back as late as possible: a client that still has it in a cache or a
connection table talks to nothing, and not to another container. Pure.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


def number_of(address: str) -> int:
    """Of an IPv4 address, with or without prefix.

    Raises:
        OSError: it is not an address.
    """
    return int.from_bytes(socket.inet_aton(address.partition("/")[0]), "big")


def address_of(number: int) -> str:
    return socket.inet_ntoa(number.to_bytes(4, "big"))


def within(address: str, subnet: str) -> bool:
    """``address`` (empty: no) is one of ``subnet``'s."""
    return bool(address) and ipaddress.IPv4Address(address) in ipaddress.IPv4Network(subnet)


@dataclass(slots=True)
class NetworkAddresses:
    """The addresses of a network."""

    first: int
    last: int
    prefix: int
    used: set[int] = field(default_factory=set)
    cursor: int = 0
    """The address given last; 0: none yet."""

    @classmethod
    def of(cls, subnet: str, *, within: str = "") -> NetworkAddresses:
        """All host addresses of ``subnet``, or only those that lie in ``within`` as well.

        Raises:
            ValueError: these are no IPv4 networks.
        """
        net = ipaddress.IPv4Network(subnet, strict=False)
        first, last = int(net.network_address) + 1, int(net.broadcast_address) - 1
        if within:
            part = ipaddress.IPv4Network(within, strict=False)
            first = max(first, int(part.network_address))
            last = min(last, int(part.broadcast_address))
        return cls(first=first, last=last, prefix=net.prefixlen)

    def hold(self, addresses: Iterable[str]) -> None:
        """These are in use."""
        self.used.update(number_of(address) for address in addresses if address)

    def ahead(self, number: int) -> int:
        """The number a quarter of the pool after ``number``, around its end."""
        size = self.last - self.first + 1
        return self.first + (number - self.first + size // 4) % size

    def take(self, in_use: Callable[[int], bool] = lambda _: False) -> str | None:
        """The next free address, now used; None: there is none left.

        Args:
            in_use: of what is not in ``used``.
        """
        size = self.last - self.first + 1
        start = self.cursor + 1 if self.first <= self.cursor < self.last else self.first
        for step in range(size):
            number = self.first + (start - self.first + step) % size
            if number not in self.used and not in_use(number):
                self.used.add(number)
                self.cursor = number
                return address_of(number)
        return None
