"""``--default-addr-pool``: where the cluster's networks are cut from."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from sampan.errors import InvalidArgument

DEFAULT = ("10.0.0.0/8",)
DEFAULT_SIZE = 24


@dataclass(frozen=True, slots=True)
class Pools:
    pools: tuple[str, ...]
    size: int
    """Prefix length of one network."""


def check_pools(wanted: Sequence[str], size: int) -> Pools:
    """Raises: InvalidArgument."""
    size = size or DEFAULT_SIZE
    if size > 29:
        raise InvalidArgument(f"invalid SubnetSize {size}: a network needs room, 29 is the most")
    found: list[ipaddress.IPv4Network] = []
    for text in wanted or DEFAULT:
        try:
            pool = ipaddress.IPv4Network(text)
        except ValueError as error:
            raise InvalidArgument(
                f"invalid default address pool {text}: an IPv4 network such as 10.20.0.0/16"
            ) from error
        if any(pool.overlaps(other) for other in found):
            raise InvalidArgument(f"default address pools overlap: {text}")
        if pool.prefixlen > size:
            raise InvalidArgument(
                f"invalid CIDR {text}: networks of /{size} do not fit into a pool of "
                f"/{pool.prefixlen}"
            )
        found.append(pool)
    return Pools(tuple(str(pool) for pool in found), size)
