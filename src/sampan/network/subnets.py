"""Choosing a subnet nobody uses, and saying who uses one that was asked for. Pure."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sampan.network.contract import NoSubnetLeft, SubnetOverlap
from sampan.network.ipam import Subnet, overlapping, parse_subnet

BUILT_IN_POOLS: tuple[tuple[str, int], ...] = (
    ("172.17.0.0/16", 16),
    ("172.18.0.0/16", 16),
    ("172.19.0.0/16", 16),
    ("172.20.0.0/14", 16),
    ("172.24.0.0/14", 16),
    ("172.28.0.0/14", 16),
    ("192.168.0.0/16", 20),
)


NAMED = 8
"""How many users of the pools an error names."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A subnet in use and by what, as a user would say it."""

    subnet: Subnet
    by: str


def candidates(pools: Sequence[tuple[str, int]], version: int) -> Iterator[Subnet]:
    """Every network of the pools, in order."""
    for base, prefix in pools:
        parsed = parse_subnet(base, "address pool")
        if parsed.version == version:
            yield from parsed.subnets(new_prefix=max(prefix, parsed.prefixlen))


def choose(pools: Sequence[tuple[str, int]], taken: Sequence[Taken], *, attempt: int = 0) -> Subnet:
    """The first IPv4 network of the pools that overlaps nothing.

    Args:
        attempt: from the second on a random one of the free, so that two daemons that chose the
            same at the same moment part.

    Raises:
        NoSubnetLeft: says who has them.
    """
    free = (
        subnet
        for subnet in candidates(pools, 4)
        if not any(overlapping(subnet, other.subnet) for other in taken)
    )
    found = next(free, None) if attempt == 0 else _any_of(list(free))
    if found is None:
        raise NoSubnetLeft(
            "all predefined address pools have been fully subnetted: they are in use by "
            f"{_users(pools, taken)}: remove unused networks (docker network prune), or name a "
            "subnet (--subnet), or add default-address-pools to daemon.json"
        )
    return found


def _users(pools: Sequence[tuple[str, int]], taken: Sequence[Taken]) -> str:
    """Who has something of the pools, most of it first, and no more of them than can be read."""
    bases = [parse_subnet(base, "address pool") for base, _ in pools]
    users: dict[Subnet, str] = {}
    for one in sorted(taken, key=lambda one: one.subnet.prefixlen):
        if any(overlapping(one.subnet, base) for base in bases):
            # A network's subnet is a route of the host, too: who comes first says more.
            users.setdefault(one.subnet, one.by)
    names = list(users.values())[:NAMED]
    if len(users) > NAMED:
        names.append(f"{len(users) - NAMED} more")
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def choose_ula(network_id: str, prefixes: Sequence[tuple[str, int]] = ()) -> Subnet:
    """A /64 of the unique local addresses: fd00::/8 with 56 bits of the network's id."""
    for base, prefix in prefixes:
        parsed = parse_subnet(base, "address pool")
        if isinstance(parsed, ipaddress.IPv6Network):
            room = max(prefix, parsed.prefixlen) - parsed.prefixlen
            step = int(network_id[:14], 16) % (1 << room)
            first = int(parsed.network_address) + (step << (128 - max(prefix, parsed.prefixlen)))
            return ipaddress.IPv6Network((first, max(prefix, parsed.prefixlen)))
    number = (0xFD << 120) | (int(network_id[:14], 16) << 64)
    return ipaddress.IPv6Network((number, 64))


def refuse_overlap(subnet: Subnet, taken: Iterable[Taken]) -> None:
    """Raises SubnetOverlap, with who has it."""
    for other in taken:
        if overlapping(subnet, other.subnet):
            raise SubnetOverlap(
                f"Pool overlaps with other one on this address space: {subnet} meets "
                f"{other.subnet}, which is {other.by}; choose another --subnet"
            )


def _any_of(free: Sequence[Subnet]) -> Subnet | None:
    return random.choice(free) if free else None
